"""SSD."""

from torch import nn

from forget_lib.unlearning.parts.dampening import dampened
from forget_lib.unlearning.parts.importance import sample_cross_entropy
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("ssd", title="SSD", paper="Foster et al., AAAI 2024", uses="forget, retain (once)", family="dampening")
def ssd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    alpha: float = 10.0,
    strength: float = 1.0,
    importance: str = "batch",
    batch_size: int = 64,
) -> nn.Module:
    r"""Dampen the weights whose Fisher information on the forget set is more than α times that on all training data.

    :math:`I_S = \overline{(\partial \mathcal{L}_{CE} / \partial \theta)^2}` over S in eval mode; where
    :math:`I_f > \alpha I_D`: :math:`\theta \leftarrow \theta \min(\lambda I_D / I_f, 1)`. Status V. Published code
    squares the gradient of a *batch* ("batch"), which depends on its size, and compares sets with other sizes; here
    both sets have one size. "sample" squares each sample's gradient, the Fisher information proper; then
    :math:`I_f / I_D \le |D| / |D_f|`, so that the usual α = 10 chooses nothing when a tenth is to go.
    Args: alpha (> 0). strength: λ (>= 0). importance: "batch" or "sample". batch_size: for "batch" (>= 1).
    Raises: ForgetError for settings out of range.
    """
    settings = {"alpha": alpha, "strength": strength, "importance": importance, "batch_size": batch_size}
    return dampened(model, task, sample_cross_entropy, 2, **settings)
