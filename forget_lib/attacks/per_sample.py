"""Per-sample attacks: each sample is judged against reference models that did and did not see it.

Shapes: K references, n samples (forget first, then unseen). `inside` is the membership matrix, bool [K, n].
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm

from forget_lib import statistics
from forget_lib.attacks import scores
from forget_lib.attacks.registry import AttackInput, References, attack
from forget_lib.errors import TooFewError

PER_SAMPLE_FROM = 32
"""Models a side from which each sample gets a variance of its own; below, one pooled residual variance is used."""
FEWEST = 2
"""Fewest models a side: one residual needs two."""
OFFLINE_GRID = np.linspace(0, 1, 11)
TUNING_TARGETS = 4
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


@attack(
    "attack_r",
    title="Attack-R",
    paper="Ye et al., CCS 2022",
    null="0.5",
    needs="references",
)
def attack_r(inputs: AttackInput) -> np.ndarray:
    """Share of the references without the sample that are less sure of its label than the target is, in [0, 1].

    A per-sample p-value with a resolution of 1 / (models without it); ties count half.
    """
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.references.logits, inputs.labels)
    outside = ~inputs.references.membership
    if outside.sum(axis=0).min() < 1:
        raise TooFewError(
            "Attack-R needs at least 1 reference model without each sample; train 2 on complementary halves."
        )
    below = (values < target) + 0.5 * (values == target)
    return np.where(outside, below, 0).sum(axis=0) / outside.sum(axis=0)


@attack(
    "rmia_offline",
    title="RMIA, offline",
    paper="Zarifzadeh et al., ICML 2024",
    null="0.5",
    needs="references",
)
def rmia_offline(inputs: AttackInput) -> np.ndarray:
    r"""Relative likelihood against the models without the sample: :math:`\log p_t(x) - \log \Pr(x)`.

    :math:`\Pr(x) = ((1 + a) \bar p_{out}(x) + (1 - a)) / 2` takes :math:`\bar p_{in} = a \bar p_{out} + 1 - a`; `a` is
    tuned on references in the place of the target, never on the target. See `relative_score` for the population.
    """
    references = inputs.references
    a = tuned_a(references, inputs.labels)
    outside = mean_probability(references.logits, inputs.labels, ~references.membership)
    expected = ((1 + a) * outside + 1 - a) / 2
    return relative_score(inputs, expected, lambda population: ((1 + a) * population + 1 - a) / 2)


@attack(
    "rmia",
    title="RMIA, online",
    paper="Zarifzadeh et al., ICML 2024",
    null="0.5",
    needs="references",
)
def rmia(inputs: AttackInput) -> np.ndarray:
    r"""Relative likelihood :math:`\log p_t(x) - \log \Pr(x)`, :math:`\Pr` the mean over models with and without x."""
    references = inputs.references
    inside = mean_probability(references.logits, inputs.labels, references.membership)
    outside = mean_probability(references.logits, inputs.labels, ~references.membership)
    return relative_score(inputs, (inside + outside) / 2, lambda population: population)


def mean_probability(logits: np.ndarray, labels: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Mean probability of the true label over the models of one side, float [n] in (0, 1]."""
    log_p = scores.true_class(log_softmax(np.asarray(logits, dtype=np.float64), axis=-1), labels)
    if side.sum(axis=0).min() < 1:
        raise TooFewError("RMIA needs at least 1 reference model with and 1 without each sample.")
    return np.exp(logsumexp(np.where(side, log_p, -np.inf), axis=0)) / side.sum(axis=0)


def relative_score(inputs: AttackInput, expected: np.ndarray, transform) -> np.ndarray:
    """log r_x, less the median of log r_z over the population where there is one.

    The paper's score is the share of z with r_x / r_z > gamma: within one target it ranks samples as r_x does, but with
    ties that spoil low false-positive rates. The median keeps targets on one scale, so that they can be pooled.
    """
    relative = -scores.cross_entropy(inputs.logits, inputs.labels) - np.log(np.maximum(expected, 1e-300))
    population = inputs.references.population_logits
    if population is None or inputs.population_logits is None:
        return relative
    everywhere = np.ones(population.shape[:2], dtype=bool)
    mean = transform(mean_probability(population, inputs.population_labels, everywhere))
    own = -scores.cross_entropy(inputs.population_logits, inputs.population_labels)
    return relative - np.median(own - np.log(np.maximum(mean, 1e-300)))


def tuned_a(references: References, labels: np.ndarray) -> float:
    """The `a` in {0, 0.1, ..., 1} with the best mean AUC when references stand in for the target.

    The stand-in and its complement are left out of the references, so that each sample keeps as many models without it.
    Raises: TooFewError below 4 references.
    """
    if references.number < 4:
        raise TooFewError(f"Tuning RMIA's a needs at least 4 references, got {references.number}.")
    areas = np.zeros(len(OFFLINE_GRID))
    for stand_in in range(min(TUNING_TARGETS, references.number)):
        truth = references.membership[stand_in]
        if truth.all() or not truth.any():
            continue
        others = ~((references.membership == truth).all(axis=1) | (references.membership == ~truth).all(axis=1))
        outside = ~references.membership[others]
        if not others.any() or outside.sum(axis=0).min() < 1:
            continue
        mean = mean_probability(references.logits[others], labels, outside)
        own = -scores.cross_entropy(references.logits[stand_in], labels)
        for position, a in enumerate(OFFLINE_GRID):
            relative = own - np.log(np.maximum(((1 + a) * mean + 1 - a) / 2, 1e-300))
            areas[position] += statistics.auc(relative[truth], relative[~truth])
    return float(OFFLINE_GRID[areas.argmax()])


@attack(
    "lira_offline",
    title="LiRA, offline",
    paper="Carlini et al., S&P 2022",
    null="0.5",
    needs="references",
)
def lira_offline(inputs: AttackInput) -> np.ndarray:
    r"""How far the margin lies above models without the sample: :math:`(\phi_t - \mu_{out}) / s_{out}`, one-sided."""
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.references.logits, inputs.labels)
    middle, spread = location_and_spread(values, ~inputs.references.membership)
    return (target - middle) / spread


@attack(
    "lira",
    title="LiRA, online",
    paper="Carlini et al., S&P 2022",
    null="0.5",
    needs="references",
)
def lira(inputs: AttackInput) -> np.ndarray:
    """Likelihood ratio of the target's margin under models trained with and without the sample."""
    target = scores.phi(inputs.logits, inputs.labels)
    return likelihood_ratio(target, scores.phi(inputs.references.logits, inputs.labels), inputs.references.membership)


@attack(
    "u_lira",
    title="U-LiRA, shared pool",
    paper="Hayes et al., 2024 (arXiv 2403.01218)",
    null="0.5",
    needs="unlearned references",
)
def u_lira(inputs: AttackInput) -> np.ndarray:
    """LiRA on references that the method under attack has unlearned: "trained on, then removed" against "never seen".

    Each reference k forgets its part of the evaluation samples; where it had seen x it speaks for the first hypothesis,
    elsewhere for the second. One pool of trained references serves all methods.
    """
    target = scores.phi(inputs.logits, inputs.labels)
    values = scores.phi(inputs.references.unlearned_logits, inputs.labels)
    return likelihood_ratio(target, values, inputs.references.membership)
