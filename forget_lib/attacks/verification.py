"""Verification (EER, TAR, d')."""

import numpy as np

from forget_lib.attacks import ProbeInput, attack, source
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement


def equal_error_rate(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Rate at which false acceptances and false rejections are nearest, their mean, in [0, 1]; 0.5 is chance."""
    if min(len(genuine), len(impostor)) < 1:
        raise TooFewError("An equal error rate needs at least 1 genuine and 1 impostor pair.")
    thresholds = np.append(np.unique(np.concatenate([genuine, impostor])), np.inf)
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


@attack("verification", title="Verification (EER, TAR, d')", null="second retrain", needs="embeddings")
@source("standard face verification protocol")
def verification(inputs: ProbeInput) -> list[Measurement]:
    """Are two images the same (forgotten) person? Cosine similarity of genuine against impostor pairs.

    EER in [0, 1]; TAR at 1 % false acceptances (from 1,000 impostor pairs on); separation d'. Ideal: as retrained.
    """
    rows = np.isin(inputs.query_people, inputs.forgotten)
    same = inputs.query_people[rows, None] == inputs.gallery_people[None, :]
    genuine, impostor = inputs.similarity[rows][same], inputs.similarity[rows][~same]
    found = [
        Measurement("equal_error_rate", equal_error_rate(genuine, impostor), unit="share", n=len(genuine)),
        Measurement("verification_auc", intervals.auc(genuine, impostor), unit="auc", n=len(genuine)),
    ]
    if min(len(genuine), len(impostor)) > 1:
        found.append(Measurement("separation", separation(genuine, impostor), unit="d'", n=len(genuine)))
    if len(impostor) >= intervals.negatives_needed(0.01):
        rate = intervals.tpr_at_fpr(genuine, impostor, 0.01).true_positive_rate
        found.append(Measurement("tar_at_1_far", rate.value, rate.low, rate.high, "share", n=rate.n))
    return found
