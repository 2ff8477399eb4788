"""Entropy, threshold per class."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.population import per_class
from forget_lib.statistics import scores


@attack("entropy", title="Entropy, threshold per class", null="0.5")
@source("Song & Mittal, USENIX Security 2021", arxiv="2003.10595")
def entropy(inputs: AttackInput) -> np.ndarray:
    """Minus the entropy of the prediction, a threshold for each class. Ignores whether the prediction is right."""
    return per_class(-scores.entropy(inputs.logits), inputs)
