"""Per-sample attacks: each sample is judged against reference models that did and did not see it.

Shapes: K references, n samples (forget first, then unseen). `inside` is the membership matrix, bool [K, n].
"""

from collections.abc import Callable

import numpy as np
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm

from forget_lib.attacks import AttackInput
from forget_lib.attacks.parts.inputs import as_array
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import scores

PER_SAMPLE_FROM = 32
"""Models a side from which each sample gets a variance of its own; below, one pooled residual variance is used."""
FEWEST = 2
"""Fewest models a side: one residual needs two."""
SMALLEST_SPREAD = 1e-3


def location_and_spread(values: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and standard deviation of each sample's values over the models of one side, float [n] each.

    values: float [K, n]. side: bool [K, n]. The deviation is per sample from 32 models a side on, else pooled
    over all residuals from the per-sample median (pooling the raw values would mix in how samples differ).
    Raises: TooFewError when a sample has fewer than 2 models on this side.
    """
    count = side.sum(axis=0)
    if count.min() < FEWEST:
        raise TooFewError(
            f"A per-sample attack needs at least {FEWEST} reference models with and {FEWEST} without each sample; one "
            f"has {int(count.min())}. Train at least {2 * FEWEST} references on complementary halves."
        )
    held = np.where(side, values, np.nan)
    middle = np.nanmedian(held, axis=0)
    squares = np.where(side, values - middle, 0) ** 2
    if count.min() >= PER_SAMPLE_FROM:
        spread = np.sqrt(squares.sum(axis=0) / (count - 1))
    else:
        spread = np.full(len(middle), np.sqrt(squares.sum() / (count - 1).sum()))
    return middle, np.maximum(spread, SMALLEST_SPREAD)


def likelihood_ratio(target: np.ndarray, values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    r"""LiRA: :math:`\log N(\phi_t; \mu_{in}, s_{in}) - \log N(\phi_t; \mu_{out}, s_{out})`, float [n]."""
    middle_in, spread_in = location_and_spread(values, inside)
    middle_out, spread_out = location_and_spread(values, ~inside)
    return norm.logpdf(target, middle_in, spread_in) - norm.logpdf(target, middle_out, spread_out)


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
