"""Is a forgotten person, or class, still in the features? Probes of the embedding.

The null of every probe is a second retrained model, not chance: a face that was never seen stays recognisable.
"""

import numpy as np

from forget_lib.attacks import ProbeInput
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement


def by_group(metric: str, right: np.ndarray, inputs: ProbeInput) -> list[Measurement]:
    """Mean over queries of forgotten and of retained people, with an interval by person where there are enough."""
    found = []
    forgotten = np.isin(inputs.query_people, inputs.forgotten)
    for group, rows in (("forgotten", forgotten), ("retained", ~forgotten)):
        if not rows.any():
            continue
        hits, people = right[rows].astype(np.float64), inputs.query_people[rows]
        codes = np.unique(people, return_inverse=True)[1]
        low = high = None
        if codes.max() + 1 >= intervals.BOOTSTRAP_FROM:
            of_people, images = np.bincount(codes, hits), np.bincount(codes).astype(np.float64)

            def share(drawn: np.ndarray, hits: np.ndarray = of_people, images: np.ndarray = images) -> np.ndarray:
                return (drawn @ hits) / (drawn @ images)

            redrawn = intervals.cluster_bootstrap(people, share, seed=inputs.seed)
            low, high = redrawn.low, redrawn.high
        found.append(Measurement(f"{metric}_{group}", float(hits.mean()), low, high, "share", n=int(rows.sum())))
    return found
