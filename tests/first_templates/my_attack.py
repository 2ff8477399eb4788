"""An attack: a number for each sample, higher where the model seems to have been trained on it."""

import numpy as np

from forget_lib.attacks import AttackInput, attack


@attack("my_attack", title="Margin", paper="this file", null="0.5")
def my_attack(inputs: AttackInput) -> np.ndarray:
    """The lead of the true class over the next one; logits [forget, then unseen samples; classes]."""
    logits, rows = inputs.logits.copy(), np.arange(len(inputs.labels))
    own = logits[rows, inputs.labels]
    logits[rows, inputs.labels] = -np.inf
    return own - logits.max(axis=1)
