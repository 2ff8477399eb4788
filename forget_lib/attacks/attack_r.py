"""Attack-R."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import scores


@attack("attack_r", title="Attack-R", null="0.5", needs="references")
@source("Ye et al., CCS 2022", arxiv="2111.09679")
def attack_r(inputs: AttackInput) -> np.ndarray:
    """Share of the references without the sample that are less sure of its label than the target is, in [0, 1].

    A per-sample p-value with a resolution of 1 / (models without it); ties count half.
    """
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.pool.logits, inputs.labels)
    outside = ~inputs.pool.membership
    if outside.sum(axis=0).min() < 1:
        raise TooFewError(
            "Attack-R needs at least 1 reference model without each sample; train 2 on complementary halves."
        )
    below = (values < target) + 0.5 * (values == target)
    return np.where(outside, below, 0).sum(axis=0) / outside.sum(axis=0)
