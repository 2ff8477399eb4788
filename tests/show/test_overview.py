"""The answer on one screen follows from the records, sorts and filters offline, and never advises a control."""

import re

import numpy as np
import pandas as pd
import pytest

from forget_lib.show import answer_table, figures, overview
from tests.show.test_findings import GOOD, table

SCENARIO = ("d", "m", "random-0.1")


def test_a_verdict_has_a_word_a_sign_and_an_interval():
    found = overview.answers(GOOD).set_index("method")
    assert found.loc["scrub", "verdict"] == "utility"
    assert found.loc["finetune", "verdict"] == "little"
    assert found.loc["scrub", "low"] < found.loc["scrub", "gap"] < found.loc["scrub", "high"]
    assert found.loc["scrub", "kept_low"] < found.loc["scrub", "kept"] < found.loc["scrub", "kept_high"]
    assert found.loc["original", "control"]
    assert "retrain" not in found.index


def test_near_where_the_untouched_original_is_near_too_is_no_success_even_if_another_scenario_can_tell():
    dark = GOOD.assign(request="random-0.5")
    of_original = (dark["method"] == "original") & (dark["metric"] == "forget_accuracy")
    dark.loc[of_original, "value"] = [0.6, 0.62, 0.61]
    as_retrained = dark[dark["method"] == "retrain"].assign(method="salun")
    found = overview.answers(pd.concat([GOOD, dark, as_retrained], ignore_index=True)).set_index("method")
    assert found.loc["salun", "verdict"] == "unknown"


def test_the_table_says_it_in_words_and_asks_for_nothing_from_elsewhere():
    page = answer_table.answer_page(overview.answers(GOOD))
    assert "▼ loses utility" in page
    assert "still knows it" in page
    assert not re.search(r"src=|@import|https?://", page)


def test_every_number_leads_to_the_scenarios_and_these_to_their_pages():
    assert 'href="#kind-random"' in answer_table.answer_page(overview.answers(GOOD))
    found = overview.answers(GOOD, by_scenario=True)
    behind = answer_table.scenario_page(found, {SCENARIO: ["../07_x/one.html", "../07_x/two.html"]})
    assert 'id="kind-random"' in behind
    assert len(re.findall(r'class="verdict"[^>]*><a href="../07_x/one.html"', behind)) == len(found)
    assert '<a href="../07_x/two.html">2</a>' in behind
    assert "href" not in answer_table.scenario_page(found, {}).split("<script>")[0]


def test_methods_are_averaged_over_the_scenarios_of_a_kind():
    other = GOOD.assign(dataset="e")
    both = overview.answers(pd.concat([GOOD, other]))
    one = overview.answers(GOOD)
    assert both["gap"].tolist() == pytest.approx(one["gap"].tolist())
    assert both["scenarios"].eq(2).all()
    each = overview.answers(pd.concat([GOOD, other]), by_scenario=True)
    assert each["scenario"].nunique() == 2
    assert len(each) == 2 * len(one)


def near(gaps: dict[str, float], dataset: str = "d") -> pd.DataFrame:
    """A scenario in which each method lies this far from a retrained model at 0.5 and keeps everything."""
    accuracy = {"original": [1.0, 1.0], "retrain": [0.5, 0.5]} | {name: [0.5 + gap] * 2 for name, gap in gaps.items()}
    kept = {name: [0.8, 0.8] for name in accuracy}
    return table(accuracy, kept, {"original": [0.8, 0.8], "retrain": [0.5, 0.5]}).assign(dataset=dataset)


def test_too_much_here_and_too_little_there_is_not_as_retrained():
    rows = pd.concat([near({"ssd": 0.2, "salun": 0.01}), near({"ssd": -0.2, "salun": 0.0}, "e")])
    found = overview.answers(rows).set_index("method")
    assert found.loc["ssd", "gap"] == pytest.approx(0)
    assert found.loc["ssd", "verdict"] == "mixed"
    assert found.loc["salun", ["verdict", "agree"]].tolist() == ["good", 2]
    assert "(0 of 2 scenarios)" in answer_table.answer_page(overview.answers(rows))


def test_a_scenario_in_which_a_method_gave_nothing_does_not_empty_its_kind():
    failed = near({"salun": 0.01}, "e")
    failed.loc[failed["method"] == "salun", ["metric", "value"]] = ["", np.nan]
    found = overview.answers(pd.concat([near({"salun": 0.01}), failed])).set_index("method")
    assert found.loc["salun", ["verdict", "scenarios"]].tolist() == ["good", 1]


def test_a_scenario_of_one_run_adds_to_the_mean_and_takes_no_interval_away():
    one = near({"ssd": 0.03}, "e")
    rows = pd.concat([near({"ssd": 0.01}), one[one["seed"] == 0]])
    found = overview.answers(rows).set_index("method").loc["ssd"]
    assert found[["n", "scenarios"]].tolist() == [2, 2]
    assert found["gap"] == pytest.approx(2.0)
    assert found["low"] == pytest.approx(2.0)
    assert overview._averaged([np.array([1.0, 3.0]), np.array([10.0, 12.0])]) == pytest.approx([5.5, 7.5])
    assert overview._averaged([np.array([1.0, 3.0]), np.array([10.0])]) == pytest.approx([5.0, 7.0])
    assert overview._averaged([np.array([4.0])]).tolist() == [4.0]


def test_a_pretrained_recogniser_stands_in_a_column_of_its_own():
    part = near({"ssd": 0.0}).assign(request="class-any1", attack="reidentification")
    kinds = [overview.kind_of(part.assign(model=model)) for model in ("small_resnet", "face_embedding_head")]
    assert kinds == ["recogniser", "pretrained"]


def test_the_best_stand_first_and_controls_last():
    found = overview.answers(near({"do_nothing": 0.5, "finetune": 0.4, "salun": 0.0, "over_forget": -0.4}))
    assert overview.ranked(found) == ["original", "salun", "finetune", "over_forget", "do_nothing"]


def test_the_headline_has_a_panel_a_kind_and_a_name_a_method():
    figure = figures.headline(overview.answers(GOOD), "d (sample)")
    assert [axis.get_title() for axis in figure.axes] == ["random samples\n1 scenario, n = 3"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["original", "scrub", "finetune"]
    assert "sample" in figure.get_suptitle()
    figures.plt.close(figure)


def test_each_panel_of_the_headline_says_how_many_draws_and_seeds_are_behind_it():
    parts = [GOOD, GOOD[GOOD["seed"] == 0].assign(request="random-0.5")]
    parts += [GOOD[GOOD["seed"] == 0].assign(request="class-1", dataset="e")]
    found = overview.answers(pd.concat(parts, ignore_index=True))
    assert found.groupby("kind")[["fewest", "n"]].agg("first").loc["random"].tolist() == [1, 3]
    figure = figures.headline(found, "d, e")
    titles = {axis.get_title() for axis in figure.axes}
    assert titles == {"a whole class\n1 scenario, n = 1", "random samples\n2 scenarios, n = 1 to 3"}
    assert "seeds\n" not in figure.get_suptitle()
    figures.plt.close(figure)


def test_no_records_of_a_scenario_give_an_empty_answer():
    assert overview.answers(GOOD[GOOD["method"] != "retrain"]).empty
