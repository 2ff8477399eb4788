"""One number with its interval: what attacks and metrics return, and what it can be."""

import math
from typing import NamedTuple


class Measurement(NamedTuple):
    """One number: its name, value, interval and unit; `attack` and `null` where it belongs to an attack.

    low, high: ends of a 95 % interval within this run, or None. n: number of samples behind it. item: the one of many
    that it is about (a class, a layer, a number of mini-batches), or empty.
    """

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = "share"
    attack: str = ""
    n: int | None = None
    null: float | None = None
    item: str = ""


ANYTHING, POSITIVE = (-math.inf, math.inf), (0.0, math.inf)
RANGES = dict.fromkeys(("share", "auc", "p"), (0.0, 1.0))
RANGES |= dict.fromkeys(("nats", "s", "passes", "retrainings", "count", "batches", "points"), POSITIVE)
"""What a metric of this unit can be; of other units anything."""
RANGES_OF = {
    "auc_gap": (-1.0, 1.0),
    **dict.fromkeys(("share_left", "share_left_gap", "share_left_placebo"), ANYTHING),
    "separation": ANYTHING,
    "epsilon_lower_bound": POSITIVE,
    "relative_quality": POSITIVE,
    "anamnesis_index": POSITIVE,
    "activation_distance_forget": (0.0, math.sqrt(2)),
    "js_divergence_forget": (0.0, math.log(2)),
    "relearning_cut": (0.0, 1.0),
    "retrain_relearning_cut": (0.0, 1.0),
    "cka_to_original": (0.0, 1.0),
    "cka_to_retrain": (0.0, 1.0),
}
"""Metrics whose unit does not say what they can be: differences, ratios, and those without a unit."""


def range_of(metric: str, unit: str = "share") -> tuple[float, float]:
    """What a metric can be. Intervals that are shown lie within it, see `statistics.within`."""
    return RANGES_OF.get(metric, RANGES.get(unit, ANYTHING))


def gap_range(metric: str = "", unit: str = "share") -> tuple[float, float]:
    """What the difference of two values of a metric can be, by default of two shares."""
    least, most = range_of(metric, unit)
    return least - most, most - least
