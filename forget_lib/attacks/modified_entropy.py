"""Modified entropy, threshold per class."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.population import per_class
from forget_lib.statistics import scores


@attack("modified_entropy", title="Modified entropy, threshold per class", null="0.5")
@source("Song & Mittal, USENIX Security 2021", arxiv="2003.10595")
def modified_entropy(inputs: AttackInput) -> np.ndarray:
    """Minus the modified entropy (each row with its own label), a threshold for each class."""
    return per_class(-scores.modified_entropy(inputs.logits, inputs.labels), inputs)
