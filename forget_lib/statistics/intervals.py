"""Intervals, paired tests and variance decomposition: how far a number of the study can be trusted.

Pure functions on numpy arrays (float64). With too few values an estimator refuses: `TooFewError` says how many are
needed. t-intervals over seeds, a bootstrap from 10 seeds on, an exact test from 6 seeds on.
"""

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from forget_lib.core.errors import ForgetError, TooFewError

BOOTSTRAP_FROM = 10
"""Number of seeds from which a bootstrap interval is used instead of a t-interval."""
SIGN_FLIP_FROM = 6
"""Fewest seeds for a sign-flip test: with 5 the smallest two-sided p is 0.0625."""
EXACT_TO = 20
"""Most differences of which all flips of their signs are tried; beyond, `FLIPS` random ones."""
FLIPS = 100_000
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
    """Mean with Student's t-interval, for 2 seeds or more: wide at 2 or 3, and honest. It knows no bounds: before it is
    shown, an interval goes through `within`."""
    array = _array(values, 2, "A t-interval")
    half = stats.t.ppf((1 + level) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    return Interval(float(array.mean()), float(array.mean() - half), float(array.mean() + half), len(array))


def bootstrap_interval(values: Values, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean with a bootstrap-t interval, for 10 seeds or more: it follows skewed values and keeps its coverage at 10.

    Where values are so alike that too many resamples have no spread, an end is not known, and it is Student's interval.
    Source: Efron & Tibshirani 1993, chapter 12.
    """
    array = _array(values, BOOTSTRAP_FROM, "A bootstrap interval")
    size, mean, error = len(array), array.mean(), array.std(ddof=1) / math.sqrt(len(array))
    if error == 0:
        return Interval(float(mean), float(mean), float(mean), size)
    drawn = array[np.random.default_rng(seed).integers(0, size, (resamples, size))]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(size)
    usable = errors > error * 1e-6
    if (~usable).mean() > (1 - level) / 2:
        return t_interval(array, level)
    pivots = (drawn.mean(axis=1)[usable] - mean) / errors[usable]
    low, high = np.quantile(pivots, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(mean - high * error), float(mean - low * error), size)


def mean_interval(values: Values, level: float = 0.95) -> Interval:
    """Mean over seeds: t-interval, bootstrap from 10 values on."""
    enough = np.size(values) >= BOOTSTRAP_FROM
    return bootstrap_interval(values, level) if enough else t_interval(values, level)


def possible_ends(
    mean: Values | float, low: Values | float, high: Values | float, least: Values | float, most: Values | float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of intervals around means of quantities that lie in [least, most]; an end that would lie outside is moved.

    It is then taken on a scale that ends there: the logit of the place in the range, or the logarithm of the distance
    from the only bound (delta method, slope at the mean). Ends inside stay as they are, and so do intervals whose mean
    is no possible value. A bound may be infinite. Source: Korn & Graubard, Survey Methodology 1998.
    """
    mean, low, high, least, most = (np.asarray(each, dtype=np.float64) for each in (mean, low, high, least, most))
    return _lower_end(mean, low, least, most), -_lower_end(-mean, -high, -most, -least)


def _lower_end(mean: np.ndarray, low: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # where an end is inside, what is computed here is not used
        above, width = mean - least, most - least
        odds = np.exp((low - mean) * (1 / above + 1 / (most - mean)))
        moved = least + above * odds / (1 - above / width * (1 - odds))
    return np.where((low < least) & (least < mean) & (mean < most), moved, low)


def within(interval: Interval, bounds: tuple[float, float]) -> Interval:
    """The interval of a quantity that lies within bounds, see `possible_ends`."""
    low, high = possible_ends(interval.value, interval.low, interval.high, *bounds)
    return interval._replace(low=float(low), high=float(high))


def seeds_needed(standard_deviation: float, margin: float, level: float = 0.95) -> int:
    """Fewest seeds at which the t-interval of a mean is at most +-`margin` wide, given the SD between seeds."""
    if standard_deviation < 0 or margin <= 0:
        raise ForgetError(f"Expected an SD >= 0 and a margin > 0, got {standard_deviation} and {margin}.")

    def half_width(number: int) -> float:
        return stats.t.ppf((1 + level) / 2, number - 1) * standard_deviation / math.sqrt(number)

    enough = 2
    while half_width(enough) > margin:
        enough *= 2
    return bisect.bisect_left(range(enough + 1), True, lo=2, key=lambda number: half_width(number) <= margin)


def auc(members: Values, non_members: Values) -> float:
    """Area under the ROC curve: P(member scores higher) + P(tie) / 2, in [0, 1]; 0.5 is chance."""
    positive = _array(members, 1, "AUC, members")
    negative = _array(non_members, 1, "AUC, non-members")
    ordered = np.sort(negative)
    twice = sum(np.searchsorted(ordered, positive, side).sum() for side in ("left", "right"))  # a tie counts once
    ranks = twice / 2 + len(positive) * (len(positive) + 1) / 2  # of the members among all
    return float((ranks / len(positive) - (len(positive) + 1) / 2) / len(negative))


def auc_interval(members: Values, non_members: Values, level: float = 0.95) -> Interval:
    """AUC of one target model with DeLong's interval over samples (independent given the model), within [0, 1]; `n`
    counts both sides. Source: DeLong et al., Biometrics 1988."""
    positive = _array(members, 2, "An AUC interval, members")
    negative = _array(non_members, 2, "An AUC interval, non-members")
    m, n = len(positive), len(negative)
    joint = stats.rankdata(np.concatenate([positive, negative]))
    above_negative = (joint[:m] - stats.rankdata(positive)) / n
    below_positive = 1 - (joint[m:] - stats.rankdata(negative)) / m
    area = float(above_negative.mean())
    error = math.sqrt(above_negative.var(ddof=1) / m + below_positive.var(ddof=1) / n)
    half = stats.norm.ppf((1 + level) / 2) * error
    return within(Interval(area, area - half, area + half, m + n), (0, 1))


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Exact binomial interval of a share. Conservative: covers at least `level`."""
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

    The threshold is the (floor(target * n) + 1)-th largest non-member score; a member is found if its score is strictly
    above it, so ties never push the rate over the target.
    """
    positive = _array(members, 1, "A true-positive rate, members")
    negative = np.sort(_array(non_members, 1, "A true-positive rate, non-members"))[::-1]
    if len(negative) < negatives_needed(target):
        raise TooFewError(
            f"A true-positive rate at {target:.3g} false positives needs at least {negatives_needed(target)} "
            f"non-members, got {len(negative)}; pool more target models or quote the AUC only."
        )
    threshold = negative[math.floor(target * len(negative) + 1e-9)]
    found = clopper_pearson(int((positive > threshold).sum()), len(positive), level)
    return DetectionRate(
        float(threshold), found, clopper_pearson(int((negative > threshold).sum()), len(negative), level)
    )


def cluster_bootstrap(
    clusters: Sequence | np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval of a statistic when samples come in clusters (images of one person): people are redrawn.

    clusters: the person of each sample, [N]. statistic: of how often each person is drawn, float [R, people] in sorted
    order, one value a row. Expanded percentile interval: percentiles are widened as t exceeds the normal at this
    number of people; `n` counts them.
    Source: Hesterberg, The American Statistician 2015.
    """
    people = len(np.unique(np.asarray(clusters)))
    if people < BOOTSTRAP_FROM:
        raise TooFewError(f"A bootstrap by person needs at least {BOOTSTRAP_FROM} people, got {people}.")
    drawn = np.random.default_rng(seed).integers(0, people, (resamples, people))
    values = statistic(np.stack([np.bincount(row, minlength=people) for row in drawn]).astype(np.float64))
    widened = stats.t.ppf((1 - level) / 2, people - 1) * math.sqrt(people / (people - 1))
    tail = stats.norm.cdf(widened)
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(statistic(np.ones((1, people)))[0]), float(low), float(high), people)


def differences(values: Values | Mapping, reference: Values | Mapping) -> np.ndarray:
    """values - reference, seed by seed. Two mappings are matched by key (seed, draw), two sequences by position."""
    if isinstance(values, Mapping) and isinstance(reference, Mapping):
        if set(values) != set(reference):
            unmatched = sorted(map(str, set(values) ^ set(reference)))
            raise ForgetError(f"Paired values must have the same seeds; only one side has {', '.join(unmatched)}.")
        values, reference = [values[key] for key in values], [reference[key] for key in values]
    if len(values) != len(reference):
        raise ForgetError(f"Paired values must have the same length, got {len(values)} and {len(reference)}.")
    return np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)


def paired_difference(values: Values | Mapping, reference: Values | Mapping, level: float = 0.95) -> Interval:
    """Mean of values - reference, paired by seed; interval as in `mean_interval`. See `differences`."""
    return mean_interval(differences(values, reference), level)


def sign_flip_test(paired: Values) -> float:
    """Two-sided p-value that paired differences are symmetric about 0, from all 2^n flips of their signs, or random
    ones beyond `EXACT_TO` differences."""
    array = _array(paired, SIGN_FLIP_FROM, "A sign-flip test")
    least = abs(array.sum()) - 1e-12 * np.abs(array).sum()
    if len(array) <= EXACT_TO:
        sums = np.zeros(1)
        for value in array:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= least).mean())
    signs = np.random.default_rng(0).integers(0, 2, (FLIPS, len(array)), dtype=np.int8) * 2 - 1
    return float(((np.abs(signs @ array) >= least).sum() + 1) / (FLIPS + 1))


def holm(p_values: Values) -> np.ndarray:
    """p-values adjusted by Holm within one metric family, in the order given: reject where the result is <= alpha."""
    array = _array(p_values, 1, "Holm's adjustment")
    if (array < 0).any() or (array > 1).any():
        raise ForgetError("p-values must lie in [0, 1].")
    order = np.argsort(array)
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(array[order] * np.arange(len(array), 0, -1)))
    return adjusted


def tost(paired: Values, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided t-tests: is the mean paired difference inside (-margin, margin), a margin fixed before looking?

    This, not a non-significant difference, supports "equal to retraining". `low`, `high`: the 1 - 2 alpha t-interval.
    """
    if margin <= 0:
        raise ForgetError(f"An equivalence margin must be positive, got {margin}.")
    array = _array(paired, 2, "An equivalence test")
    mean, low, high, size = t_interval(array, 1 - 2 * alpha)
    error = array.std(ddof=1) / math.sqrt(size)
    p_value = float(abs(mean) >= margin) if error == 0 else float(stats.t.sf((margin - abs(mean)) / error, size - 1))
    return Equivalence(p_value, low, high, p_value <= alpha)


def nested_variance_components(table: np.ndarray, resamples: int = 400, seed: int = 0) -> dict[str, Interval]:
    r"""Variances of forget draw, original within draw and method seed, each with a 95 % parametric bootstrap interval.

    table: float [draws D, originals S, runs J], :math:`v_{dsj} = \mu + d_d + o_{ds} + e_{dsj}`: the held-out sets
    follow the draw, so that no original belongs to two draws. From the mean squares of the nested layout; negative
    estimates are set to 0. With J = 1, "original" holds the runs' spread too. n is D.
    Returns "draw", "original", and with J > 1 "run". Raises: TooFewError below 2 draws or originals.
    """
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 3 or not np.isfinite(values).all():
        raise ForgetError(f"Expected a full, finite table [draws, originals, runs], got shape {values.shape}.")
    draws, originals, runs = values.shape
    if min(draws, originals) < 2:
        raise TooFewError(f"Variance components need at least 2 draws and 2 originals each, got {draws}, {originals}.")
    found = _nested(values)
    generator = np.random.default_rng(seed)
    shapes = {"draw": (draws, 1, 1), "original": (draws, originals, 1), "run": (draws, originals, runs)}
    again = []
    for _ in range(resamples):
        parts = [generator.normal(0, math.sqrt(found[name]), shapes[name]) for name in found]
        again.append(list(_nested(np.broadcast_to(sum(parts), values.shape)).values()))
    low, high = np.percentile(again, [2.5, 97.5], axis=0)
    ends = zip(found.items(), low, high, strict=True)
    return {name: Interval(value, float(least), float(most), draws) for (name, value), least, most in ends}


def _nested(values: np.ndarray) -> dict[str, float]:
    """Variance by source, see `nested_variance_components`."""
    _, originals, runs = values.shape
    cells = values.mean(axis=2)
    draw_squares = originals * runs * cells.mean(axis=1).var(ddof=1)
    original_squares = runs * cells.var(axis=1, ddof=1).mean()
    run_squares = values.var(axis=2, ddof=1).mean() if runs > 1 else 0.0
    found = {
        "draw": (draw_squares - original_squares) / (originals * runs),
        "original": (original_squares - run_squares) / runs,
    }
    found |= {"run": run_squares} if runs > 1 else {}
    return {name: max(0.0, float(value)) for name, value in found.items()}
