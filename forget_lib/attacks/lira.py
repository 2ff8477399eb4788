"""LiRA, online."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.per_sample import likelihood_ratio
from forget_lib.statistics import scores


@attack("lira", title="LiRA, online", null="0.5", needs="references")
@source("Carlini et al., S&P 2022", arxiv="2112.03570")
def lira(inputs: AttackInput) -> np.ndarray:
    """Likelihood ratio of the target's margin under models trained with and without the sample."""
    target = scores.phi(inputs.logits, inputs.labels)
    return likelihood_ratio(target, scores.phi(inputs.pool.logits, inputs.labels), inputs.pool.membership)
