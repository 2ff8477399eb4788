"""NegGrad+. Public code often repeats its first pass over the forget set (`itertools.cycle`); LoTUS's NegGrad+ flips
the sign of gradients before they exist, so it is plain training on both sets."""

from torch import nn

from forget_lib.unlearning import Count, CountOrNone, Rate, UnlearningTask, Weight, method, source
from forget_lib.unlearning.common import beside, cross_entropy, sgd, step


@method("negative_gradient_plus", title="NegGrad+", uses="forget, retain", family="gradient ascent")
@source("Kurmanji et al., NeurIPS 2023", arxiv="2302.09880", status="V")
def negative_gradient_plus(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 2e-3,
    epochs: Count = 2,
    alpha: Weight = 0.95,
    forget_batch_size: CountOrNone = 0,
) -> nn.Module:
    r"""Descend on the retain set and climb on the forget set at once.

    Minimises :math:`\alpha \mathcal{L}_{CE}(B_r) - (1 - \alpha) \mathcal{L}_{CE}(B_f)`: each retain batch meets the
    next forget batch, one step on both.
    Settings: forget_batch_size: forget samples a step; 0: as many as of the retain set, at twice the cost of an epoch.
    """
    optimizer = sgd(model, learning_rate)
    batches = beside(model, task, epochs, task.forget, forget_batch_size or None)
    for retain_logits, labels, forget_logits, forget_labels in batches:
        descent = cross_entropy(retain_logits, labels)
        ascent = cross_entropy(forget_logits, forget_labels)
        step(optimizer, alpha * descent - (1 - alpha) * ascent)
    return model
