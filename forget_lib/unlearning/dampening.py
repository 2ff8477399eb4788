"""Selective synaptic dampening: shrink the weights that matter more for the forget set than for all; no training."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from forget_lib.datasets.samples import concatenate
from forget_lib.errors import unknown
from forget_lib.unlearning.common import check_range, trained_weights
from forget_lib.unlearning.importance import (
    Importance,
    importance_by_batch,
    importance_by_sample,
    sample_cross_entropy,
    sample_output_norm,
    weighted_mean,
)
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

CONVENTIONS = ("batch", "sample")


def importances(
    model: nn.Module, task: UnlearningTask, losses: Callable, power: int, convention: str, batch_size: int
) -> tuple[Importance, Importance]:
    """Importance for the forget set, and for forget and retain together.

    Raises: UnknownNameError for a convention that does not exist; ForgetError for a batch size below 1.
    """
    if convention not in CONVENTIONS:
        raise unknown("convention of importances", convention, CONVENTIONS)
    check_range("batch_size", batch_size, 1)
    if convention == "batch":
        parts = (task.forget, concatenate(task.retain, task.forget))
        forget, everything = (importance_by_batch(model, part, losses, power, batch_size) for part in parts)
        return forget, everything
    forget, retain = (importance_by_sample(model, s, losses, power, task.meter) for s in (task.forget, task.retain))
    return forget, weighted_mean(forget, len(task.forget), retain, len(task.retain))


@torch.no_grad()
def dampen(model: nn.Module, forget: Importance, everything: Importance, alpha: float, strength: float) -> int:
    """θ ← θ · min(λ I_D / I_f, 1) where I_f > α I_D, in place; the number of weights chosen."""
    count = 0
    for name, parameter in trained_weights(model).items():
        chosen = forget[name] > alpha * everything[name]
        factor = strength * everything[name] / forget[name].clamp(min=torch.finfo(parameter.dtype).tiny)
        parameter.mul_(torch.where(chosen, factor.clamp(max=1), torch.ones_like(factor)))
        count += int(chosen.sum())
    return count


def adaptive_alpha(forget: Importance, everything: Importance, share: float) -> float:
    """The percentile q = 100 - ln(1 + 100 share) of all finite ratios I_f / I_D, share = |D_f| / |D|."""
    ratios = torch.cat([(forget[name] / everything[name]).flatten() for name in forget])
    ratios = ratios[ratios.isfinite()].double().cpu().numpy()
    return float(np.percentile(ratios, 100 - np.log(1 + 100 * share))) if len(ratios) else 1.0


def dampened(
    model: nn.Module,
    task: UnlearningTask,
    losses: Callable,
    power: int,
    *,
    alpha: float | None,
    strength: float,
    importance: str,
    batch_size: int,
) -> nn.Module:
    """The model with its importances by `losses` and `power` worked out and its weights dampened; α is chosen by
    `adaptive_alpha` where it is None.

    Raises: ForgetError for settings out of range.
    """
    if alpha is not None:
        check_range("alpha", alpha, 0, open_low=True)
    check_range("strength", strength, 0)
    forget, everything = importances(model, task, losses, power, importance, batch_size)
    if alpha is None:
        alpha = adaptive_alpha(forget, everything, len(task.forget) / (len(task.forget) + len(task.retain)))
    dampen(model, forget, everything, alpha, strength)
    return model


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
