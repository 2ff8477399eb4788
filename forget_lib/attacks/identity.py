"""Is a forgotten person, or class, still in the features? Probes of the embedding.

The null of every probe is a second retrained model, not chance: a face that was never seen stays recognisable.
Embeddings are float [N, D], people int [N].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from forget_lib import statistics
from forget_lib.attacks.registry import attack
from forget_lib.errors import ForgetError, TooFewError
from forget_lib.results import Measurement


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


def equal_error_rate(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Rate at which false acceptances and false rejections are alike, in [0, 1]; 0.5 is chance.

    Higher scores mean "same person". Between two thresholds the mean of the two rates where they are nearest.
    Raises: TooFewError for an empty side.
    """
    if min(len(genuine), len(impostor)) < 1:
        raise TooFewError("An equal error rate needs at least 1 genuine and 1 impostor pair.")
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(thresholds, np.inf)
    rejected = np.searchsorted(np.sort(genuine), thresholds, "left") / len(genuine)
    accepted = 1 - np.searchsorted(np.sort(impostor), thresholds, "left") / len(impostor)
    nearest = np.abs(rejected - accepted).argmin()
    return float((rejected[nearest] + accepted[nearest]) / 2)


def separation(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """d': distance of the means of genuine and impostor similarities in pooled SDs; unbounded, 0 = no separation."""
    if min(len(genuine), len(impostor)) < 2:
        raise TooFewError("A separation needs at least 2 genuine and 2 impostor pairs.")
    spread = np.sqrt((np.var(genuine, ddof=1) + np.var(impostor, ddof=1)) / 2)
    return float((np.mean(genuine) - np.mean(impostor)) / max(spread, 1e-12))


def _pairs(inputs: ProbeInput) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities of genuine and impostor pairs with a forgotten person's query, and who the genuine one is."""
    rows = np.isin(inputs.query_people, inputs.forgotten)
    same = inputs.query_people[rows, None] == inputs.gallery_people[None, :]
    similarity = inputs.similarity[rows]
    owner = np.broadcast_to(inputs.query_people[rows, None], same.shape)
    return similarity[same], similarity[~same], owner[same]


@attack(
    "verification",
    title="Verification (EER, TAR, d')",
    paper="standard face verification protocol",
    null="second retrain",
    needs="embeddings",
)
def verification(inputs: ProbeInput) -> list[Measurement]:
    """Are two images the same (forgotten) person? Cosine similarity of genuine against impostor pairs.

    EER in [0, 1]; TAR at 1 % false acceptances (from 1,000 impostor pairs on); separation d'. Ideal: as retrained.
    """
    genuine, impostor, _ = _pairs(inputs)
    found = [
        Measurement("equal_error_rate", equal_error_rate(genuine, impostor), unit="share", n=len(genuine)),
        Measurement("verification_auc", statistics.auc(genuine, impostor), unit="auc", n=len(genuine)),
    ]
    if min(len(genuine), len(impostor)) > 1:
        found.append(Measurement("separation", separation(genuine, impostor), unit="d'", n=len(genuine)))
    if len(impostor) >= statistics.negatives_needed(0.01):
        rate = statistics.tpr_at_fpr(genuine, impostor, 0.01).true_positive_rate
        found.append(Measurement("tar_at_1_far", rate.value, rate.low, rate.high, "share", n=rate.n))
    return found


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


@attack(
    "linear_probe",
    title="Linear probe",
    paper="Alain & Bengio 2016; representation probing of unlearned models",
    null="second retrain",
    needs="embeddings",
)
def linear_probe(inputs: ProbeInput) -> list[Measurement]:
    """Recall of a logistic regression on frozen features, trained on the gallery and tested on the queries, in [0, 1].

    A method that only turns the last layer away keeps a high recall here. Ideal: as retrained.
    """
    middle, scale = inputs.gallery.mean(axis=0), inputs.gallery.std(axis=0) + 1e-6
    probe = LogisticRegression(max_iter=300).fit((inputs.gallery - middle) / scale, inputs.gallery_people)
    guess = probe.predict((inputs.queries - middle) / scale)
    return _by_group("probe_recall", guess == inputs.query_people, inputs)


def _by_group(metric: str, right: np.ndarray, inputs: ProbeInput) -> list[Measurement]:
    """Mean over queries of forgotten and of retained people, with an interval by person where there are enough."""
    found = []
    forgotten = np.isin(inputs.query_people, inputs.forgotten)
    for group, rows in (("forgotten", forgotten), ("retained", ~forgotten)):
        if not rows.any():
            continue
        hits, people = right[rows].astype(np.float64), inputs.query_people[rows]
        low = high = None
        if len(np.unique(people)) >= statistics.BOOTSTRAP_FROM:
            redrawn = statistics.cluster_bootstrap(people, lambda i, hits=hits: hits[i].mean(), seed=inputs.seed)
            low, high = redrawn.low, redrawn.high
        found.append(Measurement(f"{metric}_{group}", float(hits.mean()), low, high, "share", n=int(rows.sum())))
    return found
