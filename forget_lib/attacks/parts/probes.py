"""Is a forgotten person, or class, still in the features? Probes of the embedding.

The null of every probe is a second retrained model, not chance: a face that was never seen stays recognisable.
Embeddings are float [N, D], people int [N].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forget_lib.core.errors import ForgetError
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement


@dataclass(frozen=True)
class ProbeInput:
    """Penultimate features of one model.

    gallery: float [G, D], enrolled images with gallery_people [G]; they also train the linear probe, so they hold
    images of the forgotten people. queries: float [Q, D] with query_people [Q]: other images, none in the gallery.
    forgotten: ids of the forgotten people (or classes).
    """

    gallery: np.ndarray
    gallery_people: np.ndarray
    queries: np.ndarray
    query_people: np.ndarray
    forgotten: tuple[int, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            not np.isin(self.forgotten, self.gallery_people).all()
            or not np.isin(self.forgotten, self.query_people).all()
        ):
            raise ForgetError("Every forgotten person needs at least one gallery and one query image.")
        if not (np.isfinite(self.gallery).all() and np.isfinite(self.queries).all()):
            raise ForgetError("Embeddings must be finite.")

    @property
    def similarity(self) -> np.ndarray:
        """Cosine similarity of queries and gallery, float64 [Q, G] in [-1, 1]."""
        one, two = (np.asarray(part, dtype=np.float64) for part in (self.queries, self.gallery))
        one, two = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (one, two))
        return one @ two.T


def _by_group(metric: str, right: np.ndarray, inputs: ProbeInput) -> list[Measurement]:
    """Mean over queries of forgotten and of retained people, with an interval by person where there are enough."""
    found = []
    forgotten = np.isin(inputs.query_people, inputs.forgotten)
    for group, rows in (("forgotten", forgotten), ("retained", ~forgotten)):
        if not rows.any():
            continue
        hits, people = right[rows].astype(np.float64), inputs.query_people[rows]
        low = high = None
        if len(np.unique(people)) >= intervals.BOOTSTRAP_FROM:
            redrawn = intervals.cluster_bootstrap(people, lambda i, hits=hits: hits[i].mean(), seed=inputs.seed)
            low, high = redrawn.low, redrawn.high
        found.append(Measurement(f"{metric}_{group}", float(hits.mean()), low, high, "share", n=int(rows.sum())))
    return found
