"""Selective synaptic dampening: shrink the weights that matter more for the forget set than for all; no training."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from forget_lib.core.errors import unknown
from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning.common import check_range, trained_weights
from forget_lib.unlearning.parts.importance import (
    Importance,
    importance_by_batch,
    importance_by_sample,
    weighted_mean,
)
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
