"""Cost curves: budgets become settings, the larger cost counts, and who beats a shorter retraining."""

import numpy as np
import pandas as pd
import pytest

from forget_lib.show import figures
from forget_lib.study import cost_curve, records

RECIPE = {"epochs": 10, "batch_size": 16, "learning_rate": 0.05}


def test_budgets_are_settings():
    assert [cost_curve.settings_at("finetune", budget, 10) for budget in (0.02, 0.14, 0.2, 0.5)] == [
        {"epochs": number} for number in (1, 1, 2, 5)
    ]
    assert cost_curve.settings_at("short_retrain", 0.05, 10) == {"share": 0.05}
    assert cost_curve.settings_at("ssd", 0.05, 10) is None


def test_each_budget_is_a_record_with_its_share_and_its_cost(blobs, tmp_path):
    fields = {"dataset": "blobs", "model": "mlp", "request": "class:c1", "start": "sample"}
    asked = {"methods": ["finetune", "ssd"], "draws": 2, "recipe": RECIPE, "budgets": (0.02, 0.1, 0.5)}
    table = cost_curve.cost_study(tmp_path, **asked, **fields)
    assert not list(tmp_path.glob("blobs*")), "the scenario's own table must not hold them"
    found = cost_curve.points(table)
    assert sorted(set(zip(found["method"], found["share"], strict=True))) == [
        ("finetune", 0.02), ("finetune", 0.5),
        ("short_retrain", 0.02), ("short_retrain", 0.1), ("short_retrain", 0.5),
    ]  # fmt: skip
    passes = table[(table["metric"] == "relative_cost") & (table["method"] == "short_retrain")]
    assert passes.groupby("share")["value"].mean().to_dict() == pytest.approx({0.02: 0.1, 0.1: 0.1, 0.5: 0.5})
    assert (found.loc[found["share"] == 0.5, "cost"] >= 0.5 - 1e-9).all()
    assert len(records.load(tmp_path / "costs")["draw"].unique()) == 2
    assert cost_curve.against_short(found).empty, "two pairs are too few for a sentence"
    assert cost_curve.sentence(cost_curve.against_short(found)) == ""
    figure = figures.cost_curves(found, "Blobs")
    assert {text.get_text().strip() for text in figure.axes[0].texts} >= {"short_retrain", "finetune"}


def made(methods, pairs=4):
    """Points of pairs: what a method keeps against the retrained model, and its forget gap, at a fifth of the cost."""
    rows = []
    for pair in range(pairs):
        noise = 0.002 * (-1) ** pair
        for share, kept in ((0.1, -0.1), (0.3, -0.02)):
            rows.append([pair, pair, "short_retrain", share, share, kept + noise, 0.0, 0.0])
        for name, (kept, forget) in methods.items():
            rows.append([pair, pair, name, 0.2, 0.2, kept - noise, forget + noise, 0.0])
    return pd.DataFrame(rows, columns=["draw", "seed", "method", "share", "cost", "kept", "forget_accuracy", "auc"])


def test_who_beats_a_shorter_retraining_at_the_same_cost():
    # The short retrain at a fifth of the cost lies half way between its two budgets: at -0.06.
    compared = cost_curve.against_short(made({"good": (-0.02, 0), "equal": (-0.06, 0), "hides": (0.0, 0.3)}))
    assert compared["value"].to_dict() == pytest.approx({"good": 0.04, "equal": 0.0, "hides": 0.06}, abs=1e-9)
    assert compared["told"].to_dict() == {"good": "", "equal": "", "hides": "forget_accuracy"}
    assert cost_curve.sentence(compared).startswith("1 of 3 methods beat a shorter retraining at the same cost: good.")
    assert "over 4 pairs" in cost_curve.sentence(compared)
    assert cost_curve.against_short(made({"good": (-0.02, 0)}, pairs=2)).empty
    assert np.isfinite(compared["high"]).all()
