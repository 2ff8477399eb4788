"""Where the spread comes from: of the gap, and of methods that leave a working model alone."""

import pandas as pd
import pytest

from forget_lib.study import variance


def table_of(values: dict) -> pd.DataFrame:
    """Records of three metrics for two draws, two seeds and one run; `values` gives each method's accuracy."""
    rows = [
        {"draw": draw, "seed": seed, "method": name, "run": 0, "metric": metric, "value": value(draw, seed)}
        | {"attack": "loss_regression" if metric == "auc" else ""}
        for name, value in values.items()
        for metric in variance.METRICS
        for draw in (0, 1)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_what_moves_the_retrained_model_alike_is_no_spread_of_the_gap():
    table = table_of(
        {"retrain": lambda d, s: 0.5 + 0.1 * d + 0.05 * s, "finetune": lambda d, s: 0.6 + 0.1 * d + 0.05 * s}
    )
    found = variance.components_table(table)
    assert set(found["method"]) == {"finetune"}
    assert found["deviation"].tolist() == pytest.approx([0] * len(found), abs=1e-9)


def test_a_spread_within_a_draw_is_the_originals():
    table = table_of({"retrain": lambda d, s: 0.5, "finetune": lambda d, s: 0.45 + 0.1 * s})
    found = variance.components_table(table).set_index(["metric", "source"])["deviation"]
    assert found["auc", "original"] == pytest.approx(0.1 / 2**0.5)
    assert found["auc", "draw"] == 0


def test_a_method_without_a_working_model_is_left_out():
    table = table_of({"retrain": lambda d, s: 0.9, "finetune": lambda d, s: 0.3 + 0.1 * s, "scrub": lambda d, s: 0.85})
    assert set(variance.components_table(table)["method"]) == {"scrub"}


def test_without_a_retrained_model_there_is_no_gap():
    found = variance.components_table(table_of({"finetune": lambda d, s: 0.5}))
    assert found.empty
    assert variance.sentences(found) == []
