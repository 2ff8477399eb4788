"""Adaptive SSD. A port of the authors' notebook; the title of its paper M."""

from torch import nn

from forget_lib.unlearning import Factor, UnlearningTask, method, source
from forget_lib.unlearning.parts.dampening import Per, adaptive_alpha, dampen, importances
from forget_lib.unlearning.parts.importance import sample_cross_entropy


@method("adaptive_ssd", title="Adaptive SSD", uses="forget, retain (once)", family="dampening", version=2)
@source("Schoepf et al., arXiv 2024", arxiv="2402.10098", status="V")
def adaptive_ssd(
    model: nn.Module, task: UnlearningTask, *, strength: Factor = 1.0, importance: Per = "batch by class"
) -> nn.Module:
    r"""SSD that chooses α itself, from the size of the forget set.

    α is the percentile :math:`q = 100 - \ln(1 + 100 |D_f| / |D|)` of :math:`I_f / I_D` over all weights (not numbers
    left out); the other settings are SSD's.
    """
    forget, everything = importances(model, task, sample_cross_entropy, 2, importance)
    alpha = adaptive_alpha(forget, everything, len(task.forget) / (len(task.forget) + len(task.retain)))
    dampen(model, forget, everything, alpha, strength)
    return model
