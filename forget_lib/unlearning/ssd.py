"""SSD. Published code squares the gradient of a *batch*, which depends on its size, and compares sets with other sizes;
here both sets have one size."""

from typing import Literal

from torch import nn

from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, NotNegative, Positive
from forget_lib.unlearning.parts.dampening import dampened
from forget_lib.unlearning.parts.importance import sample_cross_entropy


@method("ssd", title="SSD", uses="forget, retain (once)", family="dampening")
@source("Foster et al., AAAI 2024", arxiv="2308.07707", status="V")
def ssd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    alpha: Positive = 10.0,
    strength: NotNegative = 1.0,
    importance: Literal["batch", "sample"] = "batch",
    batch_size: Count = 64,
) -> nn.Module:
    r"""Dampen the weights whose Fisher information on the forget set is more than α times that on all training data.

    :math:`I_S = \overline{(\partial \mathcal{L}_{CE} / \partial \theta)^2}` over S in eval mode; where
    :math:`I_f > \alpha I_D`: :math:`\theta \leftarrow \theta \min(\lambda I_D / I_f, 1)`.

    Settings: strength is λ. importance "batch" squares a batch's gradient, as published code does; "sample" each
    sample's, the Fisher information proper: then :math:`I_f / I_D \le |D| / |D_f|`, so that the usual α = 10 chooses
    nothing when a tenth is to go.
    """
    return dampened(model, task, sample_cross_entropy, 2, alpha, strength, importance, batch_size)
