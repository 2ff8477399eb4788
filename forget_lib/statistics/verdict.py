"""The one verdict on each method of a scenario: equal to the retrained model, different from it, or not to be told.

Everything is a paired gap: a method's value minus the retrained model's, of the same draw and seed. "As retrained" is
shown by two one-sided tests, never assumed; a measure counts only where it tells the placebos (EVALUATION 12).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from forget_lib.statistics.intervals import Interval, clopper_pearson, holm, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.rules import (
    ALPHA,
    BASELINES,
    CONTROLS,
    MARGINS,
    PAIRS_FOR_DIFFERENCE,
    PAIRS_FOR_EQUALITY,
    PLACEBOS,
    PRIMARY,
)

PAIR = ["draw", "seed"]


class Measure(NamedTuple):
    """One thing that a model is compared in. side: "output" or "inside" (higher: knows more of what was to go), or
    "kept" (utility). margin: a key of `MARGINS`."""

    title: str
    metric: str
    attack: str
    side: str
    margin: str


FORGET = Measure("forget accuracy", "forget_accuracy", "", "output", "accuracy")
KEPT = Measure("kept accuracy", "test_accuracy", "", "kept", "accuracy")
KEPT_OF_CLASS = KEPT._replace(metric="test_accuracy_retained")
MEASURES = (
    FORGET,
    Measure("loss attack", "auc", "loss_regression", "output", "auc"),
    KEPT_OF_CLASS,
    KEPT,
    Measure("linear probe", "probe_recall_forgotten", "linear_probe", "inside", "accuracy"),
    Measure("class mean", "class_mean_recall_forgotten", "nearest_class_mean", "inside", "accuracy"),
    Measure("verification", "separation", "verification", "inside", "separation"),
    Measure("share left", "share_left", "share_left", "inside", "share_left"),
)
"""The primary measures, fixed before looking; all others are exploratory."""


UNBOUNDED = {measure.title for measure in MEASURES if measure.margin in ("separation", "share_left")}


class State(NamedTuple):
    """sign, word, colour behind black text (contrast over 4.5), rank (0: best), and what it means."""

    sign: str
    word: str
    background: str
    rank: int
    meaning: str


NEEDED = f"equality needs {PAIRS_FOR_EQUALITY} pairs of draw and seed, a difference {PAIRS_FOR_DIFFERENCE}"
MORE = f"{NEEDED}, and more where not even a second retrained model is shown to be equal"
STATES = {
    "equal": State("●", "as retrained", "#9ad1f5", 0, "equal within the margin in every measure that has power"),
    "undecided": State("◌", "undecided", "#e8eef2", 1, "neither equal nor different; the bound says how far"),
    "kept_more": State("△", "keeps more", "#e8eef2", 2, "more accurate than retraining on what is kept"),
    "utility": State("▼", "loses utility", "#f6d78b", 3, "less accurate than retraining on what is kept"),
    "much": State("◆", "forgets too much", "#f6d78b", 4, "knows less of it than a model that never saw it"),
    "inside": State("◑", "right at the output, still inside", "#f3b08a", 5, "hidden, not forgotten"),
    "little": State("▲", "still knows it", "#f3b08a", 6, "knows more of it than a model that never saw it"),
    "few": State("…", "too few runs", "#eeeeee", 7, MORE),
    "blind": State("○", "cannot be told here", "#dddddd", 7, "no measure distinguishes the placebos from retraining"),
    "failed": State("✕", "failed", "#eeaaaa", 8, "some runs diverged or raised an error"),
    "unsuited": State("–", "does not apply", "#eeeeee", 9, "the method cannot serve this request or model"),
}
"""The verdicts. "mixed" stands beside them where scenarios of one kind differ, see `across`."""
MIXED = State("◐", "differs by scenario", "#d3e8f5", 3, "not the same verdict in all scenarios of this kind")


class Gap(NamedTuple):
    """Mean paired gap with the ends of its 95 % interval, the equality bound, and the p-value of equality.

    bound: largest absolute end of the 90 % interval, the smallest margin at which both one-sided tests pass at 5 %.
    p_equal: of these tests at the measure's margin. p_zero: two-sided, that the gap is 0.
    """

    n: int
    mean: float
    low: float
    high: float
    bound: float
    p_equal: float
    p_zero: float


class Compared(NamedTuple):
    """One method in one measure. broken: how many of its values are not finite. The rest as in `Measure` and `Gap`."""

    method: str
    measure: str
    side: str
    margin: float
    broken: int
    n: int
    mean: float
    low: float
    high: float
    bound: float
    p_equal: float
    p_zero: float


def gap_of(values: np.ndarray, margin: float, samples: float = math.nan) -> Gap:
    """The gap of paired differences, finite float [n]; NaN where there are too few.

    samples: how many samples are behind them in all. Differences that are all the same, such as 0 of n against 0 of n,
    have no spread to go by: the error is then that of Clopper and Pearson's interval for 0 of `samples`.
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2:
        return Gap(n, mean, math.nan, math.nan, math.nan, math.nan, math.nan)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    if error < 1e-12:
        trials = int(samples) if samples >= 1 else n
        error = clopper_pearson(0, trials).high / float(special.stdtrit(n - 1, 0.975))
    return gap_from(n, mean, error, margin)


def gap_from(n: int, mean: float, error: float, margin: float) -> Gap:
    """The gap of a mean of n >= 2 differences with its standard error (> 0)."""
    if n < 2 or not error > 0:
        return Gap(n, mean, math.nan, math.nan, math.nan, math.nan, math.nan)
    # As `intervals.t_interval` and `tost` from the values; scipy.stats would take most of a page's time.
    wide, narrow = special.stdtrit(n - 1, [0.975, 0.95])
    p_equal = 1 - special.stdtr(n - 1, (margin - abs(mean)) / error)
    p_zero = 2 * (1 - special.stdtr(n - 1, abs(mean) / error))
    bound = abs(mean) + narrow * error
    return Gap(n, mean, mean - wide * error, mean + wide * error, bound, float(p_equal), float(p_zero))


def ends_of(row: Compared) -> tuple[float, float, float]:
    """Mean and ends of the 95 % interval for people: an end that a difference of shares cannot reach is moved."""
    if row.measure in UNBOUNDED or not math.isfinite(row.low):
        return row.mean, row.low, row.high
    least, most = gap_range()
    mean, low, high, _ = within(Interval(row.mean, row.low, row.high, row.n), (least, most))
    return mean, max(low, least), min(high, most)


def measures_of(part: pd.DataFrame) -> list[Measure]:
    """The primary measures that a scenario's records hold for the retrained model; of the two kept accuracies, that
    of the classes that stay goes before that of the whole test set."""
    oracle = part[part["method"] == "retrain"]
    there = set(zip(oracle["metric"], oracle["attack"], strict=True))
    found = [measure for measure in MEASURES if (measure.metric, measure.attack) in there]
    return [measure for measure in found if measure != KEPT or KEPT_OF_CLASS not in found]


def paired(part: pd.DataFrame, measure: Measure) -> tuple[pd.DataFrame, dict[str, float], dict[str, int]]:
    """Differences to the retrained model, float [pair, method], NaN where a method has no value; by method, how many
    samples are behind them and how many values are not finite. Seeds of a method are averaged."""
    rows = part[(part["metric"] == measure.metric) & (part["attack"] == measure.attack)]
    finite = np.isfinite(rows["value"])
    samples = rows.groupby("method")["n"].sum().to_dict()
    broken = (~finite).groupby(rows["method"]).sum().to_dict()
    values = rows[finite].groupby([*PAIR, "method"])["value"].mean().unstack("method")
    oracle = values["retrain"] if "retrain" in values else pd.Series(np.nan, values.index)
    return values.sub(oracle, axis=0)[oracle.notna()].drop(columns="retrain", errors="ignore"), samples, broken


def compared(part: pd.DataFrame) -> list[Compared]:
    """Every method of one scenario in every primary measure; empty where nothing was retrained.

    part: records of one data set, model and request (`study.records.load`).
    """
    done = [name for name in dict.fromkeys(part.loc[part["status"] == "done", "method"]) if name != "retrain"]
    found = []
    for measure in measures_of(part):
        margin = MARGINS[measure.margin]
        differences, samples, broken = paired(part, measure)
        for name in done:
            values = differences[name].dropna().to_numpy() if name in differences else np.array([])
            gap = gap_of(values, margin, samples.get(name, math.nan))
            about = (name, measure.title, measure.side, margin, broken.get(name, 0))
            found.append(Compared(*about, **gap._asdict()))
    return found


def powers(found: Sequence[Compared]) -> dict[str, str]:
    """For each measure of forgetting, the placebos that it does not tell from retraining: empty where it has power.

    It tells a placebo if the gap is above the margin and differs from 0 after Holm over all these tests. Every measure
    must tell the untouched model; one of the inside must tell a masked output as well.
    """
    by_name = {(row.measure, row.method): row for row in found if row.side != "kept"}
    sides = {row.measure: row.side for row in by_name.values()}
    missed: dict[str, list[str]] = {measure: [] for measure in sides}
    tests = []
    for measure, side in sides.items():
        untouched = "do_nothing" if (measure, "do_nothing") in by_name else "original"
        for name in (untouched, "mask_logit") if side == "inside" else (untouched,):
            row = by_name.get((measure, name))
            if row is None:
                missed[measure].append(f"{name} (not run)")
            elif row.n < PAIRS_FOR_DIFFERENCE or row.broken or row.mean <= row.margin:
                missed[measure].append(name)
            else:
                tests.append((measure, name, row.p_zero))
    adjusted = holm([p for _, _, p in tests]).tolist() if tests else []
    for (measure, name, _), p in zip(tests, adjusted, strict=True):
        if p > ALPHA:
            missed[measure].append(name)
    return {measure: ", ".join(names) for measure, names in missed.items()}


def verdicts(part: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each model of one scenario but the retrained one, best first within methods, then placebos.

    Returns: index method; columns verdict (key of `STATES`), word (for people), placebo, n (the fewest pairs of a
    measure), failed, runs, bound (the largest equality bound among the measures that count, in margins: 1 is just
    equal), p_equal (after Holm over the methods), why, gaps (`Compared` by title of the measure). Odd records raise
    nothing: what is missing is said in `why`.
    """
    about_classes = bool(part["request"].astype(str).str.startswith("class").any())
    runs = part.drop_duplicates(["method", *PAIR, *(["run"] if "run" in part else [])])
    statuses = runs.groupby("method", sort=False)["status"].agg(list).to_dict()
    return judge(compared(part), statuses, about_classes)


def judge(found: Sequence[Compared], statuses: Mapping[str, Sequence[str]], about_classes: bool) -> pd.DataFrame:
    """The table of `verdicts` from the gaps alone.

    statuses: of the runs of each model, the retrained one among them. about_classes: whether a class or a person of a
    recogniser is to go, so that a measure of the inside is needed.
    """
    missed = powers(found)
    rows = []
    for name, status in statuses.items():
        mine = [row for row in found if row.method == name]
        if name != "retrain":
            rows.append(_evidence(name, mine, status, missed, about_classes))
    adjusted = _adjusted(rows)
    second = next((row.p_equal for row in rows if row.method == "second_retrain"), 0.0)
    oracle = "done" in statuses.get("retrain", [])
    judged = []
    for row in rows:
        key, why = _judged(row._replace(p_equal=adjusted[row.method]), oracle, not second > ALPHA)
        word = f"failed {row.failed} of {row.runs}" if key == "failed" else STATES[key].word
        place = (row.placebo, STATES[key].rank, math.inf if math.isnan(row.bound) else row.bound)
        gaps = {each.measure: each for each in found if each.method == row.method}
        about = (row.placebo, row.n, row.failed, row.runs, row.bound, adjusted[row.method], why, gaps)
        judged.append((place, (row.method, key, word, *about)))
    judged.sort(key=lambda each: each[0])
    columns = ["method", "verdict", "word", "placebo", "n", "failed", "runs", "bound", "p_equal", "why", "gaps"]
    return pd.DataFrame([row for _, row in judged], columns=columns).set_index("method")


class _Evidence(NamedTuple):
    """What the gaps of one method say.

    different: sides on which it differs, such as "output above". bound, p_equal: over all measures that count, which
    are `counted`. missing: why equality cannot be told at all. output_equal: in all measures of the output.
    """

    method: str
    placebo: bool
    n: int
    failed: int
    runs: int
    unsuited: int
    different: tuple[str, ...]
    counted: tuple[str, ...]
    bound: float
    p_equal: float
    missing: str
    output_equal: bool


def _evidence(
    name: str, mine: Sequence[Compared], status: Sequence[str], missed: Mapping[str, str], about_classes: bool
) -> _Evidence:
    counts = [row for row in mine if row.side == "kept" or missed.get(row.measure) == ""]
    sides = {row.side for row in counts}
    missing = ""
    if not sides - {"kept"}:
        missing = "no measure distinguishes the untouched model from the retrained one"
    elif about_classes and "inside" not in sides:
        missing = "no measure of the inside distinguishes a masked output from retraining"
    enough = [row for row in mine if row.n >= PAIRS_FOR_DIFFERENCE]
    different = [f"{row.side} above" for row in enough if row.low > row.margin]
    different += [f"{row.side} below" for row in enough if row.high < -row.margin]
    outputs = [row for row in mine if row.side == "output"]
    return _Evidence(
        method=name,
        placebo=name in (*CONTROLS, *PLACEBOS, *BASELINES),
        n=min((row.n for row in mine), default=0),
        failed=max(list(status).count("failed"), max((row.broken for row in mine), default=0)),
        runs=len(status),
        unsuited=list(status).count("not applicable"),
        different=tuple(dict.fromkeys(different)),
        counted=tuple(row.measure for row in counts),
        bound=float(np.max([row.bound / row.margin for row in counts])) if counts else math.nan,
        p_equal=float(np.max([row.p_equal for row in counts])) if counts else math.nan,
        missing=missing,
        output_equal=bool(outputs) and all(row.bound <= row.margin for row in outputs),
    )


def _adjusted(rows: Sequence[_Evidence]) -> dict[str, float]:
    """p-values of equality by method, after Holm over those of the scenario that may be called equal; reference models,
    placebos and baselines are in no family."""
    adjusted = {row.method: row.p_equal for row in rows}
    able = [row for row in rows if not row.placebo and not row.failed and row.n >= PAIRS_FOR_EQUALITY]
    tested = [row for row in able if math.isfinite(row.p_equal)]
    if tested:
        after = holm([row.p_equal for row in tested])
        adjusted |= {row.method: float(p) for row, p in zip(tested, after, strict=True)}
    return adjusted


def _judged(row: _Evidence, oracle: bool, enough: bool) -> tuple[str, str]:
    """Key of the verdict and why, from one method's evidence."""
    if row.failed:
        return "failed", "a run without a result is no run that was equal"
    if not oracle:
        return "blind", "there is no retrained model to compare with"
    if row.unsuited and row.unsuited == row.runs:
        return "unsuited", "see its record for the reason"
    state = _difference(row)
    if state:
        return state, "; ".join(row.different)
    if row.n < PAIRS_FOR_DIFFERENCE:
        return "few", f"{row.n} pairs of draw and seed show nothing"
    if row.missing:
        return "blind", row.missing
    if row.n < PAIRS_FOR_EQUALITY:
        return "few", f"{row.n} pairs can show a difference and never equality"
    if not enough:
        return "few", "not even a second retrained model is shown to be equal"
    if row.p_equal <= ALPHA:
        return "equal", "equal in " + ", ".join(row.counted)
    return "undecided", f"equal within {row.bound:.1f} times the margin only"


def _difference(row: _Evidence) -> str:
    """The state that a shown difference gives, the worst for who asked to be forgotten first; empty without one."""
    if "output above" in row.different:
        return "little"
    if "inside above" in row.different:
        return "inside" if row.output_equal and row.n >= PAIRS_FOR_EQUALITY else "little"
    if "kept below" in row.different:
        return "utility"
    if "output below" in row.different or "inside below" in row.different:
        return "much"
    return "kept_more" if "kept above" in row.different else ""


def pool_verdicts(pooled: pd.DataFrame) -> pd.DataFrame:
    """The same for a pooled study, by its primary attack: AUC minus the retrained model's on the same targets.

    pooled: of `membership.table_of`; n counts targets. One column more, told: the gap differs from 0 after Holm over
    the methods. Empty where the attack was not run.
    """
    rows = pooled[(pooled["metric"] == "auc_gap") & (pooled["attack"] == PRIMARY)]
    found, margin = [], MARGINS["auc"]
    for row in rows.itertuples():
        gap = gap_from(int(row.targets), row.value, row.error, margin)
        found.append(Compared(row.method, PRIMARY, "output", margin, 0, **gap._asdict()))
    runs = pooled[pooled["kind"].isin(["control", "method"])].drop_duplicates("method")
    statuses = {name: [status] for name, status in zip(runs["method"], runs["status"], strict=True)}
    table = judge(found, statuses if found else {}, about_classes=False)
    tested = [row for row in found if row.method in table.index and not table.loc[row.method, "placebo"]]
    p = holm([row.p_zero for row in tested]).tolist() if tested else []
    told = {row.method for row, each in zip(tested, p, strict=True) if each <= ALPHA}
    return table.assign(told=[name in told for name in table.index])


def broken_nulls(pooled: pd.DataFrame) -> tuple[int, int]:
    """How many 95 % intervals of an attack's AUC on models that never saw the forget set (retrained twice, and labels
    shuffled) leave out 0.5, and of how many. More than 1 in 20: only paired numbers can be read."""
    clean = pooled["method"].isin(["retrain", "second_retrain"]) | (pooled["kind"] == "shuffled")
    rows = pooled[clean & (pooled["metric"] == "auc") & pooled["low"].notna()]
    return int(((rows["low"] > 0.5) | (rows["high"] < 0.5)).sum()), len(rows)


def blind_to(table: pd.DataFrame) -> dict[str, list[str]]:
    """For each placebo in a table of `verdicts`, the measures of forgetting in which it looks like the retrained model
    (equality bound within the margin): these prove nothing about methods here."""
    passed = {}
    for name in table.index.intersection([*PLACEBOS, "original"]):
        gaps = [row for row in table.loc[name, "gaps"].values() if row.side != "kept"]
        passed[name] = [row.measure for row in gaps if row.bound <= row.margin]
    return {name: measures for name, measures in passed.items() if measures}


def across(keys: Collection[str]) -> str:
    """One verdict for several scenarios of a kind: the common one, or "mixed". A scenario where nothing can be told
    never counts as agreement: it is left out beside others."""
    told = {key for key in keys if key not in ("blind", "few", "unsuited")}
    if len(told) == 1:
        return next(iter(told))
    if told:
        return "mixed"
    return min(keys, key=lambda key: STATES[key].rank) if keys else "unsuited"


def state(key: str) -> State:
    """The state of a key of `verdicts` or `across`."""
    return MIXED if key == "mixed" else STATES[key]
