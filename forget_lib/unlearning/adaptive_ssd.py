"""Adaptive SSD."""

from torch import nn

from forget_lib.unlearning.parts.dampening import dampened
from forget_lib.unlearning.parts.importance import sample_cross_entropy
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "adaptive_ssd",
    title="Adaptive SSD",
    paper="Schoepf et al., arXiv 2024",
    uses="forget, retain (once)",
    family="dampening",
)
def adaptive_ssd(
    model: nn.Module, task: UnlearningTask, *, strength: float = 1.0, importance: str = "batch", batch_size: int = 64
) -> nn.Module:
    r"""SSD that chooses α itself, from the size of the forget set.

    α is the percentile :math:`q = 100 - \ln(1 + 100 |D_f| / |D|)` of :math:`I_f / I_D` over all weights (not numbers
    left out).
    Status V (a port of the authors' notebook); the title of its paper M.
    Args: strength: λ (>= 0). importance, batch_size: as for SSD.
    Raises: ForgetError for settings out of range.
    """
    settings = {"strength": strength, "importance": importance, "batch_size": batch_size}
    return dampened(model, task, sample_cross_entropy, 2, alpha=None, **settings)
