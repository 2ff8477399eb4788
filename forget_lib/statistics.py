"""Intervals, paired tests and variance decomposition: how far a number of the study can be trusted.

Everything here is a pure function on numpy arrays (float64). Where there are too few values for an
estimator it refuses with `TooFewError`, which says how many are needed. The protocol is the one of the
study: t-intervals over seeds, a bootstrap from 10 seeds on, an exact test from 6 seeds on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from forget_lib.errors import ForgetError, TooFewError

BOOTSTRAP_FROM = 10
"""Number of seeds from which a bootstrap interval is used instead of a t-interval."""
SIGN_FLIP_FROM = 6
"""Fewest seeds for a sign-flip test: with 5 the smallest two-sided p-value is 0.0625."""
NEGATIVES_PER_FALSE_POSITIVE = 10
"""A rate of false positives f is only quoted with at least 10 / f negatives."""

Values = Sequence[float] | np.ndarray


class Interval(NamedTuple):
    """An estimate with its interval; `n` is the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: int


class DetectionRate(NamedTuple):
    """True-positive rate at a false-positive rate, both with Clopper-Pearson intervals."""

    threshold: float
    true_positive_rate: Interval
    false_positive_rate: Interval


class Equivalence(NamedTuple):
    """Result of two one-sided tests: `low`, `high` bound the mean difference at level 1 - 2 alpha."""

    p_value: float
    low: float
    high: float
    equivalent: bool


def _array(values: Values, fewest: int, what: str) -> np.ndarray:
    """Finite float64 vector of at least `fewest` values, or an error that says what is missing."""
    array = np.asarray(values, dtype=np.float64).ravel()
    if len(array) < fewest:
        raise TooFewError(f"{what} needs at least {fewest} values, got {len(array)}; run more of them.")
    if not np.isfinite(array).all():
        raise ForgetError(f"{what}: {int((~np.isfinite(array)).sum())} of {len(array)} values are not finite.")
    return array


def t_interval(values: Values, level: float = 0.95) -> Interval:
    """Mean with Student's t-interval, for 2 seeds or more.

    Assumes roughly normal values; the width at 2 or 3 seeds is large, and honest.
    Raises: TooFewError below 2 values.
    """
    array = _array(values, 2, "A t-interval")
    half = stats.t.ppf((1 + level) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    return Interval(float(array.mean()), float(array.mean() - half), float(array.mean() + half), len(array))


def auc(members: Values, non_members: Values) -> float:
    """Area under the ROC curve: P(member scores higher) + P(tie) / 2, in [0, 1]; 0.5 is chance.

    Signed: a value below 0.5 says that members score *lower*. Exact with ties (mid-ranks).
    Raises: TooFewError when a side is empty.
    """
    positive = _array(members, 1, "AUC, members")
    negative = _array(non_members, 1, "AUC, non-members")
    ranks = stats.rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() / len(positive) - (len(positive) + 1) / 2) / len(negative))


def auc_interval(members: Values, non_members: Values, level: float = 0.95) -> Interval:
    """AUC of one target model with DeLong's interval over samples; `n` counts both sides.

    It treats samples as independent given the model. Variation between models is not in it: over
    several targets use `mean_interval` of their AUCs.
    Raises: TooFewError below 2 samples a side. Source: DeLong et al., Biometrics 1988.
    """
    positive = _array(members, 2, "An AUC interval, members")
    negative = _array(non_members, 2, "An AUC interval, non-members")
    m, n = len(positive), len(negative)
    joint = stats.rankdata(np.concatenate([positive, negative]))
    above_negative = (joint[:m] - stats.rankdata(positive)) / n
    below_positive = 1 - (joint[m:] - stats.rankdata(negative)) / m
    area = float(above_negative.mean())
    error = math.sqrt(above_negative.var(ddof=1) / m + below_positive.var(ddof=1) / n)
    half = stats.norm.ppf((1 + level) / 2) * error
    return Interval(area, float(max(0.0, area - half)), float(min(1.0, area + half)), m + n)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Exact binomial interval of a share. Conservative: covers at least `level`.

    Raises: TooFewError without a trial; ForgetError if successes lie outside 0..trials.
    """
    if trials < 1:
        raise TooFewError("A Clopper-Pearson interval needs at least 1 trial, got 0.")
    if not 0 <= successes <= trials:
        raise ForgetError(f"{successes} successes of {trials} trials: expected 0 to {trials}.")
    alpha = 1 - level
    low = 0.0 if successes == 0 else stats.beta.ppf(alpha / 2, successes, trials - successes + 1)
    high = 1.0 if successes == trials else stats.beta.ppf(1 - alpha / 2, successes + 1, trials - successes)
    return Interval(successes / trials, float(low), float(high), trials)


def negatives_needed(target: float) -> int:
    """Negatives needed before a true-positive rate at false-positive rate `target` may be quoted."""
    return math.ceil(NEGATIVES_PER_FALSE_POSITIVE / target - 1e-9)


def tpr_at_fpr(members: Values, non_members: Values, target: float = 0.01, level: float = 0.95) -> DetectionRate:
    """True-positive rate at the largest false-positive rate at or under `target`.

    The threshold is the (floor(target * n) + 1)-th largest non-member score; a member is found if its
    score is strictly above it, so ties never push the false-positive rate over the target.
    Raises: TooFewError with fewer than 10 / target non-members.
    """
    positive = _array(members, 1, "A true-positive rate, members")
    negative = np.sort(_array(non_members, 1, "A true-positive rate, non-members"))[::-1]
    if len(negative) < negatives_needed(target):
        raise TooFewError(
            f"A true-positive rate at {target:.3g} false positives needs at least {negatives_needed(target)} "
            f"non-members, got {len(negative)}; pool more target models or quote the AUC only."
        )
    threshold = negative[math.floor(target * len(negative) + 1e-9)]
    found, false = int((positive > threshold).sum()), int((negative > threshold).sum())
    return DetectionRate(
        float(threshold),
        clopper_pearson(found, len(positive), level),
        clopper_pearson(false, len(negative), level),
    )
