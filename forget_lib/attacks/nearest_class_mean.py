"""Nearest class mean."""

import numpy as np

from forget_lib.attacks import ProbeInput, attack, source
from forget_lib.attacks.parts.probes import by_group
from forget_lib.statistics.measurement import Measurement


@attack("nearest_class_mean", title="Nearest class mean", null="second retrain", needs="embeddings", kind="table")
@source("Rebuffi et al., CVPR 2017 (nearest-mean-of-exemplars)", arxiv="1611.07725")
def nearest_class_mean(inputs: ProbeInput) -> list[Measurement]:
    """Recall of queries by the nearest mean of the gallery's features, a mean a class (or person), in [0, 1].

    Features and means have length 1, so that the nearest has the largest cosine. It looks for what is left of a class
    without training a head, so that a class which the model never knew scores as in a retrained model. Ideal: as
    retrained.
    """
    classes = np.unique(inputs.gallery_people)
    gallery, queries = (_unit(np.asarray(part, dtype=np.float64)) for part in (inputs.gallery, inputs.queries))
    means = _unit(np.stack([gallery[inputs.gallery_people == each].mean(axis=0) for each in classes]))
    guess = classes[(queries @ means.T).argmax(axis=1)]
    return by_group("class_mean_recall", guess == inputs.query_people, inputs)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
