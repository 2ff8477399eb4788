import numpy as np
import pandas as pd
import pytest

from forget_lib.show import answer_table, figures, findings, overview

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
        ("test_accuracy_of_cat", "", kept),
        ("auc", "loss_regression", auc),
    ):
        for method, values in by_method.items():
            for seed, value in enumerate(values):
                keys = {"dataset": "d", "model": "m", "request": "random-0.1", "draw": 0, "seed": seed, "run": 0}
                row = {"method": method, "attack": attack, "metric": metric, "value": value, "unit": "share"}
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


def test_verdicts_follow_from_the_numbers():
    lines = "\n".join(findings.method_sentences(GOOD))
    assert "**scrub**: forgets as the retrained model does, but loses utility" in lines
    assert "**finetune**: keeps utility, but its forget accuracy is not the retrained model's" in lines


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


def test_below_the_null_is_said_to_be_below():
    assert any("scrub" in line and "below the null" in line for line in findings.attack_sentences(GOOD))


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_an_auc_whose_interval_holds_the_null_lies_on_no_side():
    wide = GOOD.copy()
    wide.loc[(wide["method"] == "scrub") & (wide["metric"] == "auc"), "value"] = [0.45, 0.6, 0.543]
    (line,) = [line for line in findings.attack_sentences(wide) if "**scrub**" in line]
    assert "AUC 0.531 (0.343 to 0.719), not told from the null, which the interval holds;" in line
    one = wide[wide["seed"] == 0].assign(low=wide["value"] - 0.02, high=wide["value"] + 0.08)
    (line,) = [line for line in findings.attack_sentences(one) if "**scrub**" in line]
    assert "AUC 0.450 (0.430 to 0.530, one seed), not told from the null" in line
    (line,) = [line for line in findings.attack_sentences(one.assign(**NO_INTERVAL)) if "**scrub**" in line]
    assert "without an interval: on neither side" in line


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_one_run_has_power_only_if_its_interval_leaves_out_the_null():
    one = GOOD[(GOOD["seed"] == 0) & (GOOD["metric"] == "auc")]
    assert findings.has_power(one.assign(value=0.56, low=0.52, high=0.6))
    assert not findings.has_power(one.assign(value=0.56, low=0.49, high=0.63))
    assert not findings.has_power(one.assign(value=0.54, low=0.52, high=0.56))


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_shuffled_labels_off_the_line_are_named():
    rows = pd.DataFrame({"attack": ["rmia", "lira"], "kind": "null", "metric": "auc", "value": [0.501, 0.478]})
    rows = rows.assign(low=[0.48, 0.457], high=[0.52, 0.499])
    line = findings.shuffled_sentence(rows)
    assert line.startswith("Labels shuffled: 1 of 2 intervals hold 0.5. Off it: lira 0.478 (0.457 to 0.499).")
    assert findings.shuffled_sentence(rows[:1]) == "Labels shuffled: 1 of 1 intervals hold 0.5."
    assert findings.shuffled_sentence(rows.assign(kind="method")) == ""


def test_without_power_nothing_is_ranked():
    weak = GOOD.assign(value=np.where(GOOD["metric"] == "auc", 0.5 + 0.01 * GOOD["seed"], GOOD["value"]))
    lines = findings.attack_sentences(weak)
    assert "no ranking can be read" in lines[-1]
    assert not any("scrub" in line for line in lines)


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_a_gap_beyond_what_can_be_is_not_shown():
    assert findings.with_interval(np.array([0.0, 0.0, 1.0])) == "+33.3 points (95 % interval -85.3 to +96.1)"
    assert findings.with_interval(np.array([0.0, 0.0, 1.0]), "separation", points=False).endswith("-1.101 to +1.768)")


def test_one_seed_is_called_one_seed():
    assert "one seed" in findings.with_interval(np.array([0.1]))
    assert figures.seeds_of(GOOD[GOOD["seed"] == 0]) == "one seed; bars, if any, are within the run"
    assert figures.seeds_of(GOOD) == "mean and 95 % interval over 3 seeds"
    assert figures.seeds_of(GOOD[(GOOD["seed"] < 2) | (GOOD["method"] != "scrub")]).endswith("over 2 to 3 seeds")


def test_a_sample_is_called_a_sample_on_every_figure():
    for draw in (
        figures.accuracies,
        figures.attack_strength,
        figures.class_heat_map,
        figures.forgetting_against_utility,
    ):
        figure = draw(GOOD)
        titles = [axis.get_title() for axis in figure.axes] + [figure.get_suptitle()]
        assert any("sample" in title for title in titles), draw.__name__
        figures.plt.close(figure)


def test_the_overview_says_where_accuracy_cannot_tell():
    same = {"original": [0.6, 0.6], "retrain": [0.6, 0.61], "finetune": [0.6, 0.6]}
    lines = findings.overview_sentences(table(same, same, {"original": [0.5, 0.5], "retrain": [0.5, 0.5]}))
    assert "accuracy cannot tell here" in lines[0]
    assert "No ranking can be read" in lines[0]


def test_the_table_for_people_has_means_and_half_intervals():
    frame = figures.comparison(GOOD)
    assert list(frame.index[:2]) == ["original", "retrain"]
    assert "±" in frame.loc["scrub", "forget_accuracy (%)"]
    cut = GOOD.copy()
    cut.loc[(cut["method"] == "scrub") & (cut["metric"] == "forget_accuracy"), "value"] = [0.0, 0.0, 1.0]
    assert figures.comparison(cut).loc["scrub", "forget_accuracy (%)"] == "33.3 (0.1 to 99.7)"


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
    text = " ".join(findings.oracle_sentences(table) + findings.method_sentences(table))
    assert "no retrained model** (needs the recipe)" in text
    assert "against the original; whether it forgot is not known" in text
    assert not any(verdict in text for verdict in findings.VERDICTS.values())


def test_a_class_that_pays_is_named_beside_the_mean():
    classes = {"cat": {"retrain": 0.8, "second_retrain": 0.79, "ssd": 0.0, "salun": 0.8}}
    classes |= {"dog": {"retrain": 0.8, "second_retrain": 0.8, "ssd": 0.8, "salun": 0.78}}
    classes |= {"gone": {"retrain": 0.0, "second_retrain": 0.0, "ssd": 0.5, "salun": 0.0}}
    rows = [
        {"metric": f"test_accuracy_of_{name}", "method": method, "value": value, "seed": seed}
        for name, by_method in classes.items()
        for method, value in by_method.items()
        for seed in (0, 1)
    ]
    part = pd.DataFrame(rows).assign(dataset="d", model="m", request="class-gone", draw=0, run=0)
    (line,) = findings.class_sentences(part)
    assert "more than 5 on the worst class (1 methods): **ssd** 80 points on cat (mean over classes 40.0" in line
    assert "emptied: cat" in line
    assert "salun" not in line
    assert "no method loses more than 5" in findings.class_sentences(part[part["method"] != "ssd"])[0]
    assert findings.class_sentences(part[part["method"] != "retrain"]) == []


@pytest.mark.fault("A net, method or attack that raises")
def test_a_method_that_failed_in_one_run_of_three_is_not_averaged_in_silence():
    rows = GOOD.copy()
    broken = (rows["method"] == "scrub") & (rows["seed"] == 2)
    rows.loc[broken, ["status", "reason", "metric", "value"]] = ["failed", "oh.", "", float("nan")]
    assert findings.failures(rows) == {"scrub": "failed in 1 of 3 runs (oh)"}
    (line,) = [line for line in findings.method_sentences(rows) if line.startswith("**scrub**")]
    assert line.endswith("against it. It failed in 1 of 3 runs (oh).")
    assert "failed: scrub" in figures.accuracies(rows).axes[0].get_title()
    found = overview.answers(rows).set_index("method")
    assert found.loc["scrub", ["failed", "runs"]].tolist() == [1, 3]
    assert "failed in 1 of 3 runs" in answer_table.answer_page(overview.answers(rows))
    figures.plt.close("all")
