import dataclasses

import numpy as np
import pandas as pd
import pytest

from forget_lib.datasets import load
from forget_lib.show import answer_table, figures, figures_models, findings, overview
from forget_lib.statistics.measurement import Measurement

MARKS = {"status": "done", "reason": None, "synthetic": False, "sampled": True}
NO_INTERVAL = {"low": float("nan"), "high": float("nan")}


def table(forget: dict[str, list[float]], kept: dict[str, list[float]], auc: dict[str, list[float]]) -> pd.DataFrame:
    """A tidy table of one scenario with one value a seed."""
    rows = []
    for metric, attack, by_method in (
        ("forget_accuracy", "", forget),
        ("retain_accuracy", "", kept),
        ("test_accuracy", "", kept),
        ("relative_cost", "", {name: [0.1] * len(v) for name, v in kept.items() if name != "original"}),
        ("class_accuracy", "", kept),
        ("auc", "loss_regression", auc),
    ):
        for method, values in by_method.items():
            for seed, value in enumerate(values):
                keys = {"dataset": "d", "model": "m", "request": "random-0.1", "draw": 0, "seed": seed, "run": 0}
                row = {"method": method, "attack": attack, "metric": metric, "value": value, "unit": "share"}
                row["n"] = 400
                row["item"] = "cat" if metric == "class_accuracy" else ""
                rows.append(keys | row | NO_INTERVAL | MARKS)
    return pd.DataFrame(rows)


GOOD = table(
    {
        "original": [1.0, 0.99, 1.0],
        "retrain": [0.6, 0.62, 0.61],
        "scrub": [0.62, 0.63, 0.6],
        "finetune": [0.9, 0.9, 0.9],
    },
    {"original": [0.8, 0.8, 0.81], "retrain": [0.79, 0.8, 0.8], "scrub": [0.6, 0.6, 0.6], "finetune": [0.8, 0.8, 0.8]},
    {
        "original": [0.8, 0.81, 0.82],
        "retrain": [0.49, 0.5, 0.51],
        "scrub": [0.4, 0.41, 0.4],
        "finetune": [0.7, 0.7, 0.71],
    },
)


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
        ("", "test_accuracy_forgotten"): [recall] * runs,
        ("", "test_accuracy_retained"): [others] * runs,
    }


def clear() -> dict[str, dict]:
    """The original lies above the retrained model in separation, not in rank."""
    return {
        "original": probes([0.9, 0.7, 0.8], [5.0, 5.1, 5.2], recall=0.9),
        "retrain": probes([0.8, 0.8, 0.8], [3.0, 3.2, 3.1]) | {("", "test_accuracy_retained"): [0.88, 0.9, 0.92]},
        "second_retrain": probes([0.8, 0.7, 0.9], [3.1, 3.1, 3.1]),
        "untrained": probes([0.2, 0.2, 0.2], [1.0, 1.0, 1.0], others=0.02),
        "mask_logit": probes([0.9, 0.7, 0.8], [5.0, 5.1, 5.2]),
        "gentle": probes([0.9, 0.7, 0.8], [5.0, 5.1, 5.1], others=0.895),
        "rough": probes([0.2, 0.1, 0.2], [1.0, 1.1, 1.2], others=0.5),
    }


def test_a_guarantee_stands_beside_the_gaps_of_the_methods_that_have_one():
    assert findings.promises(GOOD) == {}
    mine = GOOD["method"] == "scrub"
    epsilon = GOOD["seed"].map({0: 0.5, 1: 2.0, 2: 1.0}).where(mine)
    facts = GOOD.assign(fact_epsilon=epsilon, fact_delta=1e-5, fact_refitted=mine & (GOOD["seed"] == 2))
    assert findings.promises(facts) == {"scrub": "ε = 2, δ = 1e-05; fitted anew in 1 of 3 runs"}
    assert findings.gaps_shown(facts).loc["scrub", "promises"].startswith("ε = 2")
    scoped = facts.assign(fact_scope="all trained weights", fact_refitted=False)
    assert findings.promises(scoped) == {"scrub": "ε = 2, δ = 1e-05 (all trained weights)"}


def test_gaps_are_numbers_and_text_with_the_best_first():
    gaps = findings.gap_table(GOOD)
    n, gap, low, high = gaps.loc["forget_accuracy", "scrub"]
    assert (n, gap) == (3, pytest.approx(0.02 / 3))
    assert low == pytest.approx(0.02 / 3 - 0.0379, abs=1e-4)
    assert high == pytest.approx(0.02 / 3 + 0.0379, abs=1e-4)
    shown = findings.gaps_shown(GOOD)
    assert list(shown.index) == ["scrub", "finetune", "original"]
    assert shown.loc["finetune", "verdict"] == "▲ still knows it"
    assert shown.loc["finetune", "forget accuracy"] == "+29.0 (+26.5 to +31.5)"
    assert "retrain" not in shown.index


def test_a_probe_is_a_gap_like_any_other():
    gaps = findings.gap_table(
        table_of(clear()), (("separation", "verification"), ("rank_1_forgotten", "reidentification"))
    )
    assert gaps.loc[("separation", "original"), "low"] > 0
    assert not gaps.loc[("rank_1_forgotten", "original"), "low"] > 0
    assert gaps.loc[("separation", "rough"), "high"] < 0
    assert gaps.loc[("separation", "mask_logit"), "gap"] == gaps.loc[("separation", "original"), "gap"]


def test_the_gap_is_paired_by_seed():
    assert findings.paired_gap(GOOD, "scrub", "forget_accuracy") == pytest.approx([0.02, 0.01, -0.01])
    shuffled = GOOD.sample(frac=1, random_state=0)
    assert findings.paired_gap(shuffled, "scrub", "forget_accuracy") == pytest.approx([0.02, 0.01, -0.01])


def test_a_run_that_one_side_lacks_or_could_not_measure_has_no_gap():
    scrub, second = GOOD["method"] == "scrub", GOOD["seed"] == 1
    assert findings.paired_gap(GOOD[~(scrub & second)], "scrub", "forget_accuracy") == pytest.approx([0.02, -0.01])
    unmeasured = GOOD.assign(value=GOOD["value"].mask(scrub & second))
    assert findings.paired_gap(unmeasured, "scrub", "forget_accuracy") == pytest.approx([0.02, -0.01])
    assert len(findings.paired_gap(GOOD[~scrub], "scrub", "forget_accuracy")) == 0


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_a_gap_beyond_what_can_be_is_not_shown():
    assert findings.with_interval(np.array([0.0, 0.0, 1.0])) == "+33.3 (-85.3 to +96.1) points"
    assert findings.with_interval(np.array([0.0, 0.0, 1.0]), "separation", points=False) == "+0.333 (-1.101 to +1.768)"


def test_the_controls_say_what_can_be_read():
    lines = findings.control_sentences(GOOD)
    forget = lines[0]
    assert forget.startswith("Forget accuracy, minus the retrained model's: original +38.7 (+34.9 to +42.5)")
    assert forget.endswith("it has power here.")
    assert lines[1].startswith("Loss attack, minus the retrained model's: original +0.310")
    assert "**Still knows it**: finetune." in lines
    assert lines[-1].startswith("Pairs of draw and seed: 3")


def test_a_measure_without_power_says_what_it_does_not_tell():
    weak = GOOD.assign(value=np.where(GOOD["metric"] == "auc", 0.5 + 0.01 * GOOD["seed"], GOOD["value"]))
    assert "**no power here**: it does not distinguish original from retraining" in findings.control_sentences(weak)[1]


def test_hiding_the_output_is_named_where_accuracy_takes_it_for_forgetting():
    hidden = GOOD[GOOD["method"] == "retrain"].assign(method="mask_logit")
    text = " ".join(findings.control_sentences(pd.concat([GOOD, hidden])))
    assert "mask_logit looks like the retrained model in forget accuracy" in text
    assert "mask_logit looks" not in " ".join(findings.control_sentences(GOOD))


def test_one_seed_is_called_one_seed():
    assert findings.with_interval(np.array([0.1])) == "+10.0 points, one run"
    one = findings.control_sentences(GOOD[GOOD["seed"] == 0])
    assert one[-1].startswith("Pairs of draw and seed: 1; fewer than 3 show nothing")
    assert figures.seeds_of(GOOD[GOOD["seed"] == 0]) == "one run; an interval, if any, is over its samples"
    assert figures.seeds_of(GOOD) == "mean and 95 % interval over 3 seeds"
    assert figures.seeds_of(GOOD[(GOOD["seed"] < 2) | (GOOD["method"] != "scrub")]).endswith("over 2 to 3 seeds")


def test_three_findings_stand_first_and_none_is_drawn_from_too_few_runs():
    right, judged, control = findings.first_findings(GOOD)
    assert "the original model names 99.7% rightly" in right
    assert "names 61.0%: that is the goal" in right
    assert judged.startswith("**")
    assert "The loss attack has an AUC of" in control
    alone = findings.first_findings(GOOD[GOOD["seed"] == 0])
    assert (
        "cannot be told here**: a difference needs 3 pairs of draw and seed, equality 6, and this page has 1"
        in alone[1]
    )
    assert "As retrained" not in " ".join(alone)
    hidden = GOOD[GOOD["method"] == "retrain"].assign(method="mask_logit")
    assert "accuracy alone is no proof" in findings.first_findings(pd.concat([GOOD, hidden]))[2]


def test_a_sample_is_called_a_sample_on_every_figure():
    for draw in (
        figures_models.forest,
        figures.attack_strength,
        figures.class_heat_map,
    ):
        figure = draw(GOOD)
        titles = [axis.get_title() for axis in figure.axes] + [figure.get_suptitle()]
        assert any("sample" in title for title in titles), draw.__name__
        figures.plt.close(figure)


def test_the_table_for_people_has_means_and_half_intervals():
    frame = figures.comparison(GOOD)
    assert list(frame.index[:2]) == ["original", "retrain"]
    assert "±" in frame.loc["scrub", "forget set (%)"]
    cut = GOOD.copy()
    cut.loc[(cut["method"] == "scrub") & (cut["metric"] == "forget_accuracy"), "value"] = [0.0, 0.0, 1.0]
    assert figures.comparison(cut).loc["scrub", "forget set (%)"] == "33.3 (0.1 to 99.7)"


def test_without_a_retrained_model_nothing_is_concluded_and_that_is_said():
    table = pd.DataFrame(
        [
            {"method": "retrain", "metric": "", "status": "not applicable", "reason": "needs the recipe"},
            {"method": "original", "metric": "forget_accuracy", "value": 0.9, "status": "done"},
            {"method": "finetune", "metric": "forget_accuracy", "value": 0.5, "status": "done"},
            {"method": "original", "metric": "test_accuracy", "value": 0.9, "status": "done"},
            {"method": "finetune", "metric": "test_accuracy", "value": 0.8, "status": "done"},
        ]
    ).assign(dataset="d", model="m", request="r", draw=0, seed=0, run=0, attack="", unit="share", low=None, high=None)
    (line,) = findings.control_sentences(table)
    assert "no retrained model** (needs the recipe)" in line
    assert "not whether it forgot" in line
    shown = findings.gaps_shown(table)
    assert shown.loc["finetune", "verdict"] == "○ cannot be told here"
    assert shown.loc["finetune", "forget accuracy, minus original"] == "-40.0"
    assert shown.loc["retrain", "note"] == "not applicable (needs the recipe)"


def test_a_class_that_pays_is_named_beside_the_mean():
    classes = {"cat": {"retrain": 0.8, "second_retrain": 0.79, "ssd": 0.0, "salun": 0.8}}
    classes |= {"dog": {"retrain": 0.8, "second_retrain": 0.8, "ssd": 0.8, "salun": 0.78}}
    classes |= {"gone": {"retrain": 0.0, "second_retrain": 0.0, "ssd": 0.5, "salun": 0.0}}
    rows = [
        {"metric": "class_accuracy", "item": name, "method": method, "value": value, "seed": seed}
        for name, by_method in classes.items()
        for method, value in by_method.items()
        for seed in (0, 1)
    ]
    part = pd.DataFrame(rows).assign(dataset="d", model="m", request="class-gone", draw=0, run=0)
    lost = findings.class_gaps(part)
    assert list(lost.index) == ["ssd", "salun", "second_retrain"]
    assert lost.loc["ssd", ["worst class", "emptied"]].tolist() == ["cat", "cat"]
    assert lost.loc["ssd", ["worst", "mean"]].tolist() == pytest.approx([80, 40])
    assert lost.loc["salun", "emptied"] == ""
    assert findings.class_gaps(part[part["method"] != "retrain"]).empty


@pytest.mark.fault("A net, method or attack that raises")
def test_a_method_that_failed_in_one_run_of_three_is_not_averaged_in_silence():
    rows = GOOD.copy()
    broken = (rows["method"] == "scrub") & (rows["seed"] == 2)
    rows.loc[broken, ["status", "reason", "metric", "value"]] = ["failed", "oh.", "", float("nan")]
    assert findings.failures(rows) == {"scrub": "failed in 1 of 3 runs (oh)"}
    shown = findings.gaps_shown(rows)
    assert shown.loc["scrub", ["verdict", "n"]].tolist() == ["✕ failed 1 of 3", "2"]
    assert shown.loc["scrub", "note"] == "failed in 1 of 3 runs (oh)"
    assert "failed: scrub" in figures_models.forest(rows).get_suptitle()
    found = overview.answers(rows).set_index("method")
    assert found.loc["scrub", ["failed", "runs"]].tolist() == [1, 3]
    assert "failed in 1 of 3 runs" in answer_table.answer_page(overview.by_kind(overview.answers(rows)))
    figures.plt.close("all")


@pytest.mark.parametrize("real", [{"synthetic": False}, {"synthetic": False, "people": None, "files": ("a.png",)}])
def test_images_of_real_people_and_of_a_user_are_not_shown(real, monkeypatch):
    data, seen = load("synthetic_faces32", "sample"), []
    monkeypatch.setattr(figures, "display", lambda thing, **_options: seen.append(thing))
    figures.show_images(data, {"rendered": data.images[:3]}, "three faces")
    figures.show_images(dataclasses.replace(data, **real), {"real": data.images[:3]}, "three faces")
    figures.show_images(dataclasses.replace(data, **real), figures.plt.figure(), "a figure of faces")
    assert "image/png" in seen[0]
    assert "never put on a page" in seen[2].data
    assert "never put on a page" in seen[1].data
