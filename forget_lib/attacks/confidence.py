"""Confidence, threshold per class."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.population import per_class
from forget_lib.statistics import scores


@attack("confidence", title="Confidence, threshold per class", null="0.5")
@source("Song & Mittal, USENIX Security 2021", arxiv="2003.10595")
def confidence(inputs: AttackInput) -> np.ndarray:
    """Probability of the label (by the margin, which ranks alike without underflow), a threshold for each class."""
    return per_class(scores.phi(inputs.logits, inputs.labels), inputs)
