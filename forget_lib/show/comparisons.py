"""Methods against the retrained model, with what was fixed beforehand: margins, families of tests, numbers of seeds.

Under 6 seeds there is an interval and no test. From 6 on: exact sign-flip test, Holm within a metric's family of
methods, and TOST, since "not significantly different" is not "equal".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from forget_lib.show.findings import kept_metric, paired_gap
from forget_lib.statistics import intervals
from forget_lib.statistics.intervals import SIGN_FLIP_FROM, mean_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.rules import ALPHA, CONTROLS, MARGINS


def compare(gaps: Mapping[str, np.ndarray], margin: float) -> pd.DataFrame:
    """One metric family: a row a method, from its paired gaps to the retrained model (float [n] each).

    Columns: n, mean, low, high (95 %), p, p_holm (within this family), p_equivalence, p_equivalence_holm, verdict (see
    `_verdict`), seeds (for an interval no wider than the margin on either side). Under 6 seeds p-values are NaN.
    """
    rows = {}
    for name, values in gaps.items():
        if len(values) < 2:
            continue
        interval, tested = within(mean_interval(values), gap_range()), len(values) >= SIGN_FLIP_FROM
        rows[name] = {"n": len(values), "mean": interval.value, "low": interval.low, "high": interval.high}
        rows[name]["p"] = intervals.sign_flip_test(values) if tested else np.nan
        rows[name]["p_equivalence"] = intervals.tost(values, margin).p_value if tested else np.nan
        rows[name]["seeds"] = intervals.seeds_needed(float(np.std(values, ddof=1)), margin)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame if frame.empty else _judged(frame, margin)


def _judged(frame: pd.DataFrame, margin: float) -> pd.DataFrame:
    """The same rows with p-values adjusted by Holm within the family, and a verdict."""
    for name in ("p", "p_equivalence"):
        frame[f"{name}_holm"] = np.nan
        there = frame[name].notna()
        if there.any():
            frame.loc[there, f"{name}_holm"] = intervals.holm(frame.loc[there, name])
    frame["verdict"] = [_verdict(row, margin) for row in frame.itertuples()]
    return frame


def _verdict(row, margin: float) -> str:
    """In a word, the margin being of equality. A row with an AUC is tested against 0.5, not the retrained model."""
    if np.isnan(row.p):
        return "no test; inside the margin" if -margin < row.low and row.high < margin else "no test"
    if row.p_equivalence_holm <= ALPHA:
        return "equal"
    if row.p_holm > ALPHA:
        return "undecided"
    if hasattr(row, "auc"):
        return "above 0.5" if row.auc > 0.5 else "below 0.5"
    return "above" if row.mean > 0 else "below"


def comparison_table(table: pd.DataFrame, margins: Mapping[str, float] = MARGINS) -> pd.DataFrame:
    """All methods of one scenario against the retrained model: forget accuracy, what is kept, AUC of the loss attack.

    Each metric is a family of its own for Holm. See `compare` for the columns; index (metric, method).
    """
    methods = [name for name in dict.fromkeys(table["method"]) if name not in CONTROLS]
    frames = {}
    for metric, attack in (("forget_accuracy", ""), (kept_metric(table), ""), ("auc", "loss_regression")):
        gaps = {name: paired_gap(table, name, metric, attack) for name in methods}
        frame = compare(gaps, margins["auc" if metric == "auc" else "accuracy"])
        if len(frame):
            frames[f"{metric}{' of the loss attack' if attack else ''}"] = frame
    return pd.concat(frames, names=["metric", "method"]) if frames else pd.DataFrame()


def pooled_comparison(pooled: pd.DataFrame, margins: Mapping[str, float] = MARGINS) -> pd.DataFrame:
    """The same for strong attacks, from a pooled study's table: is the AUC 0.5, is it the retrained model's?

    p: randomisation test of AUC 0.5 (see `membership.rows`). Equality with the retrained model: TOST on differences
    paired by target. Families: the methods under one attack. Index (attack, method). Needs at least 6 targets.
    """
    gaps = pooled[(pooled["metric"] == "auc_gap") & (pooled["kind"] == "method")].set_index(["attack", "method"])
    areas = pooled[(pooled["metric"] == "auc") & (pooled["kind"] == "method")].set_index(["attack", "method"])
    frames = {}
    for attack in dict.fromkeys(areas.index.get_level_values("attack")):
        if attack not in gaps.index.get_level_values("attack"):
            continue
        gap, area = gaps.loc[attack], areas.loc[attack]
        tested = gap["targets"] >= SIGN_FLIP_FROM
        frame = gap[["targets", "value", "low", "high"]].set_axis(["n", "mean", "low", "high"], axis=1)
        frame["auc"], frame["p"] = area["value"], area["p_value"].where(tested)
        distance = (margins["auc"] - frame["mean"].abs()) / gap["error"].clip(lower=1e-12)
        frame["p_equivalence"] = pd.Series(stats.t.sf(distance, frame["n"] - 1), frame.index).where(tested)
        deviation = gap["error"] * np.sqrt(frame["n"])
        frame["seeds"] = [intervals.seeds_needed(float(value), margins["auc"]) for value in deviation]
        frames[attack] = _judged(frame, margins["auc"])
    return pd.concat(frames, names=["attack", "method"]) if frames else pd.DataFrame()


def for_people(frame: pd.DataFrame) -> pd.DataFrame:
    """A comparison of few columns: the gap with its interval, both p-values after Holm, the verdict, and how many seeds
    or targets an interval as narrow as the margin would take."""
    columns = {"p_holm": "p (difference)", "p_equivalence_holm": "p (equality)", "seeds": "n for the margin"}
    shown = frame[["n", *columns, "verdict"]].rename(columns=columns).round(3)
    gaps = [f"{row.mean:+.3f} ({row.low:+.3f} to {row.high:+.3f})" for row in frame.itertuples()]
    shown.insert(0, "against retrained", gaps)
    return shown


def sentences(frame: pd.DataFrame) -> list[str]:
    """The methods of each family by verdict."""
    lines = []
    for family, part in frame.groupby(level=0, sort=False):
        names = pd.Series(part.index.get_level_values(1), part["verdict"])
        text = "; ".join(f"{verdict}: {', '.join(same)}" for verdict, same in names.groupby(level=0, sort=False))
        lines.append(f"**{family}**: {text} (Holm within this family).")
    return lines
