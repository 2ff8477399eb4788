"""Confidence, threshold per class."""

from __future__ import annotations

import numpy as np

from forget_lib.attacks.parts.population import per_class
from forget_lib.attacks.registry import AttackInput, attack
from forget_lib.statistics import scores


@attack("confidence", title="Confidence, threshold per class", paper="Song & Mittal, USENIX Security 2021", null="0.5")
def confidence(inputs: AttackInput) -> np.ndarray:
    """Probability of the label (by the margin, which ranks alike without underflow), a threshold for each class."""
    return per_class(scores.phi(inputs.logits, inputs.labels), inputs)
