"""Entropy, threshold per class."""

from __future__ import annotations

import numpy as np

from forget_lib.attacks.parts.population import per_class
from forget_lib.attacks.registry import AttackInput, attack
from forget_lib.statistics import scores


@attack("entropy", title="Entropy, threshold per class", paper="Song & Mittal, USENIX Security 2021", null="0.5")
def entropy(inputs: AttackInput) -> np.ndarray:
    """Minus the entropy of the prediction, a threshold for each class. Ignores whether the prediction is right."""
    return per_class(-scores.entropy(inputs.logits), inputs)
