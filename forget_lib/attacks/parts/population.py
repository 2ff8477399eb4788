"""Population attacks: one rule for every sample. Usual in published tables, and blind in the tail."""

import numpy as np

from forget_lib.attacks import AttackInput


def per_class(score: np.ndarray, inputs: AttackInput) -> np.ndarray:
    """Scores centred and scaled within each class, so that one threshold on the result is a threshold for each class.

    Mean and deviation are taken over forget and unseen samples together: blind to who is which, so nothing is found
    where there is nothing. Ranks within a class would tie at the top and spoil low false-positive rates.
    """
    standard = np.empty(len(score))
    for label in np.unique(inputs.labels):
        own = inputs.labels == label
        standard[own] = (score[own] - score[own].mean()) / max(score[own].std(), 1e-12)
    return standard
