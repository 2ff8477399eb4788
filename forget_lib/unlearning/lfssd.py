"""LFSSD."""

from torch import nn

from forget_lib.unlearning.parts.dampening import dampened
from forget_lib.unlearning.parts.importance import sample_output_norm
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "lfssd",
    title="LFSSD",
    paper="Foster et al., loss-free variant, 2024",
    uses="forget, retain (once, no labels)",
    family="dampening",
)
def lfssd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    alpha: float = 10.0,
    strength: float = 1.0,
    importance: str = "batch",
    batch_size: int = 64,
) -> nn.Module:
    r"""SSD without labels: importances from the length of the outputs instead of the loss.

    :math:`I_S = \overline{|\partial \|f_\theta(x)\|_2^2 / \partial \theta|}`; the dampening is SSD's. Status V
    (README of SSD's code).
    Args: as for SSD.
    Raises: ForgetError for settings out of range.
    """
    settings = {"alpha": alpha, "strength": strength, "importance": importance, "batch_size": batch_size}
    return dampened(model, task, sample_output_norm, 1, **settings)
