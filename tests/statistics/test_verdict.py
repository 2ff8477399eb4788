"""The one verdict: gaps and bounds by hand, placebos, failures, and how often it errs on studies of known truth."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.verdict_errors import judged, rates
from forget_lib.statistics import intervals, verdict
from forget_lib.statistics.rules import MARGINS

PAIRS = 8
WIGGLE = np.tile([0.001, -0.001], 4)
"""Noise that is small, the same for all, and no constant."""


def table_of(values: dict[str, dict[str, np.ndarray]], request: str = "random-0.1") -> pd.DataFrame:
    """Records as `study.records.load` gives them, of values by method and measure: a float for each pair."""
    metrics = {measure.title: measure for measure in reversed(verdict.MEASURES)}
    rows = []
    for method, by_measure in values.items():
        for title, numbers in by_measure.items():
            measure = metrics[title]
            about = {"method": method, "metric": measure.metric, "attack": measure.attack, "status": "done", "n": 400}
            rows += [about | {"draw": pair, "seed": pair, "value": value} for pair, value in enumerate(numbers)]
    return pd.DataFrame(rows).assign(dataset="simulated", model="none", request=request, run=0, reason="")


def scenario(request: str = "class-5", **shifts: dict[str, float]) -> pd.DataFrame:
    """Records of 8 pairs: the retrained models, the placebos of a class, and methods with gaps in the three measures
    forget, kept and probe (0 where they are left out)."""
    known = {"forget": 0.6, "probe": 0.5}
    models = {"retrain": {}, "second_retrain": {}, "original": known, "do_nothing": known, "mask_logit": {"probe": 0.5}}
    models |= {"over_forget": {"forget": -0.3}} | shifts
    titles = {"forget": "forget accuracy", "kept": "kept accuracy", "probe": "linear probe"}
    base = np.linspace(0.3, 0.4, PAIRS)  # pairs differ; gaps do not
    values = {}
    for place, (method, gaps) in enumerate(models.items()):
        noise = np.roll(WIGGLE, place) * (place > 0)
        values[method] = {title: base + gaps.get(name, 0.0) + noise for name, title in titles.items()}
    return table_of(values, request)


def test_gap_and_bound_by_hand():
    # Mean 0.02, SD 0.01, error 0.01 / sqrt(3); t of 2 degrees of freedom: 4.302653 at 97.5 %, 2.919986 at 95 %.
    gap = verdict.gap_of(np.array([0.01, 0.02, 0.03]), margin=0.05)
    error = 0.01 / math.sqrt(3)
    assert gap.n == 3
    assert gap.mean == pytest.approx(0.02)
    assert (gap.low, gap.high) == pytest.approx((0.02 - 4.302653 * error, 0.02 + 4.302653 * error), rel=1e-6)
    assert gap.bound == pytest.approx(0.02 + 2.919986 * error, rel=1e-6)


def test_the_bound_is_the_smallest_margin_at_which_both_tests_pass():
    values = np.random.default_rng(0).normal(0.004, 0.01, 9)
    bound = verdict.gap_of(values, 0.02).bound
    assert intervals.tost(values, bound * 1.001).equivalent
    assert not intervals.tost(values, bound * 0.999).equivalent
    assert verdict.gap_of(values, 0.02).p_equal == pytest.approx(intervals.tost(values, 0.02).p_value)


def test_gaps_without_spread_are_as_sure_as_their_samples_allow():
    few, many = (verdict.gap_of(np.zeros(6), 0.02, samples) for samples in (20, 2000))
    assert few.high == pytest.approx(intervals.clopper_pearson(0, 20).high)
    assert few.bound > 0.02 > many.bound > 0


def test_a_method_equal_everywhere_is_as_retrained_and_masking_never_is():
    found = verdict.verdicts(scenario(good={}))
    assert found.loc["good", "word"] == "as retrained"
    assert found.loc["good", "n"] == PAIRS
    assert found.loc["mask_logit", "verdict"] == "inside"
    assert found.loc["mask_logit", "placebo"]
    assert found.loc["do_nothing", "verdict"] == "little"
    assert found.loc["over_forget", "verdict"] == "much"
    assert found.loc["second_retrain", "verdict"] == "equal"


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ({"forget": 0.1}, "little"),
        ({"forget": -0.1}, "much"),
        ({"kept": -0.1}, "utility"),
        ({"kept": 0.1}, "kept_more"),
        ({"probe": 0.1}, "inside"),
        ({"probe": -0.1}, "much"),
        ({"forget": 0.1, "kept": -0.3}, "little"),
        ({"forget": 0.0199}, "undecided"),
    ],
)
def test_each_difference_has_its_word(gaps: dict[str, float], expected: str):
    assert verdict.verdicts(scenario(other=gaps)).loc["other", "verdict"] == expected


def test_methods_stand_before_placebos_and_the_best_first():
    found = verdict.verdicts(scenario(bad={"forget": 0.3}, good={}))
    assert list(found.index[:2]) == ["good", "bad"]
    assert found["placebo"].tolist() == sorted(found["placebo"])


def test_a_class_needs_a_measure_of_the_inside_that_tells_a_masked_output():
    table = scenario(good={})
    without = table[table["attack"] != "linear_probe"]
    assert verdict.verdicts(without).loc["good", "word"] == "cannot be told here"
    assert verdict.verdicts(without).loc["mask_logit", "word"] == "cannot be told here"
    not_run = table[table["method"] != "mask_logit"]
    assert "masked output" in verdict.verdicts(not_run).loc["good", "why"]
    assert verdict.powers(verdict.compared(not_run))["linear probe"] == "mask_logit (not run)"
    samples = scenario("random-0.1", good={})
    assert verdict.verdicts(samples[samples["attack"] == ""]).loc["good", "verdict"] == "equal"


def test_where_the_untouched_model_passes_nothing_can_be_told():
    table = scenario("random-0.1", good={})
    outputs = table[table["attack"] == ""].copy()
    untouched = outputs["method"].isin(["original", "do_nothing"]) & (outputs["metric"] == "forget_accuracy")
    outputs.loc[untouched, "value"] -= 0.6
    assert verdict.verdicts(outputs).loc["good", "verdict"] == "blind"
    assert verdict.blind_to(verdict.verdicts(outputs))["do_nothing"] == ["forget accuracy"]


def test_equality_needs_six_pairs_and_a_difference_three():
    table = scenario(good={}, bad={"forget": 0.3})
    for pairs, good, bad in ((5, "few", "little"), (3, "few", "little"), (2, "few", "few"), (1, "few", "few")):
        found = verdict.verdicts(table[table["draw"] < pairs])
        assert (found.loc["good", "verdict"], found.loc["bad", "verdict"]) == (good, bad)


def test_a_failed_run_is_counted_and_excludes_equality():
    table = scenario(good={})
    gone = (table["method"] == "good") & (table["draw"] == 0)
    row = table[gone].head(1).assign(metric="", attack="", value=np.nan, status="failed", reason="diverged")
    found = verdict.verdicts(pd.concat([table[~gone], row], ignore_index=True))
    assert found.loc["good", "word"] == "failed 1 of 8"


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_a_failed_run(odd: float):
    table = scenario(good={})
    table.loc[(table["method"] == "good") & (table["draw"] == 0), "value"] = odd
    assert verdict.verdicts(table).loc["good", "word"] == "failed 1 of 8"


def test_odd_tables_give_a_sentence():
    table = scenario(good={})
    alone = verdict.verdicts(table[table["method"] != "retrain"])
    assert (alone["verdict"] == "blind").all()
    assert "no retrained model" in alone.loc["good", "why"]
    unsuited = table[table["method"] == "good"].head(1).assign(method="odd", metric="", value=np.nan)
    both = pd.concat([table, unsuited.assign(status="not applicable")], ignore_index=True)
    assert verdict.verdicts(both).loc["odd", "word"] == "does not apply"
    assert verdict.verdicts(table.head(0)).empty
    nothing = table.assign(value=np.nan)
    assert set(verdict.verdicts(nothing)["verdict"]) == {"failed"}


def test_without_a_second_retrained_model_that_is_equal_there_are_too_few_runs():
    table = scenario(good={})
    noisy = table["method"] == "second_retrain"
    table.loc[noisy, "value"] += np.tile(np.linspace(-0.1, 0.1, PAIRS), 3)
    assert verdict.verdicts(table).loc["good", "word"] == "too few runs"


def test_margins_come_from_one_place(monkeypatch):
    assert MARGINS == {"accuracy": 0.02, "auc": 0.02, "share_left": 0.05, "separation": 0.2}
    table = scenario(near={"forget": 0.015})
    assert verdict.verdicts(table).loc["near", "verdict"] == "equal"
    monkeypatch.setitem(MARGINS, "accuracy", 0.01)
    assert verdict.verdicts(table).loc["near", "verdict"] == "little"


def test_an_attack_is_judged_against_the_retrained_model_and_not_against_guessing():
    table = scenario("random-0.1", good={})
    attack = table[table["metric"] == "forget_accuracy"].assign(metric="auc", attack="loss_regression")
    attack["value"] += 0.2  # all targets share their coins: the retrained model is not at 0.5 either
    both = pd.concat([table[table["attack"] == ""], attack], ignore_index=True)
    assert verdict.verdicts(both).loc["good", "verdict"] == "equal"


def test_holm_is_over_the_methods_of_the_scenario():
    many = {f"other{number}": {"forget": 0.0} for number in range(4)}
    one, several = (verdict.verdicts(scenario(good={"forget": 0.0005}, **more)) for more in ({}, many))
    assert several.loc["good", "p_equal"] >= one.loc["good", "p_equal"]
    raw = one["p_equal"]["good"]
    assert several.loc[["good", *many], "p_equal"].min() <= 5 * raw + 1e-12


def test_a_p_value_that_suffices_alone_does_not_among_four_methods():
    placebo = verdict.Compared("do_nothing", "forget accuracy", "output", 0.02, 0, 8, 0.3, 0.29, 0.31, 0.31, 1.0, 1e-9)
    near = placebo._replace(mean=0.01, low=0.0, high=0.02, bound=0.019, p_equal=0.02, p_zero=0.05)
    for number, expected, p in ((1, "equal", 0.02), (4, "undecided", 0.08)):
        names = [f"method{place}" for place in range(number)]
        rows = [placebo, *(near._replace(method=name) for name in names)]
        found = verdict.judge(rows, {name: ["done"] * 8 for name in ("retrain", "do_nothing", *names)}, False)
        assert set(found.loc[names, "verdict"]) == {expected}
        assert found.loc[names, "p_equal"].tolist() == pytest.approx([p] * number)


def pool(gaps: dict[str, float], original: float = 0.4, error: float = 0.003) -> pd.DataFrame:
    """A pooled study of 8 targets by U-LiRA, from gaps to the retrained model; all targets share an offset of 0.05."""
    rows = []
    for method, gap in ({"retrain": 0.0, "second_retrain": 0.0, "original": original} | gaps).items():
        kind = "method" if method in gaps else "control"
        about = {"method": method, "kind": kind, "attack": "u_lira", "targets": 8, "status": "done", "error": error}
        ends = {"low": 0.54 + gap, "high": 0.56 + gap}
        rows.append(about | ends | {"metric": "auc", "value": 0.55 + gap})
        if method != "retrain":
            rows.append(about | {"metric": "auc_gap", "value": gap})
    return pd.DataFrame(rows)


def test_a_strong_attack_is_paired_with_the_retrained_model_on_the_same_targets():
    found = verdict.pool_verdicts(pool({"clean": 0.0, "leaks": 0.1, "over": -0.1}))
    assert found.loc[["clean", "leaks", "over"], "verdict"].tolist() == ["equal", "little", "much"]
    assert found["told"].to_dict() == {name: name in ("leaks", "over") for name in found.index}
    assert found.loc["clean", "gaps"]["u_lira"].n == 8
    many = verdict.pool_verdicts(pool({f"clean{number}": 0.0 for number in range(200)} | {"lone": 0.0105}))
    assert not many.loc["lone", "told"], "3.5 standard errors of one in 201 methods are chance, after Holm"


def test_a_pool_in_which_the_attack_misses_the_original_tells_nothing():
    assert set(verdict.pool_verdicts(pool({"clean": 0.0}, original=0.01))["verdict"]) == {"blind"}
    assert verdict.pool_verdicts(pool({"clean": 0.0}).assign(attack="lira")).empty


def test_nulls_that_do_not_hold_are_counted():
    assert verdict.broken_nulls(pool({"leaks": 0.1})) == (2, 2)
    assert verdict.broken_nulls(pool({}).assign(low=0.4)) == (0, 2)
    assert verdict.broken_nulls(pool({}).assign(low=0.5)) == (0, 2)
    assert verdict.broken_nulls(pool({}).assign(low=0.3, high=0.5)) == (0, 2)


def test_several_scenarios_agree_or_differ_and_a_blind_one_never_counts():
    assert verdict.across(["equal", "blind"]) == "equal"
    assert verdict.across(["equal", "little"]) == "mixed"
    assert verdict.across(["blind", "blind"]) == "blind"
    assert verdict.across(["few", "blind"]) in ("few", "blind")
    assert verdict.state("mixed").word == "differs by scenario"


def test_states_have_signs_and_words_of_their_own():
    states = [*verdict.STATES.values(), verdict.MIXED]
    assert len({state.word for state in states}) == len(states) == len({state.sign for state in states})


def test_seldom_as_retrained_what_is_not_and_mostly_what_is():
    """On simulated studies: false verdicts in at most 5 % of them (with room for 60 studies), power of 80 % at ten."""
    for kind in ("random", "class"):
        shares = rates(judged(60, 10, kind))
        assert shares.loc["any false", "equal"] <= 0.1
        assert shares.loc["equal", "equal"] >= 0.8
    blind = rates(judged(30, 10, "random", blind=True))
    assert blind["equal"].max() == 0
    three = rates(judged(30, 3, "class"))
    assert three["equal"].max() == 0
    assert three.loc["far", "different"] == 1


def test_a_gap_at_the_end_of_what_can_be_is_shown_no_further():
    at_the_end = verdict.compared(scenario("random-0.1", far={}))[0]._replace(mean=1.0, low=0.9, high=1.1)
    assert verdict.ends_of(at_the_end) == (1.0, 0.9, 1.0)
    unbounded = at_the_end._replace(measure="share left")
    assert verdict.ends_of(unbounded) == (1.0, 0.9, 1.1)
