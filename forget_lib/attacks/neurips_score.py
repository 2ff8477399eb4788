"""The score of the NeurIPS 2023 unlearning challenge, its null, and a better calibrated variant.

Families of N unlearned and N retrained models; margins phi float [N, n] on n forget samples. The published rules scan
thresholds on a grid; here they are counted exactly from order statistics, which is faster and has no grid to choose.
"""

import numpy as np
from scipy.stats import beta

from forget_lib.attacks import FamilyInput, attack, source
from forget_lib.statistics.intervals import BOOTSTRAP_FROM
from forget_lib.statistics.measurement import Measurement

DELTA = 1e-5
HIGHEST = 50.0
BIN = 0.5
RANGE_SLACK = 2.0
PEAKED = 0.01


def rule_rates(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False-positive and false-negative rates of all rules of one sample; two float arrays.

    positive, negative: margins [N], `positive` has the larger median. Single thresholds: positive if phi >= t. Double
    thresholds: the family of smaller range inside an interval as wide as that range, give or take 2, the other outside.
    """
    joint = np.sort(np.concatenate([positive, negative]))
    below_positive = np.searchsorted(np.sort(positive), joint, "left") / len(positive)
    below_negative = np.searchsorted(np.sort(negative), joint, "left") / len(negative)
    peaked, wide = (positive, negative) if np.ptp(positive) <= np.ptp(negative) else (negative, positive)
    allowed = _allowed_intervals(joint, np.ptp(peaked))
    inside_peaked, inside_wide = (_interval_shares(joint, values)[allowed] for values in (peaked, wide))
    return np.concatenate([1 - below_negative, inside_wide]), np.concatenate([below_positive, 1 - inside_peaked])


def _interval_shares(joint: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of `values` in [joint_i, joint_j] for all i, j, float [2N, 2N]."""
    ordered = np.sort(values)
    upto = np.searchsorted(ordered, joint, "right")
    under = np.searchsorted(ordered, joint, "left")
    return np.maximum(upto[None, :] - under[:, None], 0) / len(values)


def _allowed_intervals(joint: np.ndarray, width: float) -> np.ndarray:
    """Which blocks i..j of sorted values some interval of the allowed width cuts out, bool [2N, 2N]."""
    smallest = joint[None, :] - joint[:, None]
    right = np.append(joint[1:], np.inf)
    left = np.append(-np.inf, joint[:-1])
    largest = right[None, :] - left[:, None]
    return (smallest >= 0) & (smallest <= width + RANGE_SLACK) & (largest >= width - RANGE_SLACK)


def epsilon_of_rates(false_positive: np.ndarray, false_negative: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """epsilon that each rule demonstrates, in [0, 50]: 50 if it never errs; 0 (discarded) if exactly one rate is 0."""
    one, two = np.asarray(false_positive, dtype=np.float64), np.asarray(false_negative, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.log((1 - delta - one) / two)
        second = np.log((1 - delta - two) / one)
    best = np.maximum(np.nan_to_num(first, nan=0, neginf=0), np.nan_to_num(second, nan=0, neginf=0))
    best = np.where((one == 0) ^ (two == 0), 0, best)
    return np.clip(np.where((one == 0) & (two == 0), HIGHEST, best), 0, HIGHEST)


def sample_epsilons(unlearned: np.ndarray, retrained: np.ndarray) -> np.ndarray:
    """epsilon of each sample, float [n] in [0, 50]: the best rule, or 50 where one family is far more peaked."""
    epsilons = np.empty(unlearned.shape[1])
    for column, (one, two) in enumerate(zip(unlearned.T, retrained.T, strict=True)):
        positive, negative = (one, two) if np.median(one) >= np.median(two) else (two, one)
        epsilons[column] = epsilon_of_rates(*rule_rates(positive, negative)).max()
        ranges = sorted([np.ptp(one), np.ptp(two)])
        if ranges[1] > 0 and ranges[0] / ranges[1] < PEAKED:
            epsilons[column] = HIGHEST
    return epsilons


def points(epsilons: np.ndarray, models: int) -> np.ndarray:
    """Points of each sample: 2 / 2^n in the n-th bin of width 0.5, 0 beyond ceil(ln(N - 1)); float in [0, 1]."""
    place = np.floor(np.asarray(epsilons) / BIN) + 1
    return np.where(np.asarray(epsilons) < np.ceil(np.log(models - 1)), 2.0 ** (1 - place), 0.0)


def calibrated_epsilons(unlearned: np.ndarray, retrained: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Lower bound on epsilon of each sample, float [n]: threshold chosen on half of the models, bounded on the other.

    On the second half both error rates get Clopper-Pearson upper bounds (together at `level`), so perfect unlearning
    gives 0 in at least `level` of the samples: the maximum over many rules no longer counts as evidence.
    """
    half = len(unlearned) // 2
    bounds = np.zeros(unlearned.shape[1])
    for column, (one, two) in enumerate(zip(unlearned.T, retrained.T, strict=True)):
        sign = 1 if np.median(one[:half]) >= np.median(two[:half]) else -1
        positive, negative = sign * one, sign * two
        cuts = np.sort(np.concatenate([positive[:half], negative[:half]]))
        errors = (negative[:half, None] >= cuts).mean(axis=0) + (positive[:half, None] < cuts).mean(axis=0)
        cut = cuts[errors.argmin()]
        rates = [(negative[half:] >= cut), (positive[half:] < cut)]
        one, two = (_upper(int(part.sum()), len(part), (1 - level) / 2) for part in rates)
        bounds[column] = max(0.0, *(np.log(max(1 - DELTA - a, 1e-12) / b) for a, b in ((one, two), (two, one))))
    return bounds


def _upper(errors: int, number: int, alpha: float) -> float:
    return 1.0 if errors == number else float(beta.ppf(1 - alpha, errors + 1, number - errors))


@attack("neurips_score", title="NeurIPS 2023 score", null="1 (retrain against retrain)", needs="families of models")
@source("Triantafillou et al., 2024 (challenge's metric)", arxiv="2406.09073")
def neurips_score(inputs: FamilyInput) -> list[Measurement]:
    """Forgetting quality F, final score F x utility, and F relative to its null (held-out retrains at the same N).

    F of *perfect* unlearning is about 0.11, not 1, since the best of many rules is taken; so only the ratio can be
    read, and F at different N never compared. Also the mean calibrated bound on epsilon (`calibrated_epsilons`), nats.
    """
    number, samples = inputs.unlearned.shape
    each = points(sample_epsilons(inputs.unlearned, inputs.retrained), number)
    quality, ends = float(each.mean()), _over_samples(each)
    bounds = calibrated_epsilons(inputs.unlearned, inputs.retrained)
    found = [
        Measurement("forgetting_quality", quality, *ends, unit="points", n=samples),
        Measurement("final_score", quality * inputs.utility, unit="points", n=samples),
        Measurement("calibrated_epsilon", float(bounds.mean()), *_over_samples(bounds), unit="nats", n=samples),
    ]
    if inputs.held_out is not None:
        null = points(sample_epsilons(inputs.held_out, inputs.retrained), number)
        found[0] = found[0]._replace(null=float(null.mean()))
        ratio = quality / null.mean() if null.mean() else float("nan")
        ends = _over_samples(each, null)
        found.append(Measurement("relative_quality", float(ratio), *ends, n=samples, null=1.0))
    return found


def _over_samples(values: np.ndarray, divisor: np.ndarray | None = None) -> tuple[float | None, float | None]:
    """95 % interval of a mean over samples, or of a ratio of means, redrawing samples; None below 10 samples."""
    if len(values) < BOOTSTRAP_FROM:
        return None, None
    drawn = np.random.default_rng(0).integers(0, len(values), (1000, len(values)))
    means = values[drawn].mean(axis=1)
    if divisor is not None:
        below = divisor[drawn].mean(axis=1)
        means = np.divide(means, below, out=np.full(len(means), np.nan), where=below > 0)
    if not np.isfinite(means).any():
        return None, None
    low, high = np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)
