"""The overview answers the study's questions from records alone, with numbers, and says what is missing."""

import json

import numpy as np
import pandas as pd
import pytest

from forget_lib.show import figures, overview
from forget_lib.statistics import metrics
from forget_lib.study import membership, records
from forget_lib.unlearning import list_methods
from tests.notebooks.cells import run_cells, sentences
from tests.show.test_findings import GOOD, clear, table_of
from tests.show.test_findings import table as plain
from tests.show.test_overview import near

POOL, CHOSEN = ("d", "m", "pool-random-0.1"), ("d", "m", "pool-random-most_memorised-0.1")
QUIET = {("finetune", "loss_regression"): 0.501, ("finetune", "u_lira"): 0.62}
LOUD = {("ssd", "loss_regression"): 0.6, ("ssd", "u_lira"): 0.8}


def pool(areas: dict[tuple[str, str], float], original: float = 0.9, drawn: str = "random") -> pd.DataFrame:
    """A table of strong and weak attacks with narrow intervals; areas by method and attack."""
    rows = [("original", "control", "lira", original), ("original", "control", "loss_regression", min(0.7, original))]
    rows += [(method, "method", attack, value) for (method, attack), value in areas.items()]
    frame = pd.DataFrame(rows, columns=["method", "kind", "attack", "value"])
    ends = {"low": frame["value"] - 0.01, "high": frame["value"] + 0.01, "error": 0.005, "null_error": 0.005}
    return frame.assign(metric="auc", forgotten=0.1, targets=8, drawn=drawn, **ends)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Runs the overview's cells on a table of records and on pooled studies."""

    def run(table: pd.DataFrame, pools: dict | None = None) -> dict:
        table = table.assign(synthetic=False, sampled=True, source="made in a test")
        monkeypatch.setattr(records, "load", lambda root: table)
        monkeypatch.setattr(records, "scenarios_and_pools", lambda runs: (table, table.iloc[:0]))
        monkeypatch.setattr(figures, "show", lambda figure, alt: figures.plt.close(figure))
        monkeypatch.setattr(membership, "tables_of", lambda strong: pools or {})
        return run_cells("00_overview", before="## The methods", results=str(tmp_path))

    return run


def line(names: dict, *parts: str) -> str:
    """The one sentence that holds all of these."""
    (found,) = [text for text in sentences(names) if all(part in text for part in parts)]
    return found


def test_methods_near_the_retrained_model_are_counted_named_and_written_down(page, tmp_path):
    names = page(near({"salun": 0.01, "ssd": 0.3, "do_nothing": 0.5, "over_forget": 0.0}))
    assert line(names, "**random samples**: 1 of 2 methods.")
    best = line(names, "**random samples**: salun (0.10; forget +1.0 (+1.0 to +1.0), kept +0.0 (+0.0 to +0.0)")
    assert "over_forget" not in best, "a control is never advised"
    front = line(names, "lie on the front")
    assert "1 of 2 methods lie on the front; of these, near the retrained model on average: salun." in front
    rows = json.loads((tmp_path / "tables" / "answers.json").read_text())
    assert {row["method"]: row["verdict"] for row in rows}["salun"] == "good"
    for missing in ("No pooled membership study", "No face recogniser", "No relearning", "No crossed study"):
        assert line(names, missing)


def test_a_method_measured_in_all_scenarios_comes_before_a_cheaper_one_measured_in_some(page):
    rows = pd.concat([near({"ssd": 0.0, "salun": 0.01}), near({"salun": 0.01}, "e")])
    rows.loc[(rows["method"] == "ssd") & (rows["metric"] == "relative_cost"), "value"] = 0.01
    text = line(page(rows), "**random samples**: salun (0.10")
    assert text.index("2 scenarios") < text.index("ssd (0.01") < text.index("1 scenarios")


def test_where_nothing_is_near_the_nearest_is_named_and_where_the_original_is_near_nothing(page):
    names = page(near({"finetune": 0.4}))
    assert line(names, "none is near, so retrain; nearest: finetune")
    same = {"original": [0.6, 0.6], "retrain": [0.6, 0.61], "finetune": [0.6, 0.6]}
    names = page(plain(same, same, {"original": [0.5, 0.5], "retrain": [0.5, 0.5]}))
    assert line(names, "accuracy cannot tell, since the untouched original is near the retrained model too")
    assert line(names, "the original is within the margin as well")
    assert "**no ranking can be read**" in line(names, "near the retrained model: finetune (the untouched original")


def test_without_a_retrained_model_nothing_is_said(page):
    names = page(GOOD[GOOD["method"] != "retrain"])
    assert [text for text in sentences(names) if "No scenario with an original and a retrained model" in text]
    assert not [text for text in sentences(names) if "methods" in text and " of " in text and "near" in text]


def test_who_passes_the_usual_test_and_fails_a_strong_one_is_counted(page):
    names = page(GOOD, {POOL: pool(QUIET | LOUD)})
    text = "1 of 2 methods pass the usual test; a strong attack finds 1 of those: finetune."
    assert line(names, "pass the usual test").endswith(text)
    exposed = overview.exposure(pool(QUIET | LOUD))
    assert exposed.loc["finetune", ["usual", "value", "attack"]].tolist() == [0.501, 0.62, "u_lira"]
    assert exposed["told"].tolist() == [True, True]
    names = page(GOOD, {POOL: pool(QUIET, original=0.51)})
    assert line(names, "the attack misses even the original, so **no ranking can be read**")
    names = page(GOOD, {POOL: pool(dict.fromkeys(QUIET | LOUD, 0.7))})
    assert "0 of 2 methods pass the usual test" in line(names, "pass the usual test")


def test_the_hardest_samples_are_found_by_pairs_of_methods(page):
    chosen = {key: value + 0.05 for key, value in (QUIET | LOUD).items()}
    text = line(
        page(GOOD, {POOL: pool(QUIET | LOUD), CHOSEN: pool(chosen, 0.95, "most_memorised")}),
        "the most memorised samples",
    )
    assert "original with AUC 0.950, for random samples 0.900" in text
    assert "farther from 0.5 by +0.050" in text
    assert text.endswith("mean over 2 methods.")


def test_what_relearns_sooner_is_named_beside_what_accuracy_said(page):
    rows = near({"salun": 0.01, "ssd": 0.3})
    steps = rows[rows["metric"] == "forget_accuracy"].assign(metric="anamnesis_index", attack="relearning")
    steps["value"] = steps["method"].map({"salun": 0.2, "ssd": 2.0}).fillna(1.0) + 0.01 * steps["seed"]
    text = line(page(pd.concat([rows, steps])), "sooner in each of 1 scenarios")
    assert text.endswith("salun; in some: none; of those as retrained by accuracy: salun.")


def test_people_are_read_only_where_the_original_stands_out(page):
    names = page(pd.concat([GOOD, table_of(clear())]))
    assert "**nothing can be read**" in line(names, "re-identification at rank 1")
    text = line(names, "separation d'")
    assert "original 5.100, retrained 3.100" in text
    assert text.endswith("still there after gentle; below the retrained model (over-forgotten) after rough.")


def cifar(gaps: dict[str, float], dataset: str = "cifar10_part", request: str = "class-airplane") -> pd.DataFrame:
    """Records of two seeds in which each method lies this far above a retrained model at 0.2."""
    rows = []
    for seed in (0, 1):
        about = {"dataset": dataset, "model": "small_cnn", "request": request, "draw": seed, "seed": seed, "run": 0}
        for method, gap in {"retrain": 0.0, **gaps}.items():
            for metric, value in (("forget_accuracy", 0.2 + gap + 0.001 * seed * (gap != 0)), ("test_accuracy", 0.6)):
                rows.append(about | {"method": method, "attack": "", "metric": metric, "value": value})
    return pd.DataFrame(rows).assign(status="done", unit="share", item="", low=np.nan, high=np.nan)


def test_a_gap_has_a_side_and_published_rows_agree_where_both_lie_on_the_same(page):
    names = page(cifar({"original": 0.3, "ssd": 0.3, "finetune": 0.0}))
    side = names["side"]
    assert side(np.array([0.05])) == side(np.array([-0.05])) == side(np.array([0.91 - 0.86])) == "as retraining"
    assert [side(np.array([gap])) for gap in (0.2, -0.2)] == ["too little", "too much"]
    assert side(np.array([-0.2, -0.21, -0.19])) == "too much"
    assert side(np.array([-0.2, 0.1])) == "not settled"
    rows = {"forget": [0.3, 0.9, 0.0], "note": ["", "diverged", ""], "kept": [0.8, np.nan, np.nan]}
    numbers = pd.DataFrame(rows | {"method": ["ssd", "finetune", "salun"], "kept_retrained": [0.9, np.nan, np.nan]})
    numbers = numbers.assign(kind="class", forget_retrained=0.0, request="one class", source="somewhere")
    ssd, finetune, salun = (names["beside"](row) for row in numbers.itertuples())
    assert (ssd["agree"], ssd["published"], ssd["kept, published"]) == ("yes", "+30.0 points", "-10.0 points")
    assert (finetune["agree"], finetune["they say"], finetune["we say"]) == ("no", "too little", "as retraining")
    assert salun == {}, "it was not run"


@pytest.mark.parametrize(("dataset", "request_"), [("mnist", "class-5"), ("cifar10", "mislabelled-0.1")])
def test_what_nobody_published_is_compared_with_nothing(page, dataset, request_):
    assert line(page(cifar({"original": 0.3, "ssd": 0.3}, dataset, request_)), "No published number stands beside")


def test_orders_are_compared_where_enough_methods_are_there(page):
    gaps = {"original": 0.3, "finetune": 0.06, "negative_gradient_plus": 0.05, "random_label": 0.04, "ssd": -0.05}
    names = page(cifar(gaps, request="random-0.1"))
    assert "original starts at +30.0" in line(names, "LoTUS", "Kendall's tau")
    ours = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    assert names["order"](ours, ours).startswith("Kendall's tau +1.00 over 4 models")
    assert names["order"](ours, -ours).startswith("Kendall's tau -1.00")
    assert names["order"](ours[:3], ours) == ""


def test_every_published_row_has_its_source_and_a_method_and_shares(page):
    numbers = page(GOOD)["published"]
    assert set(numbers["method"]) <= set(list_methods())
    assert set(numbers["kind"]) <= {"class", "random"}
    assert numbers["source"].str.len().min() > 10
    shares = numbers[["forget", "forget_retrained", "kept", "kept_retrained"]]
    assert shares.stack().dropna().between(0, 1).all()
    assert not numbers.duplicated(["method", "kind", "source"]).any()


def test_our_order_by_nomus_stands_beside_the_published_one(page):
    rows = cifar({"original": 0.3, "finetune": 0.2, "scrub": 0.1}, "synthetic_faces", "official-list")
    attacked = {"retrain": 0.52, "original": 0.7, "finetune": 0.69, "scrub": 0.6}
    more = rows[rows["metric"] == "test_accuracy"].assign(metric="accuracy", attack="loss_regression")
    more["value"] = more["method"].map(attacked)
    names = page(pd.concat([rows, more]))
    lines = [text for text in sentences(names) if text.startswith("NoMUS")]
    assert len(lines) == 2
    order = "retrain > scrub > finetune > original"
    assert any(f"Theirs: {order}; ours: {order}" in text for text in lines)
    assert metrics.nomus(0.5951, 0.7136) == pytest.approx(0.5839, abs=1e-4)  # MUFAC's published original model
