"""NegGrad."""

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import check_range, epochs_of, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "negative_gradient", title="NegGrad", paper="Golatkar et al., CVPR 2020", uses="forget", family="gradient ascent"
)
def negative_gradient(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 5e-3, epochs: int = 2, clip_norm: float = 1.0
) -> nn.Module:
    r"""Climb the loss on the forget set: :math:`\max_\theta \mathcal{L}_{CE}(D_f)`. The loss has no upper bound.

    Batch-norm statistics stay: batches of the forget set alone would shift them. Status V. Public code does not clip
    gradients; its loss reaches -10 on MUFAC and the utility is gone.
    Args: learning_rate: of SGD (> 0). epochs: passes over the forget set (>= 1).
        clip_norm: largest norm of a gradient (> 0).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("clip_norm", clip_norm, 0, open_low=True)
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, labels in task.forget.batches():
            step(optimizer, -functional.cross_entropy(model(images), labels), clip_norm=clip_norm)
    return model
