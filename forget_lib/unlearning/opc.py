"""OPC."""

from dataclasses import replace

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import both, check_range, epochs_of, pairs, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("opc", title="OPC", paper="One-point contraction, arXiv 2507.07754", uses="forget, retain", family="outputs")
def opc(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.01,
    epochs: int = 1,
    weight: float = 0.1,
    forget_batch_size: int = 32,
) -> nn.Module:
    r"""Contract the outputs of forget samples to the origin while learning the retain set.

    Minimises :math:`\mathcal{L}_{CE}(D_r) + c\, \overline{\|f_\theta(x_f)\|_2}`, f the logits. A norm near 0 is the
    uniform distribution, so random samples are over-forgotten. Status P: the form is the paper's, c and rate ours.
    Args: learning_rate of SGD (> 0). epochs: passes over the retain set (>= 1). weight: c (>= 0).
        forget_batch_size: forget samples beside each retain batch (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("weight", weight, 0)
    check_range("forget_batch_size", forget_batch_size, 1)
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, _) in pairs(
            task.retain, replace(task.forget, batch_size=forget_batch_size)
        ):
            retain_logits, forget_logits = both(model, images, forget_images)
            # The square root has no gradient at 0; the small number under it keeps it finite there.
            length = (forget_logits.square().sum(1) + 1e-12).sqrt().mean()
            step(optimizer, functional.cross_entropy(retain_logits, labels) + weight * length)
    return model
