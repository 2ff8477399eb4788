"""CF-k. SCRUB's copy leaves the head frozen on ResNets, which makes it another method."""

from torch import nn

from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, Positive, epochs_of, learn, sgd
from forget_lib.unlearning.parts.layers import freeze_all_but, last_layers


@method("cf_k", title="CF-k", uses="retain", family="last layers")
@source("Goel et al., arXiv 2201.06640", arxiv="2201.06640", status="V")
def cf_k(
    model: nn.Module, task: UnlearningTask, *, k: Count = 1, learning_rate: Positive = 0.05, epochs: Count = 2
) -> nn.Module:
    r"""Fine-tune only the last k layers on the retain set: :math:`\min_{\theta_{last\ k}} \mathcal{L}_{CE}(D_r)`.

    Convolutions and linear layers count, batch norm on the way is trained too; the statistics of frozen batch norm
    stay. Raises: ForgetError for more layers than there are.
    """
    freeze_all_but(model, last_layers(model, task, k))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        learn(model, task.retain, optimizer)
    return model
