"""Methods against the retrained model: families, margins, verdicts, and no test under six seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forget_lib.core.errors import TooFewError
from forget_lib.show import comparisons
from forget_lib.statistics import intervals
from forget_lib.study import variance
from tests.show.test_findings import GOOD


def test_a_family_is_adjusted_together_and_judged_in_words():
    generator = np.random.default_rng(0)
    gaps = {
        "equal": generator.normal(0, 0.002, 10),
        "apart": generator.normal(0.05, 0.002, 10),
        "noisy": generator.normal(0.004, 0.05, 10),
    }
    frame = comparisons.compare(gaps, 0.01)
    assert frame["verdict"].to_dict() == {"equal": "equal", "apart": "above", "noisy": "undecided"}
    expected = intervals.holm([intervals.sign_flip_test(values) for values in gaps.values()])
    assert frame["p_holm"].tolist() == pytest.approx(expected.tolist())
    assert frame.loc["noisy", "seeds"] > frame.loc["equal", "seeds"] >= 2


def test_under_six_seeds_there_is_an_interval_and_no_test():
    frame = comparisons.comparison_table(GOOD)
    assert frame["p"].isna().all()
    assert frame["verdict"].str.startswith("no test").all()
    families = frame.index.get_level_values("metric")
    assert list(dict.fromkeys(families)) == ["forget_accuracy", "test_accuracy", "auc of the loss attack"]
    assert 100 * frame.loc[("forget_accuracy", "scrub"), "mean"] == pytest.approx(0.7, abs=0.05)


def test_six_equal_seeds_are_enough_for_a_claim_of_equality():
    frame = comparisons.compare({"same": np.array([0.001, -0.001, 0.002, -0.002, 0.001, -0.001])}, 0.01)
    assert frame.loc["same", "verdict"] == "equal"
    assert comparisons.compare({"one": np.array([0.1])}, 0.01).empty


def test_strong_attacks_are_compared_from_their_table():
    def rows(method, attack, area, gap, targets=8):
        base = {"method": method, "attack": attack, "kind": "method", "targets": targets, "error": 0.005}
        value = {"low": area - 0.02, "high": area + 0.02, "p_value": 2 * stats.norm.sf(abs(area - 0.5) / 0.01)}
        return [
            base | {"metric": "auc", "value": area} | value,
            base | {"metric": "auc_gap", "value": gap, "low": gap - 0.01, "high": gap + 0.01},
        ]

    table = pd.DataFrame([*rows("told", "lira", 0.7, 0.2), *rows("clean", "lira", 0.5, 0.0)])
    frame = comparisons.pooled_comparison(table)
    assert frame.loc[("lira", "told"), "verdict"] == "above 0.5"
    assert frame.loc[("lira", "clean"), "verdict"] == "equal"
    few = comparisons.pooled_comparison(table.assign(targets=3))
    assert few["p"].isna().all()
    assert few["verdict"].str.startswith("no test").all()
    assert comparisons.for_people(frame).loc[("lira", "told"), "against retrained"] == "+0.200 (+0.190 to +0.210)"
    assert comparisons.sentences(frame) == ["**lira**: above 0.5: told; equal: clean (Holm within this family)."]


def test_the_spread_is_split_by_its_source(blobs, tmp_path):
    fields = {"dataset": "blobs", "model": "mlp", "request": "random:0.2", "start": "sample", "device": "cpu"}
    recipe = {"epochs": 1, "batch_size": 32}
    table = variance.crossed_study(
        tmp_path, methods={"finetune": {"epochs": 1}}, draws=2, seeds=2, runs=2, recipe=recipe, **fields
    )
    split = variance.components_table(table)
    assert set(split["source"]) == {"draw", "seed", "draw x seed", "run"}
    assert (split["variance"] >= 0).all()
    assert split.groupby("metric")["share"].sum().dropna().tolist() == pytest.approx([1.0] * 3)
    assert not list(tmp_path.glob("*/*/draw*")), "means over seeds must not find these records"
    with pytest.raises(TooFewError, match="2 draws"):
        variance.crossed_study(tmp_path, methods={}, draws=1, seeds=2, runs=1, recipe=recipe, **fields)


def test_sources_are_recovered_and_named():
    generator = np.random.default_rng(0)
    rows = []
    for draw, shift in enumerate(generator.normal(0, 3, 30)):
        for seed, other in enumerate(generator.normal(0, 0.1, 4)):
            for run in range(2):
                value = shift + other + generator.normal(0, 0.5)
                rows.append({"method": "m", "metric": "auc", "attack": "", "draw": draw, "seed": seed, "run": run,
                             "value": value})  # fmt: skip
    split = variance.components_table(pd.DataFrame(rows)).set_index("source")["variance"]
    assert split["run"] == pytest.approx(0.25, rel=0.25)
    (line,) = variance.sentences(variance.components_table(pd.DataFrame(rows)))
    assert "forget draw" in line
    noisy = pd.DataFrame({"method": ["a", "a", "b", "b"], "metric": "auc", "source": ["draw", "run"] * 2})
    noisy = noisy.assign(variance=[9.0, 91.0, 0.9, 0.1], share=[0.09, 0.91, 0.9, 0.1])
    assert "seed of the method 50% (10% to 91%)" in variance.sentences(noisy)[0], "a method of much noise rules no mean"
    assert len(variance.components_table(pd.DataFrame(rows[:-1]))) == 0, "a table with holes is left out"
