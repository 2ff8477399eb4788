"""LiRA, online."""

from __future__ import annotations

import numpy as np

from forget_lib.attacks.parts.per_sample import likelihood_ratio
from forget_lib.attacks.registry import AttackInput, attack
from forget_lib.statistics import scores


@attack(
    "lira",
    title="LiRA, online",
    paper="Carlini et al., S&P 2022",
    null="0.5",
    needs="references",
)
def lira(inputs: AttackInput) -> np.ndarray:
    """Likelihood ratio of the target's margin under models trained with and without the sample."""
    target = scores.phi(inputs.logits, inputs.labels)
    return likelihood_ratio(target, scores.phi(inputs.references.logits, inputs.labels), inputs.references.membership)
