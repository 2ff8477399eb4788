"""NegGrad+."""

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import both, check_range, epochs_of, pairs, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "negative_gradient_plus",
    title="NegGrad+",
    paper="Kurmanji et al., NeurIPS 2023",
    uses="forget, retain",
    family="gradient ascent",
)
def negative_gradient_plus(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 2e-3,
    epochs: int = 2,
    alpha: float = 0.95,
    forget_batch_size: int = 0,
) -> nn.Module:
    r"""Descend on the retain set and climb on the forget set at once.

    Minimises :math:`\alpha \mathcal{L}_{CE}(B_r) - (1 - \alpha) \mathcal{L}_{CE}(B_f)`: each retain batch meets the
    next forget batch, one step on both. The forget set is shuffled anew each time it is used up.
    Status V. Public code often repeats its first pass over the forget set (`itertools.cycle`); LoTUS's NegGrad+ flips
    the sign of gradients before they exist, so it is plain training on both sets.
    Args: learning_rate: of SGD (> 0). epochs: passes over the retain set (>= 1).
        alpha: weight of the retain loss in [0, 1]. forget_batch_size: forget samples a step (>= 0); 0: as many as of
        the retain set, which doubles the cost of an epoch.
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("alpha", alpha, 0, 1)
    check_range("forget_batch_size", forget_batch_size, 0)
    size = forget_batch_size or None
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, forget_labels) in pairs(task.retain, task.forget, second_size=size):
            retain_logits, forget_logits = both(model, images, forget_images)
            descent = functional.cross_entropy(retain_logits, labels)
            ascent = functional.cross_entropy(forget_logits, forget_labels)
            step(optimizer, alpha * descent - (1 - alpha) * ascent)
    return model
