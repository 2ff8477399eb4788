"""Re-identification (rank 1)."""

from __future__ import annotations

from forget_lib.attacks.parts.probes import ProbeInput, _by_group
from forget_lib.attacks.registry import attack
from forget_lib.statistics.measurement import Measurement


@attack(
    "reidentification",
    title="Re-identification (rank 1)",
    paper="standard re-identification protocol",
    null="second retrain",
    needs="embeddings",
)
def reidentification(inputs: ProbeInput) -> list[Measurement]:
    """Is the nearest gallery image of the same person? Rank-1 rate of forgotten and of retained people, in [0, 1].

    Intervals redraw people (from 10 people on). Ideal: as retrained; below it is over-forgetting.
    """
    nearest = inputs.gallery_people[inputs.similarity.argmax(axis=1)]
    return _by_group("rank_1", nearest == inputs.query_people, inputs)
