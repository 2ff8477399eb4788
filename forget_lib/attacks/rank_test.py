"""Were these people in the training set? For whole people or families, and for requests of a few images."""

from functools import lru_cache

import numpy as np
from scipy.stats import mannwhitneyu

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.inputs import as_array
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import intervals, scores
from forget_lib.statistics.measurement import Measurement

FEWEST = 4  # units a side: fewer cannot reach p < 0.05


@attack("rank_test", title="Exact rank test by person", null="0.5")
@source("Mann & Whitney, Annals of Mathematical Statistics 1947")
def rank_test(inputs: AttackInput) -> list[Measurement]:
    """Exact rank-sum test of the margin, forgotten against unseen; the unit is the person where people are given.

    The value of a person is the mean margin over the images, less the class means over both sides, so that a hard age
    does not count as a person unknown. `auc`: share of pairs in which the forgotten one has the larger margin, in
    [0, 1]; its interval redraws people, from 10 on. `rank_p`: exact two-sided p-value. `rank_power`: chance to find a
    difference of one standard deviation with that many units. Raises: TooFewError below 4 units a side.
    """
    margins = scores.phi(inputs.logits, inputs.labels)
    labels = np.asarray(inputs.labels)
    centred = margins - np.array([margins[labels == label].mean() for label in labels])
    values = np.split(centred, [inputs.number_forget])
    for place, people in enumerate((inputs.forget.people, inputs.unseen.people)):
        values[place] = values[place] if people is None else by_person(values[place], as_array(people))
    sizes = [len(side) for side in values]
    if min(sizes) < FEWEST:
        what = "images" if inputs.forget.people is None else "people"
        raise TooFewError(f"A rank test needs at least {FEWEST} {what} a side, got {sizes[0]} and {sizes[1]}.")
    test = mannwhitneyu(*values, method="exact")
    area = float(test.statistic) / (sizes[0] * sizes[1])
    enough = min(sizes) >= intervals.BOOTSTRAP_FROM
    low, high = _interval(values[0], values[1], inputs.seed) if enough else (None, None)
    return [
        Measurement("auc", area, low, high, "auc", n=sizes[0], null=0.5),
        Measurement("rank_p", float(test.pvalue), unit="p", n=sizes[0], null=0.5),
        Measurement("rank_power", power(*sizes), unit="share", n=sizes[0], null=0.05),
    ]


def by_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Mean of values float [N] of each person of int [N], in the order of their ids."""
    codes = np.unique(people, return_inverse=True)[1]
    return np.bincount(codes, values) / np.bincount(codes)


@lru_cache
def power(first: int, second: int, shift: float = 1.0) -> float:
    """Share of 500 simulated normal samples of these sizes, `shift` SDs apart, in which p <= 0.05, in [0, 1]."""
    generator = np.random.default_rng(0)
    one, two = generator.normal(shift, 1, (500, first)), generator.normal(0, 1, (500, second))
    return float((mannwhitneyu(one, two, axis=1, method="exact").pvalue <= 0.05).mean())


def _interval(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """Percentile interval of the area, units of both sides redrawn."""
    generator = np.random.default_rng(seed)
    wins = (first[:, None] > second[None, :]) + 0.5 * (first[:, None] == second[None, :])
    drawn = [generator.integers(0, size, (1000, size)) for size in wins.shape]
    rows, columns = (np.stack([np.bincount(row, minlength=row.size) for row in each]) for each in drawn)
    areas = ((rows @ wins) * columns).sum(axis=1) / wins.size
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)
