"""Over-forget."""

from torch import nn

from forget_lib.unlearning import Count, Rate, UnlearningTask, method
from forget_lib.unlearning.common import beside, cross_entropy, sgd, step
from forget_lib.unlearning.random_label import random_labels


@method("over_forget", title="Over-forget", uses="forget, retain", family="control", paper="control")
def over_forget(model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.01, epochs: Count = 5) -> nn.Module:
    r"""Learn one fixed wrong label for each forget sample until it is believed: too strong on purpose.

    Minimises :math:`\mathcal{L}_{CE}(B_r) + \mathcal{L}_{CE}(f_\theta(B_f), \tilde y)` with :math:`\tilde y \ne y`
    drawn once. The forget samples end far less likely than unseen ones: an attack that looks at both sides must find
    them.
    """
    wrong = task.forget.with_labels(random_labels(task, allow_true=False))
    optimizer = sgd(model, learning_rate)
    for retain_logits, labels, forget_logits, targets in beside(model, task, epochs, wrong):
        loss = cross_entropy(retain_logits, labels) + cross_entropy(forget_logits, targets)
        step(optimizer, loss)
    return model
