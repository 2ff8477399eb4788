"""What a number can be, by its metric and unit."""

import math

import pytest

from forget_lib.statistics.measurement import Measurement, gap_range, range_of


@pytest.mark.parametrize(
    ("metric", "unit", "least", "most"),
    [
        ("forget_accuracy", "share", 0, 1),
        ("auc", "auc", 0, 1),
        ("sign_flip", "p", 0, 1),
        ("seconds", "s", 0, math.inf),
        ("relearning", "batches", 0, math.inf),
        ("kl", "nats", 0, math.inf),
        ("cost", "retrainings", 0, math.inf),
        ("anything", "a unit that is not known", -math.inf, math.inf),
        ("auc_gap", "auc", -1, 1),
        ("share_left", "share", -math.inf, math.inf),
        ("separation", "share", -math.inf, math.inf),
        ("epsilon_lower_bound", "nats", 0, math.inf),
        ("relative_quality", "share", 0, math.inf),
        ("activation_distance_forget", "share", 0, math.sqrt(2)),
        ("js_divergence_forget", "nats", 0, math.log(2)),
        ("relearning_cut", "batches", 0, 1),
        ("retrain_relearning_cut", "batches", 0, 1),
        ("cka_to_original", "share", 0, 1),
        ("cka_to_retrain", "share", 0, 1),
    ],
)
def test_range_of_a_metric_goes_before_that_of_its_unit(metric, unit, least, most):
    assert range_of(metric, unit) == (least, most)


def test_a_difference_can_be_as_large_as_its_range_is_long_on_either_side():
    assert gap_range() == (-1, 1)
    assert gap_range("js_divergence_forget", "nats") == pytest.approx((-math.log(2), math.log(2)))
    assert gap_range("seconds", "s") == (-math.inf, math.inf)
    assert gap_range("auc_gap", "auc") == (-2, 2)


def test_a_measurement_without_more_is_a_share_of_no_attack():
    bare = Measurement("accuracy", 0.5)
    assert bare[2:] == (None, None, "share", "", None, None, "")
