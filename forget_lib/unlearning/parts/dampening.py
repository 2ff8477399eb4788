"""Selective synaptic dampening: shrink the weights that matter more for the forget set than for all; no training."""

from typing import Literal

import numpy as np
import torch
from torch import nn

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.common import Importance, random_part, trained_weights
from forget_lib.unlearning.parts.importance import Losses, importance_by_batch, importance_by_sample

Per = Literal["batch", "batch by class", "sample"]
"""Published code squares the gradient of a batch, of BATCH here; by sample it is the Fisher information proper.

"batch" shuffles. For a class the authors' code does not: it takes what is kept class by class, and then what is to go
(if-loops/selective-synaptic-dampening@cdfdc0e, src/forget_full_class_main.py:152-157 and
src/forget_full_class_strategies.py:57-61), so that a batch is of one class; that is "batch by class", the default. I_D
is then far larger, and α means something else. For other requests what is kept is in random order, and then what is to
go."""
BATCH = 64


def importances(
    model: nn.Module, task: UnlearningTask, losses: Losses, power: int, per: Per, batch_size: int = BATCH
) -> tuple[Importance, Importance]:
    """Importance for the forget set, and for forget and retain together."""
    if per != "sample":
        shuffle, kept = per == "batch", task.retain
        if not shuffle and task.classes:
            kept = task.retain.subset(task.retain.labels.argsort(stable=True))
        elif not shuffle:
            kept = random_part(task, task.retain, 1.0)
        parts = (task.forget, concatenate(kept, task.forget))
        forget, everything = (importance_by_batch(model, part, losses, power, batch_size, shuffle) for part in parts)
        return forget, everything
    forget, retain = (importance_by_sample(model, s, losses, power, task.meter) for s in (task.forget, task.retain))
    sizes = len(task.forget), len(task.retain)
    return forget, {name: (sizes[0] * forget[name] + sizes[1] * retain[name]) / sum(sizes) for name in forget}


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
    finite = ratios[ratios.isfinite()].double().cpu().numpy()
    return float(np.percentile(finite, 100 - np.log(1 + 100 * share))) if len(finite) else 1.0
