"""Over-forget."""

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import both, epochs_of, pairs, sgd, step
from forget_lib.unlearning.random_label import random_labels
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("over_forget", title="Over-forget", paper="control", uses="forget, retain", family="control", control=True)
def over_forget(model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.01, epochs: int = 5) -> nn.Module:
    r"""Learn one fixed wrong label for each forget sample until it is believed: too strong on purpose.

    Minimises :math:`\mathcal{L}_{CE}(B_r) + \mathcal{L}_{CE}(f_\theta(B_f), \tilde y)` with :math:`\tilde y \ne y`
    drawn once. The forget samples end far less likely than unseen ones, so an attack that looks at both sides must
    find them.
    Args: learning_rate: of SGD (> 0). epochs: passes over the retain set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    wrong = task.forget.with_labels(random_labels(task, allow_true=False))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, targets) in pairs(task.retain, wrong):
            retain_logits, forget_logits = both(model, images, forget_images)
            loss = functional.cross_entropy(retain_logits, labels) + functional.cross_entropy(forget_logits, targets)
            step(optimizer, loss)
    return model
