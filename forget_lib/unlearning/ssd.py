"""SSD. Published code squares the gradient of a *batch*, which depends on its size and on the order of the samples."""

from torch import nn

from forget_lib.unlearning import Factor, Positive, UnlearningTask, method, source
from forget_lib.unlearning.parts.dampening import Per, dampen, importances
from forget_lib.unlearning.parts.importance import sample_cross_entropy


@method("ssd", title="SSD", uses="forget, retain (once)", family="dampening", version=2)
@source("Foster et al., AAAI 2024", arxiv="2308.07707", status="V")
def ssd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    alpha: Positive = 10.0,
    strength: Factor = 1.0,
    importance: Per = "batch by class",
) -> nn.Module:
    r"""Dampen the weights whose Fisher information on the forget set is more than α times that on all training data.

    :math:`I_S = \overline{(\partial \mathcal{L}_{CE} / \partial \theta)^2}` over S in eval mode; where
    :math:`I_f > \alpha I_D`: :math:`\theta \leftarrow \theta \min(\lambda I_D / I_f, 1)`. By sample,
    :math:`I_f / I_D \le |D| / |D_f|`, so that the usual α = 10 chooses nothing when a tenth is to go; in the
    authors' order hardly anything.

    Settings: strength is λ. importance: of each batch, of each batch of one class (the authors' order), or of each
    sample; α has another scale in each.
    """
    forget, everything = importances(model, task, sample_cross_entropy, 2, importance)
    dampen(model, forget, everything, alpha, strength)
    return model
