"""The overview answers the study's questions from records alone, with numbers, and says what is missing."""

import json

import numpy as np
import pandas as pd
import pytest

from forget_lib.show import figures
from forget_lib.study import membership, records
from forget_lib.unlearning import list_methods
from tests.notebooks.cells import run_cells, sentences
from tests.show.test_findings import GOOD
from tests.show.test_overview import near

POOL = ("d", "m", "pool-random-0.1")


def pool(gaps: dict[str, float], original: float = 0.4) -> pd.DataFrame:
    """A table of U-LiRA on 8 targets: AUC gaps to a retrained model at 0.5 with narrow intervals, by method."""
    kinds = dict.fromkeys(["original", "retrain", "second_retrain"], "control")
    rows = []
    for method, gap in ({"retrain": 0.0, "second_retrain": 0.001, "original": original} | gaps).items():
        about = {"method": method, "kind": kinds.get(method, "method"), "attack": "u_lira", "error": 0.003}
        rows.append(about | {"metric": "auc", "value": 0.5 + gap, "low": 0.49 + gap, "high": 0.51 + gap})
        if method != "retrain":
            rows.append(about | {"metric": "auc_gap", "value": gap, "low": gap - 0.01, "high": gap + 0.01})
    about = {"forgotten": 0.1, "targets": 8, "drawn": "random", "status": "done", "reason": ""}
    return pd.DataFrame(rows).assign(null_error=0.005, **about)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Runs the overview's cells on a table of records and on pooled studies."""

    def run(table: pd.DataFrame, pools: dict | None = None) -> dict:
        table = table.assign(synthetic=False, sampled=True, source="made in a test", folder="nowhere")
        monkeypatch.setattr(records, "load", lambda root: table)
        monkeypatch.setattr(records, "scenarios_and_pools", lambda runs: (table, table.iloc[:0]))
        monkeypatch.setattr(figures, "show", lambda figure, alt: figures.plt.close(figure))
        monkeypatch.setattr(membership, "tables_of", lambda strong: pools or {})
        return run_cells("00_overview", before="## Glossary", results=str(tmp_path))

    return run


def line(names: dict, *parts: str) -> str:
    """The one sentence that holds all of these."""
    (found,) = [text for text in sentences(names) if all(part in text for part in parts)]
    return found


def test_methods_as_retrained_are_named_with_bound_cost_and_n_and_written_down(page, tmp_path):
    names = page(near({"salun": 0.0, "ssd": 0.3, "do_nothing": 0.5, "over_forget": 0.0}))
    best = line(names, "**random samples**: as retrained: salun (")
    assert "cost 0.10, n = 8" in best
    assert "over_forget" not in best, "a placebo is never advised"
    assert "lie on the front (salun)" in line(names, "lie on the front")
    rows = json.loads((tmp_path / "tables" / "answers.json").read_text())
    assert {row["method"]: row["verdict"] for row in rows}["salun"] == "equal"
    for missing in ("No pooled membership study is among these records, so", "No measure of the inside"):
        assert line(names, missing)


def test_where_nothing_can_be_told_that_is_said_with_the_reason(page):
    names = page(near({"finetune": 0.0}, pairs=3))
    assert "cannot be told here (3 pairs can show a difference and never equality)" in line(names, "cannot be told")


def test_without_a_retrained_model_nothing_is_said(page):
    names = page(GOOD[GOOD["method"] != "retrain"])
    assert [text for text in sentences(names) if "No scenario with an original and a retrained model" in text]
    assert not [text for text in sentences(names) if "as retrained:" in text]


def test_strong_attacks_are_judged_against_the_retrained_model(page):
    names = page(GOOD, {POOL: pool({"finetune": 0.1, "ssd": 0.0})})
    text = line(names, "1 of 2 methods are distinguished from retraining")
    assert "not: ssd." in text
    assert "Null check: 2 of 2 intervals hold 0.5" in text
    names = page(GOOD, {POOL: pool({"finetune": 0.0}, original=0.01)})
    assert line(names, "the attack misses even the original, so **no ranking can be read**")


def cifar(gaps: dict[str, float], dataset: str = "cifar10_part", request: str = "class-airplane") -> pd.DataFrame:
    """Records of two seeds in which each method lies this far above a retrained model at 0.2."""
    rows = []
    for seed in (0, 1):
        about = {"dataset": dataset, "model": "small_cnn", "request": request, "draw": seed, "seed": seed, "run": 0}
        for method, gap in {"retrain": 0.0, **gaps}.items():
            for metric, value in (("forget_accuracy", 0.2 + gap + 0.001 * seed * (gap != 0)), ("test_accuracy", 0.6)):
                rows.append(about | {"method": method, "attack": "", "metric": metric, "value": value, "n": 100})
    return pd.DataFrame(rows).assign(status="done", unit="share", item="", low=np.nan, high=np.nan)


def test_a_gap_has_a_side_and_published_rows_agree_where_both_lie_on_the_same(page):
    names = page(cifar({"original": 0.3, "ssd": 0.3, "finetune": 0.0}))
    side = names["side"]
    assert side(np.array([0.02])) == side(np.array([-0.02])) == side(np.array([0.91 - 0.89])) == "as retraining"
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


def test_every_published_row_has_its_source_and_a_method_and_shares(page):
    numbers = page(GOOD)["published"]
    assert set(numbers["method"]) <= set(list_methods())
    assert set(numbers["kind"]) <= {"class", "random"}
    assert numbers["source"].str.len().min() > 10
    shares = numbers[["forget", "forget_retrained", "kept", "kept_retrained"]]
    assert shares.stack().dropna().between(0, 1).all()
    assert not numbers.duplicated(["method", "kind", "source"]).any()
