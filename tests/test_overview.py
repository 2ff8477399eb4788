"""The answer on one screen follows from the records, sorts and filters offline, and never advises a control."""

import re

import pandas as pd
import pytest

from forget_lib import overview
from tests.test_findings import GOOD, table


def test_a_verdict_has_a_word_a_sign_and_an_interval():
    found = overview.answers(GOOD).set_index("method")
    assert found.loc["scrub", "verdict"] == "utility"
    assert found.loc["finetune", "verdict"] == "little"
    assert found.loc["scrub", "low"] < found.loc["scrub", "gap"] < found.loc["scrub", "high"]
    assert found.loc["original", "control"]
    assert "retrain" not in found.index
    page = overview.answer_page(overview.answers(GOOD))
    assert "▼ loses utility" in page
    assert "still knows it" in page
    assert not re.search(r"src=|href=|@import|https?://", page)


def test_methods_are_averaged_over_the_scenarios_of_a_kind():
    other = GOOD.assign(dataset="e")
    both = overview.answers(pd.concat([GOOD, other]))
    one = overview.answers(GOOD)
    assert both["gap"].tolist() == pytest.approx(one["gap"].tolist())
    assert both["scenarios"].eq(2).all()


def test_the_cheapest_good_method_is_advised_and_no_control():
    accuracy = {"original": [1.0, 1.0], "retrain": [0.5, 0.5], "over_forget": [0.5, 0.5], "ssd": [0.5, 0.51]}
    kept = {name: [0.8, 0.8] for name in accuracy}
    rows = table(accuracy, kept, {"original": [0.8, 0.8], "retrain": [0.5, 0.5]})
    (line,) = overview.advice(rows)
    assert line.startswith("**random samples**: ssd, at 0.10 retrainings")
    assert "over_forget" not in line


def test_where_the_original_is_near_too_nothing_is_advised():
    same = {"original": [0.6, 0.6], "retrain": [0.6, 0.61], "finetune": [0.6, 0.6]}
    rows = table(same, same, {"original": [0.5, 0.5], "retrain": [0.5, 0.5]})
    assert "accuracy cannot tell" in overview.advice(rows)[0]
    assert "no ranking can be read" in overview.power_notes(rows)[0]
    nothing = {"original": [1.0, 1.0], "retrain": [0.2, 0.2], "finetune": [0.9, 0.9]}
    kept = {name: [0.8, 0.8] for name in nothing}
    assert overview.advice(table(nothing, kept, {"original": [0.8, 0.8]}))[0].endswith("retrain.")
