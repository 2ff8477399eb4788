"""The study's questions are answered from records alone, with numbers, and say what is missing."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_notebook

from forget_lib.show import links, overview
from forget_lib.show import main_findings as answer
from tests.test_findings import GOOD, clear, table_of
from tests.test_overview import near

POOL, CHOSEN = ("d", "m", "pool-random-0.1"), ("d", "m", "pool-random-most_memorised-0.1")


def linked(names):
    return ", ".join(" ".join(name) for name in names)


def pool(areas: dict[tuple[str, str], float], original: float = 0.9) -> pd.DataFrame:
    """A table of strong and weak attacks with narrow intervals; areas by method and attack."""
    rows = [("original", "control", "lira", original), ("original", "control", "loss_regression", min(0.7, original))]
    rows += [(method, "method", attack, value) for (method, attack), value in areas.items()]
    frame = pd.DataFrame(rows, columns=["method", "kind", "attack", "value"])
    ends = {"low": frame["value"] - 0.01, "high": frame["value"] + 0.01, "error": 0.005, "null_error": 0.005}
    return frame.assign(metric="auc", forgotten=0.1, targets=8, **ends)


QUIET = {("finetune", "loss_regression"): 0.501, ("finetune", "u_lira"): 0.62}
LOUD = {("ssd", "loss_regression"): 0.6, ("ssd", "u_lira"): 0.8}


def test_methods_that_match_are_counted_by_kind():
    found = overview.answers(near({"salun": 0.01, "ssd": 0.3, "do_nothing": 0.5}))
    (line,) = answer.matching(found)
    assert line.startswith("**random samples**: 1 of 2 methods do as retraining does")
    assert "salun +1.0 (+1.0 to +1.0)" in line
    assert "No scenario" in answer.matching(overview.answers(GOOD[GOOD["method"] != "retrain"]))[0]


def test_where_accuracy_cannot_tell_of_some_methods_the_others_are_counted_still():
    found = overview.answers(near({"salun": 0.01, "ssd": 0.3, "scrub": 0.0}))
    found.loc[found["method"] == "scrub", "verdict"] = "unknown"
    (line,) = answer.matching(found)
    assert "1 of 2 methods do as retraining does" in line
    assert line.endswith("; of 1 more accuracy cannot tell.")
    found.loc[found["method"] == "salun", "verdict"] = "unknown"
    assert answer.matching(found)[0].endswith(
        "accuracy cannot tell; the untouched original is within the margin as well."
    )


def test_who_passes_the_usual_test_and_fails_a_strong_one_is_counted():
    (line,) = answer.weak_and_strong({POOL: pool(QUIET | LOUD)}, linked)
    assert "1 of 2 methods pass the usual test" in line
    assert "1 of those fail a strong one: finetune (AUC 0.501 (0.491 to 0.511) by loss_regression, 0.620" in line
    assert "no ranking can be read" in answer.weak_and_strong({POOL: pool(QUIET, original=0.51)}, linked)[0]
    found = dict.fromkeys(QUIET | LOUD, 0.7)
    assert "none of 2 methods passes the usual test." in answer.weak_and_strong({POOL: pool(found)}, linked)[0]
    assert "No pooled" in answer.weak_and_strong({}, linked)[0]


def test_the_front_of_cost_holds_what_nothing_beats():
    found = overview.answers(near({"salun": 0.01, "ssd": 0.3}))
    (line,) = answer.costs(found)
    assert "1 of 2 methods lie on the front" in line
    assert "salun (0.10; forget +1.0" in line
    assert "No costs" in answer.costs(found.assign(cost=np.nan))[0]


def test_the_hardest_samples_are_told_by_pairs_of_methods():
    random, chosen = QUIET | LOUD, {key: value + 0.05 for key, value in (QUIET | LOUD).items()}
    (line,) = answer.hardest({POOL: pool(random), CHOSEN: pool(chosen, 0.95)}, linked)
    assert "original with AUC 0.950, for random samples 0.900" in line
    assert "farther from 0.5 by +0.050 (+0.050 to +0.050), mean over 2 methods" in line
    assert "not both" in answer.hardest({POOL: pool(random)}, linked)[0]


def test_what_relearns_sooner_is_named_beside_what_accuracy_said():
    rows = near({"salun": 0.01, "ssd": 0.3})
    steps = rows[rows["metric"] == "forget_accuracy"].assign(metric="anamnesis_index", attack="relearning")
    steps["value"] = steps["method"].map({"salun": 0.2, "ssd": 2.0}).fillna(1.0) + 0.01 * steps["seed"]
    (line,) = answer.brought_back(pd.concat([rows, steps]), overview.answers(rows), linked)
    assert line.startswith("**Relearning, random samples**: sooner than by a retrained model")
    assert line.endswith("(95 % interval of AIN under 1): salun; of those as retrained by accuracy: salun.")
    assert "Neither" in answer.brought_back(rows, overview.answers(rows), linked)[0]


def test_people_are_read_only_where_the_original_stands_out():
    rank, separation = answer.reidentified(table_of(clear()), linked)
    assert "nothing can be read" in rank
    assert "original 5.100, retrained 3.100" in separation
    assert "still there after gentle; not told from retrained: none; below it (over-forgotten): rough" in separation
    assert "No face recogniser" in answer.reidentified(GOOD, linked)[0]


def test_every_question_has_its_answers_and_its_figure():
    text = answer.as_sections({"costs": ["one", "two"], "people": ["three"]})
    assert "### What does forgetting cost?\n\n- one\n- two\n- [Figures and tables](08_figures.ipynb#" in text
    assert "### Is a person still re-identified?" in text


@pytest.mark.parametrize(
    ("told", "scenario"),
    [
        ({"request": "class:5", "draw": 1}, ("mnist", "mlp", "class-5")),
        ({"request": "person:*20"}, ("mnist", "mlp", "person-any20")),
        (
            {"request": "random:0.1", "pool": {"samples": 3600, "evaluation": 360, "request": "mislabelled"}},
            ("mnist", "mlp", "pool-random-mislabelled-0.1"),
        ),
    ],
)
def test_pages_are_found_by_scenario_the_first_draw_first(tmp_path, told, scenario):
    for name, draw in (("b", 0), ("a", 1)):
        path = tmp_path / "notebooks" / "03_x" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        parameters = {"dataset": "mnist", "model": "mlp", **told, "draw": draw}
        nbformat.write(new_notebook(metadata={"papermill": {"parameters": parameters}}), path)
    pages = links.pages_of(tmp_path)
    assert pages[scenario] == ["../03_x/b.html", "../03_x/a.html"]
    assert links.linked([scenario], pages) == f"[mnist mlp {scenario[2]}](../03_x/b.html)"
    assert links.linked([scenario], {}) == f"mnist mlp {scenario[2]}"
    assert links.pages_of(tmp_path / "none") == {}
