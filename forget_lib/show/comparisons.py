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


def margin_of(metric: str, margins: Mapping[str, float]) -> float:
    """The margin that was fixed for a metric."""
    return margins["auc"] if metric.startswith("auc") else margins["accuracy"]


def compare(gaps: Mapping[str, np.ndarray], margin: float) -> pd.DataFrame:
    """One metric family: a row a method, from its paired gaps to the retrained model (float [n] each).

    Columns: n, mean, low, high (95 %), p, p_holm (within this family), p_equivalence, p_equivalence_holm, verdict, and
    seeds (needed for an interval no wider than the margin on either side). p-values are NaN under 6 seeds.
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
    if frame.empty:
        return frame
    return judged(frame, margin)


def judged(frame: pd.DataFrame, margin: float) -> pd.DataFrame:
    """The same rows with p-values adjusted by Holm within the family, and a verdict in words."""
    for name in ("p", "p_equivalence"):
        frame[f"{name}_holm"] = np.nan
        there = frame[name].notna()
        if there.any():
            frame.loc[there, f"{name}_holm"] = intervals.holm(frame.loc[there, name])
    frame["verdict"] = [_verdict(row, margin) for row in frame.itertuples()]
    return frame


def _verdict(row, margin: float) -> str:
    if np.isnan(row.p):
        side = "interval inside the margin" if -margin < row.low and row.high < margin else "interval leaves the margin"
        return f"no test under {SIGN_FLIP_FROM} seeds; {side}"
    if row.p_equivalence_holm <= ALPHA:
        return "equal to retraining, within the margin"
    if row.p_holm <= ALPHA and hasattr(row, "auc"):  # tested against 0.5, not against the retrained model
        return f"differs from 0.5 ({'above' if row.auc > 0.5 else 'below'})"
    if row.p_holm <= ALPHA:
        return f"differs from retraining ({'above' if row.mean > 0 else 'below'})"
    return "undecided: neither is shown"


def comparison_table(table: pd.DataFrame, margins: Mapping[str, float] = MARGINS) -> pd.DataFrame:
    """All methods of one scenario against the retrained model: forget accuracy, what is kept, AUC of the loss attack.

    Each metric is a family of its own for Holm. See `compare` for the columns; index (metric, method).
    """
    methods = [name for name in dict.fromkeys(table["method"]) if name not in CONTROLS]
    frames = {}
    for metric, attack in (("forget_accuracy", ""), (kept_metric(table), ""), ("auc", "loss_regression")):
        gaps = {name: paired_gap(table, name, metric, attack) for name in methods}
        frame = compare(gaps, margin_of(metric, margins))
        if len(frame):
            frames[f"{metric}{' of the loss attack' if attack else ''}"] = frame
    return pd.concat(frames, names=["metric", "method"]) if frames else pd.DataFrame()


def pooled_comparison(pooled: pd.DataFrame, margins: Mapping[str, float] = MARGINS) -> pd.DataFrame:
    """The same for strong attacks, from `membership.run_scenario`: is the AUC 0.5, is it the retrained model's?

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
        frames[attack] = judged(frame, margins["auc"])
    return pd.concat(frames, names=["attack", "method"]) if frames else pd.DataFrame()


def for_people(frame: pd.DataFrame) -> pd.DataFrame:
    """A comparison as text: differences in points for accuracies, as they are for AUCs; p-values adjusted by Holm."""

    def one(row) -> dict[str, str]:
        scale, digits = (1, 3) if str(row.Index[0]).split("_")[0] not in ("forget", "test") else (100, 1)
        ends = [f"{scale * value:+.{digits}f}" for value in (row.mean, row.low, row.high)]
        tests = {"p (difference)": row.p_holm, "p (equality)": row.p_equivalence_holm}
        shown = {"against retrained": f"{ends[0]} ({ends[1]} to {ends[2]})", "n": f"{row.n:.0f}"}
        shown |= {name: "–" if np.isnan(value) else _p_value(value) for name, value in tests.items()}
        return shown | {"verdict": row.verdict, "n for the margin": str(row.seeds)}

    return pd.DataFrame([one(row) for row in frame.itertuples()], index=frame.index)


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """A comparison with one row a method and one column a metric, as text: gap, interval, and a sign for the verdict:
    "=" equal within the margin, "≠" different, "?" undecided, none under 6 seeds; then the seeds the margin needs."""
    shown = for_people(frame)
    signs = {"equal": " =", "differs": " ≠", "undecided": " ?"}
    marks = [signs.get(verdict.split()[0].rstrip(":"), "") for verdict in shown["verdict"]]
    text = shown["against retrained"] + marks + "; n ≥ " + shown["n for the margin"]
    families, names = (frame.index.get_level_values(level).unique() for level in (0, 1))
    return text.unstack(level=0).reindex(index=names, columns=families)


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def sentences(frame: pd.DataFrame) -> list[str]:
    """How many methods differ, are equal, or neither; by family, computed."""
    found = []
    for family, part in frame.groupby(level=0, sort=False):
        if part["p"].isna().all():
            most = int(part["seeds"].max())
            few = f"**{family}**: {int(part['n'].max())} seeds, so no test; "
            found.append(few + f"intervals as narrow as the margin would need up to {most}.")
            continue
        names = part.index.get_level_values(1)
        equal = [name for name, verdict in zip(names, part["verdict"], strict=True) if verdict.startswith("equal")]
        apart = [name for name, verdict in zip(names, part["verdict"], strict=True) if verdict.startswith("differs")]
        other = "AUC off 0.5" if "auc" in part else "different"
        text = f"**{family}**: equal to retraining: {', '.join(equal) or 'none'}; {other}: {', '.join(apart) or 'none'}"
        found.append(f"{text}; of {len(part)} (Holm within this family).")
    return found
