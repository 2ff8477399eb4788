"""Attack-R."""

from __future__ import annotations

import numpy as np

from forget_lib.attacks.registry import AttackInput, attack
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import scores


@attack(
    "attack_r",
    title="Attack-R",
    paper="Ye et al., CCS 2022",
    null="0.5",
    needs="references",
)
def attack_r(inputs: AttackInput) -> np.ndarray:
    """Share of the references without the sample that are less sure of its label than the target is, in [0, 1].

    A per-sample p-value with a resolution of 1 / (models without it); ties count half.
    """
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.references.logits, inputs.labels)
    outside = ~inputs.references.membership
    if outside.sum(axis=0).min() < 1:
        raise TooFewError(
            "Attack-R needs at least 1 reference model without each sample; train 2 on complementary halves."
        )
    below = (values < target) + 0.5 * (values == target)
    return np.where(outside, below, 0).sum(axis=0) / outside.sum(axis=0)
