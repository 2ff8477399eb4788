"""LiRA, offline."""

from __future__ import annotations

import numpy as np

from forget_lib.attacks.parts.per_sample import location_and_spread
from forget_lib.attacks.registry import AttackInput, attack
from forget_lib.statistics import scores


@attack(
    "lira_offline",
    title="LiRA, offline",
    paper="Carlini et al., S&P 2022",
    null="0.5",
    needs="references",
)
def lira_offline(inputs: AttackInput) -> np.ndarray:
    r"""How far the margin lies above models without the sample: :math:`(\phi_t - \mu_{out}) / s_{out}`, one-sided."""
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.references.logits, inputs.labels)
    middle, spread = location_and_spread(values, ~inputs.references.membership)
    return (target - middle) / spread
