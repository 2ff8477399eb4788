"""CF-k."""

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import epochs_of, sgd, step
from forget_lib.unlearning.parts.layers import freeze_all_but, last_layers
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("cf_k", title="CF-k", paper="Goel et al., arXiv 2201.06640", uses="retain", family="last layers")
def cf_k(
    model: nn.Module, task: UnlearningTask, *, k: int = 1, learning_rate: float = 0.05, epochs: int = 2
) -> nn.Module:
    r"""Fine-tune only the last k layers on the retain set: :math:`\min_{\theta_{last\ k}} \mathcal{L}_{CE}(D_r)`.

    Convolutions and linear layers count, batch norm on the way is trained too; the statistics of frozen batch norm
    stay. Status V. SCRUB's copy leaves the head frozen on ResNets, which makes it another method.
    Args: k: number of layers in [1, all]. learning_rate: of SGD, constant (> 0). epochs (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    freeze_all_but(model, last_layers(model, task, k))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
    return model
