"""Re-identification (rank 1)."""

from forget_lib.attacks import ProbeInput, attack, source
from forget_lib.attacks.parts.probes import by_group
from forget_lib.statistics.measurement import Measurement


@attack("reidentification", title="Re-identification (rank 1)", null="second retrain", needs="embeddings")
@source("standard re-identification protocol")
def reidentification(inputs: ProbeInput) -> list[Measurement]:
    """Is the nearest gallery image of the same person? Rank-1 rate of forgotten and of retained people, in [0, 1].

    Intervals redraw people (from 10 people on). Ideal: as retrained; below it is over-forgetting.
    """
    nearest = inputs.gallery_people[inputs.similarity.argmax(axis=1)]
    return by_group("rank_1", nearest == inputs.query_people, inputs)
