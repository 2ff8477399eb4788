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
        low = high = None
        if len(np.unique(people)) >= intervals.BOOTSTRAP_FROM:

            def share(drawn: np.ndarray, hits: np.ndarray = hits) -> float:
                return hits[drawn].mean()

            redrawn = intervals.cluster_bootstrap(people, share, seed=inputs.seed)
            low, high = redrawn.low, redrawn.high
        found.append(Measurement(f"{metric}_{group}", float(hits.mean()), low, high, "share", n=int(rows.sum())))
    return found
