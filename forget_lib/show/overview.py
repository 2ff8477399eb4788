"""The answers of the study as numbers: which method does what retraining does, by kind of request, at what cost.

A verdict is a word, a sign and a colour, so that none of the three is needed alone. It follows from the records.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from forget_lib.show.findings import is_near, kept_metric, paired_gap
from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.rules import ALPHA, CONTROLS, MARGIN, STRONG, WEAK
from forget_lib.study.membership import adjusted
from forget_lib.study.records import RUN, summary
from forget_lib.unlearning import METHODS

SCENARIO = ["dataset", "model", "request"]
KINDS = {
    "class": "a whole class", "random": "random samples", "mislabelled": "wrong labels", "person": "a person",
    "official": "the published list", "family": "a family", "indices": "chosen samples",
    "recogniser": "a person in a face recogniser", "pretrained": "a person in a pre-trained recogniser",
}  # fmt: skip


class Verdict(NamedTuple):
    """sign, word, colour behind black text (contrast over 4.5), rank (0: best)."""

    sign: str
    word: str
    background: str
    rank: int


VERDICTS = {
    "good": Verdict("●", "as retrained", "#9ad1f5", 0),
    "mixed": Verdict("◐", "not in all scenarios", "#d3e8f5", 1),
    "utility": Verdict("▼", "loses utility", "#f6d78b", 2),
    "much": Verdict("◆", "forgets too much", "#f6d78b", 3),
    "little": Verdict("▲", "still knows it", "#f3b08a", 4),
    "unknown": Verdict("○", "accuracy cannot tell", "#dddddd", 5),
    "failed": Verdict("✕", "failed", "#eeaaaa", 6),
    "unsuited": Verdict("–", "does not apply", "#eeeeee", 6),
    "absent": Verdict("–", "not measured", "#eeeeee", 6),
}


def is_method(name: str) -> bool:
    """Whether a name is a method to be judged: no reference model and no control of the study."""
    return name not in CONTROLS and not (name in METHODS and METHODS[name].control)


def kind_of(part: pd.DataFrame) -> str:
    """Kind of request of one scenario, a key of `KINDS`. The classes of a face recogniser are people, and one that was
    trained here is not compared with one that has seen other people before."""
    kind = str(part["request"].iloc[0]).split("-")[0]
    if kind != "class" or not (part["attack"] == "reidentification").any():
        return kind
    return "pretrained" if str(part["model"].iloc[0]).startswith("face_embedding") else "recogniser"


def answers(table: pd.DataFrame, *, by_scenario: bool = False) -> pd.DataFrame:
    """One row a method and kind of request: method, kind, verdict (key of `VERDICTS`), gap, low, high (of forget
    accuracy, points), kept, kept_low, kept_high (points, gap of what is kept), cost, n and fewest (draws and seeds of
    the scenario that has most of them, and of the one that has least), control, scenarios, agree (in so many of them it
    does as retraining does), runs, failed (so many of the runs).

    A gap is the mean over the scenarios of a kind; its t-interval is over draws and seeds, see `_averaged`.
    by_scenario: a row a method and scenario, which stands in a column of that name as (dataset, model, request).
    """
    needed = table["metric"].isin(["", "forget_accuracy", "relative_cost", "test_accuracy", "test_accuracy_retained"])
    needed |= table["attack"] == "reidentification"
    groups: dict[tuple, list[pd.DataFrame]] = {}
    for scenario, part in table[needed].groupby(SCENARIO, sort=True):
        if {"retrain", "original"} <= set(part["method"]):
            groups.setdefault((kind_of(part), scenario if by_scenario else None), []).append(part)
    order = list(dict.fromkeys(kind for kind, _ in groups))
    rows = []
    for (kind, scenario), parts in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        about = {"scenario": scenario} if by_scenario else {}
        rows += [row | about for row in _rows(kind, parts)]
    empty = ["method", "kind", "verdict", "gap", "kept", "cost", "control", "runs", "failed"]
    return pd.DataFrame(rows, columns=None if rows else empty)


def _rows(kind: str, parts: list[pd.DataFrame]) -> list[dict[str, object]]:
    """The rows of `answers` for the scenarios of one kind."""
    blind = [is_near(part, "original")[0] for part in parts]
    rows = []
    for name in dict.fromkeys(name for part in parts for name in part["method"]):
        if name in CONTROLS and name != "original":
            continue
        gaps = [_gaps(part, name) for part in parts]
        # Being near the retrained model says nothing where the untouched original is near it too.
        saw = [not dark for pair, dark in zip(gaps, blind, strict=True) if len(pair[0])]
        row = _row([pair for pair in gaps if len(pair[0])], not any(saw))
        mine = pd.concat([part[part["method"] == name] for part in parts])
        status = mine.drop_duplicates(RUN)["status"]
        row |= {"runs": len(status), "failed": int((status == "failed").sum())}
        if row["verdict"] == "absent" and (row["failed"] or not (status == "done").any()):
            row["verdict"] = "failed" if row["failed"] else "unsuited"
        control = name == "original" or (name in METHODS and METHODS[name].control)
        cost = float(mine.loc[mine["metric"] == "relative_cost", "value"].mean())
        rows.append({"method": name, "kind": kind, "control": control, "cost": cost, **row})
    return rows


def _gaps(part: pd.DataFrame, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Gaps to the retrained model in points, one a draw and seed: forget accuracy, what is kept."""
    forget, kept = (100 * paired_gap(part, method, metric) for metric in ("forget_accuracy", kept_metric(part)))
    return forget, kept


def _row(gaps: list[tuple[np.ndarray, np.ndarray]], blind: bool) -> dict[str, object]:
    """Means and verdict over scenarios. One that is right on average alone, being too high here and too low there, is
    "mixed"."""
    forget, kept = (_averaged([pair[side] for pair in gaps]) for side in (0, 1))
    row: dict[str, object] = {"n": len(forget), "scenarios": len(gaps)}
    row["fewest"] = min((len(pair[0]) for pair in gaps), default=0)
    row |= dict(zip(("gap", "low", "high"), _ends(forget), strict=True))
    row |= dict(zip(("kept", "kept_low", "kept_high"), _ends(kept), strict=True))
    if not len(forget):
        return row | {"verdict": "absent", "agree": 0}
    agree = sum(_verdict(*pair) == "good" for pair in gaps)
    verdict = _verdict(forget, kept)
    if verdict == "good" and blind:
        verdict = "unknown"
    elif verdict == "good" and agree < len(gaps):
        verdict = "mixed"
    return row | {"verdict": verdict, "agree": agree}


def _averaged(gaps: list[np.ndarray]) -> np.ndarray:
    """One value a draw and seed: their mean is the mean of the scenarios' means, and they scatter as the scenarios'
    deviations from their own means do, averaged position by position. A scenario of a single run adds no spread."""
    if not gaps:
        return np.array([])
    wide = np.full((len(gaps), max(map(len, gaps))), np.nan)
    for row, values in zip(wide, gaps, strict=True):
        row[: len(values)] = values
    means = np.nanmean(wide, axis=1, keepdims=True)
    several = np.array([len(values) > 1 for values in gaps])
    if not several.any():
        return np.array([means.mean()])
    spread = np.nanmean((wide - means)[several], axis=0)
    return means.mean() + spread - spread.mean()


def _verdict(forget: np.ndarray, kept: np.ndarray) -> str:
    """Key of `VERDICTS` of mean gaps in points, `MARGIN` counting as none."""
    gap, margin = forget.mean(), 100 * MARGIN
    if gap > margin:
        return "little"
    if gap < -margin:
        return "much"
    return "utility" if -kept.mean() > margin else "good"


def _ends(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and ends of the 95 % t-interval of gaps in points; NaN where there are too few values."""
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    least, most = gap_range()
    mean, low, high, _ = within(t_interval(values), (100 * least, 100 * most))
    return mean, low, high


def ranked(found: pd.DataFrame) -> list[str]:
    """Methods of `answers` from best to worst by their verdicts over all kinds, what was not measured counting last.

    The original comes first and the controls after the methods.
    """
    columns = [name for name in ("kind", "scenario") if name in found]
    rank = found.assign(rank=found["verdict"].map(lambda key: VERDICTS[key].rank))
    wide = rank.pivot_table(index="method", columns=columns, values="rank").fillna(VERDICTS["absent"].rank)
    places, control = wide.mean(axis=1), found.groupby("method")["control"].first().astype(bool)
    return sorted(dict.fromkeys(found["method"]), key=lambda name: (name != "original", control[name], places[name]))


def failing(found: pd.DataFrame) -> list[str]:
    """Methods of `answers` that failed in all of their runs or in some, with how many, as text."""
    runs = found.groupby("method", sort=False)[["failed", "runs"]].sum()
    return [f"{row.Index} ({row.failed} of {row.runs} runs)" for row in runs[runs["failed"] > 0].itertuples()]


def in_points(mean: float, low: float, high: float) -> str:
    """A gap in points with its interval, where there is one."""
    ends = f" ({low:+.1f} to {high:+.1f})" if np.isfinite(low) else " (one seed)"
    return f"{mean:+.1f}{ends}"


def exposure(pooled: pd.DataFrame) -> pd.DataFrame:
    """What attackers find after each method of a pooled study, which must have power (`membership.has_power`).

    Index method; passes: the usual test finds nothing (its interval holds 0.5, and no Holm-adjusted p is under
    `ALPHA`); told: the AUC of a strong attack leaves 0.5 by both; value, low, high, attack: of the strong attack that
    lies farthest from 0.5; usual, usual_low, usual_high: of the usual test.
    """
    areas = adjusted(pooled)
    areas = areas[areas["method"].map(is_method)].assign(far=(areas["value"] - 0.5).abs())
    outside = (areas["low"] > 0.5) | (areas["high"] < 0.5)
    areas = areas.assign(told=outside & (areas["p_holm"] <= ALPHA), passes=~outside & (areas["p_holm"] > ALPHA))
    strong, usual = areas[areas["attack"].isin(STRONG)], areas[areas["attack"] == WEAK].set_index("method")
    farthest = strong.sort_values("far", ascending=False).drop_duplicates("method").set_index("method")
    table = farthest[["attack", "value", "low", "high"]].reindex(dict.fromkeys(areas["method"]))
    table["told"] = strong.groupby("method")["told"].any().reindex(table.index, fill_value=False)
    table["passes"] = usual["passes"].reindex(table.index, fill_value=False)
    return table.join(usual[["value", "low", "high"]].set_axis(["usual", "usual_low", "usual_high"], axis=1))


def relearned_sooner(table: pd.DataFrame) -> dict[str, list[set[str]]]:
    """Methods after which the forget set is relearned sooner than by a retrained model (95 % interval of AIN under 1),
    by kind of request: a set for each scenario that has the attack and more than one run."""
    ratios = table[(table["metric"] == "anamnesis_index") & (table["attack"] == "relearning")]
    sets: dict[str, list[set[str]]] = {}
    for _, part in ratios.groupby(SCENARIO, sort=True):
        means = summary(part)
        means = means[means["method"].map(is_method) & (means["n"] > 1)]
        if len(means):
            kind = str(part["request"].iloc[0]).split("-")[0]
            sets.setdefault(kind, []).append(set(means.loc[means["high"] < 1, "method"]))
    return sets
