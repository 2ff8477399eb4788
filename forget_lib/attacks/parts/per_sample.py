"""Per-sample attacks: each sample is judged against reference models that did and did not see it.

Shapes: K references, n samples (forget first, then unseen). `inside` is the membership matrix, bool [K, n].
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm, t

from forget_lib.attacks import AttackInput
from forget_lib.attacks.parts.inputs import as_array
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import scores
from forget_lib.statistics.intervals import Interval

PER_SAMPLE_FROM = 32
"""Models a side from which each sample gets a variance of its own; below, one pooled residual variance is used."""
FEWEST = 2
"""Fewest models a side: one residual needs two."""
SMALLEST_SPREAD = 1e-3


def mean_and_variance(values: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each sample's values over the models of one side, float [n] each; as `location_and_spread`,
    with means, whose noise is known."""
    count = _enough(side)
    mean = np.where(side, values, 0).sum(axis=0) / count
    squares = np.where(side, values - mean, 0) ** 2
    return mean, np.maximum(_pooled(squares, count), SMALLEST_SPREAD**2)


def location_and_spread(values: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and standard deviation of each sample's values over the models of one side, float [n] each.

    values: float [K, n]. side: bool [K, n]. The deviation is per sample from 32 models a side on, else pooled
    over all residuals from the per-sample median (pooling the raw values would mix in how samples differ).
    Raises: TooFewError when a sample has fewer than 2 models on this side.
    """
    count = _enough(side)
    middle = np.nanmedian(np.where(side, values, np.nan), axis=0)
    squares = np.where(side, values - middle, 0) ** 2
    return middle, np.maximum(np.sqrt(_pooled(squares, count)), SMALLEST_SPREAD)


def _enough(side: np.ndarray) -> np.ndarray:
    """Models of a side by sample, int [n]. Raises: TooFewError below 2."""
    count = side.sum(axis=0)
    if count.min() < FEWEST:
        raise TooFewError(
            f"A per-sample attack needs at least {FEWEST} reference models with and {FEWEST} without each sample; one "
            f"has {int(count.min())}. Train at least {2 * FEWEST} references on complementary halves."
        )
    return count


def _pooled(squares: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Variance of each sample, [n], from squared residuals [K, n]; one for all below `PER_SAMPLE_FROM` models."""
    if count.min() >= PER_SAMPLE_FROM:
        return squares.sum(axis=0) / (count - 1)
    return np.full(len(count), squares.sum() / (count - 1).sum())


def likelihood_ratio(target: np.ndarray, values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    r"""LiRA: :math:`\log N(\phi_t; \mu_{in}, s_{in}) - \log N(\phi_t; \mu_{out}, s_{out})`, float [n]."""
    middle_in, spread_in = location_and_spread(values, inside)
    middle_out, spread_out = location_and_spread(values, ~inside)
    return norm.logpdf(target, middle_in, spread_in) - norm.logpdf(target, middle_out, spread_out)


class Influence(NamedTuple):
    """Samples of one target, float [n]: `found` w (φ - μ_out) and `whole` w (μ_in - μ_out); bool [n] `forget`; int [n]
    `names` of the samples, by which one sample is known in all targets."""

    found: np.ndarray
    whole: np.ndarray
    forget: np.ndarray
    names: np.ndarray


def influence(inputs: AttackInput, names: np.ndarray) -> Influence:
    """See `Influence`; the square of μ_in - μ_out is freed of what the noise of the two means adds to it."""
    margins, inside = scores.phi(inputs.pool.logits, inputs.labels), inputs.pool.membership
    mean_in, variance_in = mean_and_variance(margins, inside)
    mean_out, variance_out = mean_and_variance(margins, ~inside)
    moved, variance = mean_in - mean_out, (variance_in + variance_out) / 2
    noise = variance_in / inside.sum(axis=0) + variance_out / (~inside).sum(axis=0)
    found = moved * (scores.phi(inputs.logits, inputs.labels) - mean_out) / variance
    return Influence(found, (moved**2 - noise) / variance, np.arange(len(moved)) < inputs.number_forget, names)


def shares(targets: Sequence[Influence]) -> tuple[np.ndarray, Interval]:
    """The share left in each target, [R], and their mean with its 95 % interval over samples and targets.

    Variance: between targets, plus between samples (one sample is in many targets), less between the two together,
    which both hold. Redrawing both at once counts that thrice. Source: Cameron, Gelbach & Miller, JBES 2011.
    """
    number, values, chance = len(targets), [], np.zeros((len(targets), 1 + max(each.names.max() for each in targets)))
    for row, each in zip(chance, targets, strict=True):
        sides = []
        for sign, side in ((1, each.forget), (-1, ~each.forget)):
            found, whole = each.found[side], each.whole[side]
            sides.append(sign * found.sum() / whole.sum())
            np.add.at(row, each.names[side], (sign * found - sides[-1] * whole) / whole.sum() / number)
        values.append(sum(sides))
    together, variance = (chance**2).sum(), (chance.sum(axis=0) ** 2).sum()
    if number > 1:
        between = np.var(values, ddof=1) / number
        variance = max(between, between + variance - together)
    mean, half = np.mean(values), t.ppf(0.975, number - 1 or np.inf) * np.sqrt(variance)
    return np.array(values), Interval(float(mean), float(mean - half), float(mean + half), chance.shape[1])


def mean_probability(logits: np.ndarray, labels: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Mean probability of the true label over the models of one side, float [n] in (0, 1]."""
    log_p = scores.true_class(log_softmax(np.asarray(logits, dtype=np.float64), axis=-1), labels)
    if side.sum(axis=0).min() < 1:
        raise TooFewError("RMIA needs at least 1 reference model with and 1 without each sample.")
    return np.exp(logsumexp(np.where(side, log_p, -np.inf), axis=0)) / side.sum(axis=0)


def relative_score(
    inputs: AttackInput, expected: np.ndarray, transform: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """log r_x, less the median of log r_z over the population where there is one.

    The paper's score is the share of z with r_x / r_z > gamma: within one target it ranks samples as r_x does, but with
    ties that spoil low false-positive rates. The median keeps targets on one scale, so that they can be pooled.
    """
    relative = -scores.cross_entropy(inputs.logits, inputs.labels) - np.log(np.maximum(expected, 1e-300))
    logits, population = inputs.pool.population_logits, inputs.population
    if logits is None or population is None:
        return relative
    everywhere = np.ones(logits.shape[:2], dtype=bool)
    labels = as_array(population.labels)
    mean = transform(mean_probability(as_array(logits), labels, everywhere))
    own = -scores.cross_entropy(as_array(population.logits), labels)
    return relative - np.median(own - np.log(np.maximum(mean, 1e-300)))
