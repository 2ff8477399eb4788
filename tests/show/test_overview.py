"""The answer on one screen follows from the records, sorts and filters offline, and claims only what stands."""

import re

import numpy as np
import pandas as pd
import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.show import answer_table, figures, overview
from tests.show.test_findings import GOOD, table

SCENARIO = ("d", "m", "random-0.1")
WIGGLE = np.array([0.001, -0.001, 0.002, -0.002, 0.001, 0.0, -0.001, 0.0])


def near(gaps: dict[str, float], dataset: str = "d", pairs: int = 8) -> pd.DataFrame:
    """A scenario in which each method lies this far from a retrained model at 0.5 and keeps everything."""
    gaps = {"original": 0.5, "retrain": 0.0, "second_retrain": 0.0} | gaps
    noise = {name: np.roll(WIGGLE, place)[:pairs] * (name != "retrain") for place, name in enumerate(gaps)}
    accuracy = {name: list(0.5 + gap + noise[name]) for name, gap in gaps.items()}
    kept = {name: list(0.8 + noise[name]) for name in gaps}
    areas = {"original": list(0.8 + noise["original"]), "retrain": [0.5] * pairs}
    areas |= {name: list(0.5 + noise[name]) for name in gaps if name not in areas}
    return table(accuracy, kept, areas).assign(dataset=dataset, tuned="tuned", n=400)


def test_a_verdict_stands_beside_its_gaps_in_points():
    found = overview.answers(near({"scrub": 0.0, "finetune": 0.3})).set_index("method")
    assert found.loc["scrub", "verdict"] == "equal"
    assert found.loc["finetune", "verdict"] == "little"
    assert found.loc["finetune", "forget"] == pytest.approx(30, abs=0.1)
    assert found.loc["scrub", "kept_low"] < found.loc["scrub", "kept"] < found.loc["scrub", "kept_high"]
    assert found.loc["original", "placebo"]
    assert "retrain" not in found.index


def test_a_scenario_that_cannot_tell_is_left_out_of_a_kind_and_too_little_here_too_much_there_is_mixed():
    dark = near({"salun": 0.0, "ssd": 0.0, "original": 0.0}, "dark")
    dark.loc[(dark["metric"] == "auc"), "value"] = 0.5
    rows = pd.concat([near({"salun": 0.0, "ssd": 0.2}), near({"salun": 0.0, "ssd": -0.2}, "e"), dark])
    kinds = overview.by_kind(overview.answers(rows)).set_index("method")
    assert kinds.loc["salun", "verdict"] == "equal"
    assert kinds.loc["ssd", "verdict"] == "mixed"
    assert kinds.loc["salun", "lines"][0] == "as retrained in 2, cannot be told here in 1"


def test_the_cell_has_gaps_bound_n_and_what_went_wrong():
    rows = near({"scrub": 0.01}, pairs=6)
    broken = (rows["method"] == "scrub") & (rows["seed"] == 2)
    rows.loc[broken, ["status", "reason", "metric", "attack", "value"]] = ["failed", "oh", "", "", np.nan]
    lines = overview.by_kind(overview.answers(rows)).set_index("method").loc["scrub", "lines"]
    assert lines[0].startswith("forget +1.")
    assert any(line.startswith("bound ") for line in lines)
    assert "n = 5" in lines
    assert "failed in 1 of 6 runs" in lines


def test_what_was_not_tuned_says_so_and_stays_outside_the_answer():
    rows = near({"scrub": 0.0, "salun": 0.0})
    rows.loc[rows["method"] == "scrub", "tuned"] = "not tuned"
    found = overview.answers(rows)
    assert "not tuned" in overview.by_kind(found).set_index("method").loc["scrub", "lines"]
    claim = overview.equality_claim(found, pd.DataFrame())
    assert "salun" in claim.text
    assert "scrub" not in claim.text


def test_an_exact_method_has_nothing_to_tune_and_stays_in_the_answer():
    rows = near({"sisa": 0.0})
    rows.loc[rows["method"] == "sisa", "tuned"] = ""
    found = overview.answers(rows)
    assert found.set_index("method").loc["sisa", "tuned"]
    assert "sisa" in overview.equality_claim(found, pd.DataFrame()).text


def test_masking_counts_only_where_there_are_pairs_enough():
    rows = near({"mask_logit": 0.0}, pairs=5).assign(request="class-5")
    assert overview.placebo_claim(overview.answers(rows), pd.DataFrame()) is None


def test_the_table_says_it_in_words_and_asks_for_nothing_from_elsewhere():
    page = answer_table.answer_page(overview.by_kind(overview.answers(near({"scrub": 0.0, "lotus": 0.3}))))
    assert "● as retrained" in page
    assert "still knows it" in page
    core, rest = page.split("<details")
    assert 'data-name="scrub"' in core
    assert 'data-name="lotus"' in rest
    assert core.index('class="placebos"') < core.index('data-name="original"')
    assert not re.search(r"src=|@import|https?://", page)


def test_every_number_leads_to_the_scenarios_and_these_to_their_pages():
    found = overview.answers(GOOD)
    assert 'href="#kind-random"' in answer_table.answer_page(overview.by_kind(found))
    behind = answer_table.scenario_page(found, {SCENARIO: ["../07_x/one.html", "../07_x/two.html"]})
    assert 'id="kind-random"' in behind
    assert len(re.findall(r'class="verdict"[^>]*><a href="../07_x/one.html"', behind)) == len(found)
    assert '<a href="../07_x/two.html">2</a>' in behind
    assert "href" not in answer_table.scenario_page(found, {}).split("<script>")[0]


def test_a_pretrained_recogniser_stands_in_a_column_of_its_own():
    part = near({"ssd": 0.0}).assign(request="class-any1", attack="reidentification")
    kinds = [overview.kind_of(part.assign(model=model)) for model in ("small_resnet", "face_embedding_head")]
    assert kinds == ["recogniser", "pretrained"]


def test_the_best_stand_first_and_placebos_last():
    found = overview.answers(near({"do_nothing": 0.5, "finetune": 0.4, "salun": 0.0, "over_forget": -0.4}))
    ranked = overview.ranked(found)
    assert ranked[:2] == ["salun", "finetune"]
    assert set(ranked[2:]) == {"second_retrain", "original", "do_nothing", "over_forget"}


def test_a_table_without_scenarios_gives_no_answer_and_no_error():
    found = overview.answers(GOOD[GOOD["method"] != "retrain"])
    assert found.empty
    assert overview.by_kind(found).empty
    assert overview.standing_claims(found, pd.DataFrame()) == ([], [])


def test_a_scenario_in_which_runs_are_missing_is_outside_the_answer():
    rows = pd.concat([near({"salun": 0.0}), near({"salun": 0.0}, "e")])
    begun = rows[~((rows["dataset"] == "e") & (rows["method"] == "salun") & (rows["seed"] > 2))]
    assert set(overview.answers(begun)["dataset"]) == {"d"}
    assert overview.incomplete(begun) == ["e, m, random-0.1"]
    assert overview.incomplete(rows) == []


def test_a_sentence_that_rests_on_one_scenario_does_not_stand():
    one = near({"salun": 0.0})
    assert overview.standing_claims(overview.answers(one), pd.DataFrame()) == (
        [],
        [overview.equality_claim(overview.answers(one), pd.DataFrame()).text],
    )
    two = overview.answers(pd.concat([one, near({"salun": 0.0}, "e")]))
    stand, fall = overview.standing_claims(two, pd.DataFrame())
    assert "salun (random samples)" in stand[0]
    assert fall == []
    turned = overview.answers(pd.concat([one, near({"salun": 0.3}, "e")]))
    assert overview.standing_claims(turned, pd.DataFrame())[0] == []


def test_a_sentence_that_turns_without_one_seed_does_not_stand():
    rows = pd.concat([near({"salun": 0.0}, pairs=6), near({"salun": 0.0}, "e", pairs=6)])
    found = overview.answers(rows)
    assert overview.standing_claims(found, pd.DataFrame())[0]
    assert overview.standing_claims(found, pd.DataFrame(), overview.without_each_pair(rows))[0] == []


def test_that_nothing_can_be_shown_is_a_finding_too():
    rows = pd.concat([near({"salun": 0.0}, name, pairs=3) for name in ("d", "e")])
    stand, _ = overview.standing_claims(overview.answers(rows), pd.DataFrame())
    assert stand[0].startswith("Equality with retraining cannot be shown in any of 2 scenarios: too few runs")


def test_masking_that_passes_everywhere_is_said():
    rows = pd.concat([near({"mask_logit": 0.0}, name) for name in ("d", "e")]).assign(request="class-5")
    claim = overview.placebo_claim(overview.answers(rows), pd.DataFrame())
    assert claim.text.startswith("In 2 of 2 scenarios")
    assert overview.placebo_claim(overview.answers(near({"mask_logit": 0.3})), pd.DataFrame()) is None


def test_the_headline_has_a_panel_a_kind_and_a_name_a_method():
    figure = figures.headline(overview.answers(near({"scrub": 0.0, "finetune": 0.3})), "d (sample)")
    assert [axis.get_title() for axis in figure.axes] == ["random samples\n1 scenario, n = 8"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["scrub", "finetune", "second_retrain", "original"]
    assert "sample" in figure.get_suptitle()
    figures.plt.close(figure)


def test_there_is_no_headline_from_few_runs():
    with pytest.raises(ForgetError, match="No scenario has 6 pairs"):
        figures.headline(overview.answers(near({"scrub": 0.0}, pairs=5)), "d")
