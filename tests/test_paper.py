"""The page in the form of a paper says what the records say."""

import pandas as pd

from benchmarks import paper as printed
from forget_lib.show import overview
from tests.show.test_overview import near
from workflow import paper


def test_the_answer_has_methods_before_references_and_no_scenario_of_too_few_pairs():
    found = overview.answers(pd.concat([near({"finetune": 0.3, "salun": 0.0}), near({"ssd": 0.3}, "e", pairs=2)]))
    lines = paper.answer(found).splitlines()
    names = [line.split("`")[1] for line in lines[2:]]
    assert names == ["salun", "finetune", "second_retrain", "original"]
    assert "still knows it (bound" in lines[3]
    assert lines[3].endswith("n = 8) |")


def test_a_method_that_was_not_tuned_is_outside_the_answer_and_the_count():
    table = near({"finetune": 0.3, "short_retrain": 0.1})
    table.loc[table["method"] == "finetune", "tuned"] = "not tuned"
    found = overview.answers(table)
    assert "finetune" not in paper.answer(found)
    assert paper.beaten(found).startswith("Of 0 tuned methods")


def test_only_a_smaller_bound_than_that_of_a_short_retraining_counts_as_nearer():
    found = overview.answers(near({"finetune": 0.3, "salun": 0.01, "short_retrain": 0.1}))
    assert "Of 2 tuned methods (one in one scenario), 1 is nearer" in paper.beaten(found)
    assert paper.beaten(found).endswith(": salun (random samples).")


def test_the_printed_page_is_made_from_the_page_of_docs():
    written = printed.OUTPUT.read_text(encoding="utf-8")
    assert written == printed.page(printed.SOURCE.read_text(encoding="utf-8")), "run: python benchmarks/paper.py"
    assert 'href="../../docs/limits.md"' in written
