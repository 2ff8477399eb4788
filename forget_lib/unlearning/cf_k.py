"""CF-k. SCRUB's copy leaves the head frozen on ResNets, which makes it another method."""

from torch import nn

from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.finetune import finetune
from forget_lib.unlearning.parts.layers import freeze_all_but, last_layers


@method("cf_k", title="CF-k", uses="retain", family="last layers")
@source("Goel et al., arXiv 2201.06640", arxiv="2201.06640", status="V")
def cf_k(
    model: nn.Module, task: UnlearningTask, *, k: Count = 1, learning_rate: Rate = 0.05, epochs: Count = 2
) -> nn.Module:
    r"""Fine-tune only the last k layers on the retain set: :math:`\min_{\theta_{last\ k}} \mathcal{L}_{CE}(D_r)`.

    Convolutions and linear layers count; batch norm on the way is trained too, the statistics of the frozen one stay.
    Raises: ForgetError for more layers than there are.
    """
    freeze_all_but(model, last_layers(model, task, k))
    return finetune(model, task, learning_rate=learning_rate, epochs=epochs)
