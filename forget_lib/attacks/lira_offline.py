"""LiRA, offline."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.per_sample import location_and_spread
from forget_lib.statistics import scores


@attack("lira_offline", title="LiRA, offline", null="0.5", needs="references")
@source("Carlini et al., S&P 2022", arxiv="2112.03570")
def lira_offline(inputs: AttackInput) -> np.ndarray:
    r"""How far the margin lies above models without the sample: :math:`(\phi_t - \mu_{out}) / s_{out}`, one-sided."""
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.pool.logits, inputs.labels)
    middle, spread = location_and_spread(values, ~inputs.pool.membership)
    return (target - middle) / spread
