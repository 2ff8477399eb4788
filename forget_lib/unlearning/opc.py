"""OPC. The form is the paper's, c and rate ours."""

from torch import nn

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import beside, cross_entropy, sgd, step


@method("opc", title="OPC", uses="forget, retain", family="outputs")
@source("One-point contraction, arXiv 2507.07754", arxiv="2507.07754", status="P")
def opc(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.01, epochs: Count = 1, weight: Factor = 0.1
) -> nn.Module:
    r"""Contract the outputs of forget samples to the origin while learning the retain set.

    Minimises :math:`\mathcal{L}_{CE}(D_r) + c\, \overline{\|f_\theta(x_f)\|_2}`, f the logits. A norm near 0 is the
    uniform distribution, so random samples are over-forgotten.
    Settings: weight is c.
    """
    optimizer = sgd(model, learning_rate)
    for retain_logits, labels, forget_logits, _ in beside(model, task, epochs, task.forget, 32):
        # The square root has no gradient at 0; the small number under it keeps it finite there.
        length = (forget_logits.square().sum(1) + 1e-12).sqrt().mean()
        step(optimizer, cross_entropy(retain_logits, labels) + weight * length)
    return model
