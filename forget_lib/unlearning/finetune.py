"""Fine-tune."""

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import epochs_of, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("finetune", title="Fine-tune", paper="common baseline", uses="retain", family="retain only")
def finetune(model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.02, epochs: int = 2) -> nn.Module:
    r"""Go on training on the retain set and rely on catastrophic forgetting:
    :math:`\min_\theta \mathcal{L}_{CE}(D_r)`.

    Status V. Published rates are often too low to forget anything (1e-3 for two epochs on MUFAC), which says nothing
    about the method.
    Args: learning_rate: of SGD, constant (> 0). epochs: passes over the retain set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
    return model
