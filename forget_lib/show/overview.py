"""The answer on one screen: which method does what retraining does, by kind of request, and which one to use.

A verdict is a word, a sign and a colour, so that none of the three is needed alone. It follows from the records.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from forget_lib.show.findings import has_power, is_near, kept_metric, paired_gap
from forget_lib.show.membership_views import adjusted
from forget_lib.show.membership_views import has_power as attack_has_power
from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.rules import ALPHA, CONTROLS, MARGIN, STRONG
from forget_lib.study.records import RUN, summary
from forget_lib.unlearning import METHODS

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


def kind_of(part: pd.DataFrame) -> str:
    """Kind of request of one scenario: a key of `KINDS`; the classes of a face recogniser are people, and one that was
    trained here never stands beside one that has seen other people before."""
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
    kept = table["metric"].isin(["", "forget_accuracy", "relative_cost", "test_accuracy", "test_accuracy_retained"])
    kept |= table["attack"] == "reidentification"
    parts = iter(table[kept].groupby(["dataset", "model", "request"], sort=True))
    parts = {names: part for names, part in parts if {"retrain", "original"} <= set(part["method"])}
    groups: dict[tuple, list[pd.DataFrame]] = {}
    for names, part in parts.items():
        groups.setdefault((kind_of(part), names if by_scenario else None), []).append(part)
    order = list(dict.fromkeys(kind for kind, _ in groups))
    rows = []
    for (kind, names), chosen in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        rows += [row | ({"scenario": names} if by_scenario else {}) for row in _rows(kind, chosen)]
    return pd.DataFrame(rows, columns=None if rows else ["method", "kind", "verdict", "gap", "cost", "control"])


def _rows(kind: str, chosen: list[pd.DataFrame]) -> list[dict[str, object]]:
    """The rows of `answers` for the scenarios of one kind."""
    blind = [is_near(part, "original")[0] for part in chosen]
    rows = []
    for name in dict.fromkeys(name for part in chosen for name in part["method"]):
        if name not in CONTROLS or name == "original":
            gaps = [_gaps(part, name) for part in chosen]
            # Being near the retrained model says nothing where the untouched original is near it too.
            saw = [not dark for pair, dark in zip(gaps, blind, strict=True) if len(pair[0])]
            row = _row([pair for pair in gaps if len(pair[0])], not any(saw))
            status = pd.concat([part[part["method"] == name].drop_duplicates(RUN)["status"] for part in chosen])
            row |= {"runs": len(status), "failed": int((status == "failed").sum())}
            if row["verdict"] == "absent":
                row["verdict"] = "failed" if row["failed"] else "absent" if (status == "done").any() else "unsuited"
            control = name == "original" or (name in METHODS and METHODS[name].control)
            rows.append({"method": name, "kind": kind, "control": control, "cost": _cost(chosen, name), **row})
    return rows


def _gaps(part: pd.DataFrame, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Gaps to the retrained model in points, one a draw and seed: forget accuracy, what is kept."""
    forget, kept = (100 * paired_gap(part, method, metric) for metric in ("forget_accuracy", kept_metric(part)))
    return forget, kept


def _row(gaps: list[tuple[np.ndarray, np.ndarray]], blind: bool) -> dict[str, object]:
    """Means and verdict over scenarios. One that is right on average alone, being too high here and too low there, is
    called so."""
    forget, kept = (_averaged([pair[side] for pair in gaps]) for side in (0, 1))
    found: dict[str, object] = {"n": len(forget), "scenarios": len(gaps)}
    found["fewest"] = min((len(pair[0]) for pair in gaps), default=0)
    found |= dict(zip(("gap", "low", "high"), _ends(forget), strict=True))
    found |= dict(zip(("kept", "kept_low", "kept_high"), _ends(kept), strict=True))
    if not len(forget):
        return found | {"verdict": "absent", "agree": 0}
    agree = sum(_verdict(*pair) == "good" for pair in gaps)
    verdict = _verdict(forget, kept)
    if verdict == "good":
        verdict = "unknown" if blind else "good" if agree == len(gaps) else "mixed"
    return found | {"verdict": verdict, "agree": agree}


def _averaged(gaps: list[np.ndarray]) -> np.ndarray:
    """One value a draw and seed: their mean is the mean of the scenarios' means, and they scatter as the scenarios'
    deviations from their own means do, averaged position by position. A scenario of a single run adds no spread."""
    if not gaps:
        return np.array([])
    wide = np.full((len(gaps), max(map(len, gaps))), np.nan)
    for row, values in zip(wide, gaps, strict=True):
        row[: len(values)] = values
    means, several = np.nanmean(wide, axis=1, keepdims=True), np.array([len(values) > 1 for values in gaps])
    if not several.any():
        return np.array([means.mean()])
    spread = np.nanmean((wide - means)[several], axis=0)
    return means.mean() + spread - spread.mean()


def _verdict(forget: np.ndarray, kept: np.ndarray) -> str:
    """Key of `VERDICTS` of mean gaps in points, `MARGIN` counting as none."""
    gap, lost, margin = forget.mean(), -kept.mean(), 100 * MARGIN
    return "little" if gap > margin else "much" if gap < -margin else "utility" if lost > margin else "good"


def _ends(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and ends of the 95 % t-interval of gaps in points; NaN where there are too few values."""
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    least, most = gap_range()
    return tuple(within(t_interval(values), (100 * least, 100 * most))[:3])


def _cost(parts: list[pd.DataFrame], name: str) -> float:
    values = [part.loc[(part["method"] == name) & (part["metric"] == "relative_cost"), "value"] for part in parts]
    return float(pd.concat(values).mean()) if values and len(pd.concat(values)) else np.nan


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


def right(part: pd.DataFrame) -> pd.DataFrame:
    """The rows of `answers` that do as retraining does, those measured in most scenarios first, then the cheapest."""
    return part[part["verdict"] == "good"].sort_values(["scenarios", "cost"], ascending=[False, True])


def advice(found: pd.DataFrame, pooled: pd.DataFrame | None = None) -> list[str]:
    """Which method to use for each kind of request: the first of `right`, or that none does as retraining does.

    found: of `answers`. pooled: rows of strong attacks (`pooled.table_of`), where there are any with power: methods
    that they find are named, since accuracy does not show it. Controls are never advised.
    """
    lines = []
    for kind, part in found[~found["control"].astype(bool)].groupby("kind", sort=False):
        most, title = int(part["scenarios"].max()), KINDS.get(kind, kind)
        good = right(part)
        if len(good):
            best = good.iloc[0]
            rest = ", ".join(
                f"{row.method}{f' ({row.scenarios} of {most} scenarios)' if row.scenarios < most else ''}"
                for row in good.iloc[1:4].itertuples()
            )
            text = f"**{title}**: {best['method']}, at {best['cost']:.2f} retrainings, does as retraining does "
            text += f"(points: forget {in_points(best['gap'], best['low'], best['high'])}, "
            text += f"kept {in_points(best['kept'], best['kept_low'], best['kept_high'])}"
            text += f"; in {best['scenarios']} of {most} scenarios)" if best["scenarios"] < most else ")"
            lines.append(f"{text}{f'; also {rest}' if rest else ''}.")
        elif (part["verdict"] == "unknown").any():
            lines.append(
                f"**{title}**: accuracy cannot tell, since the untouched original is near the retrained model too."
            )
        else:
            part = part[part["gap"].notna()]
            near = part.loc[(part["gap"].abs() + (-part["kept"]).clip(lower=0)).nsmallest(1).index]
            text = f"**{title}**: no method here does as retraining does"
            for row in near.itertuples():
                text += f" (nearest: {row.method}, points: forget {in_points(row.gap, row.low, row.high)}, "
                text += f"kept {in_points(row.kept, row.kept_low, row.kept_high)})"
            lines.append(f"{text}; retrain.")
    told = told_by_strong(pooled) if pooled is not None and len(pooled) else None
    if told is not None:
        names, clean = told
        text = "**Where an attacker with reference models is feared** (single samples, a net that memorises): "
        text += f"the AUC of a strong attack leaves 0.5 after {', '.join(names) or 'no method'}; "
        lines.append(f"{text}it does not after {', '.join(clean) or 'any method'}.")
    return lines


def told_by_strong(pooled: pd.DataFrame) -> tuple[list[str], list[str]] | None:
    """Methods after which the AUC of a strong attack leaves 0.5 (its interval, and Holm over methods and attacks), and
    the others; None: no power."""
    if not attack_has_power(pooled):
        return None
    areas = adjusted(pooled)
    strong = areas[areas["attack"].isin(STRONG)]
    strong = strong[[name in METHODS and not METHODS[name].control for name in strong["method"]]]
    outside = ((strong["low"] > 0.5) | (strong["high"] < 0.5)) & (strong["p_holm"] <= ALPHA)
    names = list(dict.fromkeys(strong.loc[outside, "method"]))
    return names, [name for name in dict.fromkeys(strong["method"]) if name not in names]


def power_notes(table: pd.DataFrame) -> list[str]:
    """Scenarios in which the attack cannot find even the original, so that no ranking by it can be read."""
    found = []
    for names, part in table.groupby(["dataset", "model", "request"], sort=True):
        if has_power(part) is False:
            means = summary(part[(part["attack"] == "loss_regression") & (part["metric"] == "auc")])
            value = means.set_index("method")["mean"]["original"]
            found.append(
                f"**{', '.join(names)}**: the original's AUC is {value:.3f}: **no ranking can be read** there."
            )
    return found
