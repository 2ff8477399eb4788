"""Sentences about people follow from the numbers, and say nothing where nothing can be read."""

import pandas as pd
import pytest

from forget_lib.show import findings_faces as said
from forget_lib.statistics.measurement import Measurement
from forget_lib.study.scenario import Scenario


def table_of(values: dict[str, dict[tuple[str, str], list[float]]], **more) -> pd.DataFrame:
    """A tidy table: values by method and (attack, metric), one a run."""
    rows = [
        Measurement(metric, value, attack=attack)._asdict()
        | {"dataset": "faces", "model": "net", "request": "class-any1", "method": method, "run": 0, "status": "done"}
        | {"draw": number, "seed": number, "synthetic": True, "sampled": False, **more}
        for method, metrics in values.items()
        for (attack, metric), numbers in metrics.items()
        for number, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows).astype(dict.fromkeys(["value", "low", "high", "null"], float))


def probes(rank: list[float], separation: list[float], recall: float = 0.0, others: float = 0.9) -> dict:
    runs = len(rank)
    return {
        ("reidentification", "rank_1_forgotten"): rank,
        ("verification", "separation"): separation,
        ("", said.RECALL): [recall] * runs,
        ("", said.OTHERS): [others] * runs,
    }


def clear() -> dict[str, dict]:
    """The original lies above the retrained model in separation, not in rank."""
    return {
        "original": probes([0.9, 0.7, 0.8], [5.0, 5.1, 5.2], recall=0.9),
        "retrain": probes([0.8, 0.8, 0.8], [3.0, 3.2, 3.1]) | {("", said.OTHERS): [0.88, 0.9, 0.92]},
        "second_retrain": probes([0.8, 0.7, 0.9], [3.1, 3.1, 3.1]),
        "untrained": probes([0.2, 0.2, 0.2], [1.0, 1.0, 1.0], others=0.02),
        "mask_logit": probes([0.9, 0.7, 0.8], [5.0, 5.1, 5.2]),
        "gentle": probes([0.9, 0.7, 0.8], [5.0, 5.1, 5.1], others=0.895),
        "rough": probes([0.2, 0.1, 0.2], [1.0, 1.1, 1.2], others=0.5),
    }


def test_a_probe_is_read_only_where_the_original_is_above_the_retrained_model():
    table = table_of(clear())
    assert said.can_be_read(table, "verification", "separation")
    assert not said.can_be_read(table, "reidentification", "rank_1_forgotten")
    text = said.probe_sentences(table)
    assert "nothing can be read here" in text[0]
    assert not any("nothing can be read" in sentence for sentence in text[1:])
    assert any(sentence.startswith("**mask_logit**: still there") for sentence in text)
    assert any(sentence.startswith("**rough**: below it: over-forgotten") for sentence in text)


def test_one_run_never_ranks():
    one = {method: {key: numbers[:1] for key, numbers in metrics.items()} for method, metrics in clear().items()}
    text = said.probe_sentences(table_of(one))
    assert all("one run has no interval" in sentence for sentence in text)
    assert "one run, no interval" in said.goal_sentences(table_of(one))[0]


def test_hiding_the_output_forgets_nothing_and_the_page_says_so():
    assert "forgets nothing" in said.mask_sentence(table_of(clear()))
    assert "stays with" not in said.mask_sentence(table_of(clear()))
    head_only = clear() | {"gentle": clear()["mask_logit"]}
    assert "The embedding stays with gentle too" in said.mask_sentence(table_of(head_only))
    moved = clear() | {"mask_logit": probes([0.5, 0.5, 0.5], [5.0, 5.1, 5.2])}
    assert "differ from the original's" in said.mask_sentence(table_of(moved))
    moved.pop("mask_logit")
    assert said.mask_sentence(table_of(moved)) == ""


def test_the_goal_is_reached_by_who_is_not_named_and_costs_the_others_little():
    text = said.goal_sentences(table_of(clear()))
    assert "gentle" in text[1]
    assert "rough" in text[2]
    assert "mask_logit" not in "".join(text)
    named = clear() | {"gentle": probes([0.9] * 3, [5.0] * 3, recall=0.2)}
    assert "no method" in said.goal_sentences(table_of(named))[1]


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_each_method_gets_one_verdict_and_a_failure_its_reason():
    table = table_of(clear()).assign(reason=None)
    broken = table[table["method"] == "rough"].assign(method="stuck", status="failed", reason="diverged", metric="")
    text = said.goal_sentences(pd.concat([table, broken]))
    assert text[-1] == "**stuck**: failed (diverged)."
    assert sum("gentle" in line for line in text) == sum("rough" in line for line in text) == 1


def test_the_meaning_names_what_a_retrained_and_an_untrained_net_find():
    assert "80% of the images at rank 1 (an untrained net 20%)" in said.meaning_sentence(table_of(clear()))


def test_people_come_with_the_power_of_their_test():
    found = {
        ("rank_test", "auc"): [0.8],
        ("rank_test", "rank_p"): [0.001],
        ("rank_test", "rank_power"): [0.9],
    }
    values = {"original": found, "retrain": found | {("rank_test", "auc"): [0.5]}}
    text = said.people_sentences(table_of(values).assign(n=20))
    assert "20 forgotten units" in text[0]
    assert "90%" in text[0]
    assert text[1] == "**original**: surer of the forgotten in 0.80 of the pairs, p 0.001."
    assert "no result" in said.people_sentences(table_of({"original": {("", "x"): [1.0]}}))[0]


def test_the_people_on_both_sides_are_counted(tmp_path):
    scenario = Scenario(tmp_path, "synthetic_faces32", "small_cnn", "person:*20", start="sample")
    table = said.people_table(scenario)
    assert table.loc["forget", "people"] == 20
    assert table.loc["unseen", "people"] >= 20
    assert table.loc["unseen", "women (%)"] == pytest.approx(table.loc["forget", "women (%)"], abs=15)
    digits = Scenario(tmp_path, "mnist", "mlp", "class:5", start="sample")
    assert said.people_table(digits).empty
