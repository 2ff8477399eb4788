"""Numbers that several pages share: gaps to the retrained model, what the controls show, and an interval as text."""

import numpy as np
import pandas as pd

from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.rules import CONTROLS, MARGIN, POWER
from forget_lib.study.membership import detection_limits, passes_weak_fails_strong
from forget_lib.study.membership import has_power as attack_has_power
from forget_lib.study.records import RUN, summary

ENDS = ["mean", "low", "high"]


def paired_gap(
    table: pd.DataFrame, method: str, metric: str, attack: str = "", reference: str = "retrain"
) -> np.ndarray:
    """Differences method minus reference by draw and seed, float [n]; the reference's first run is taken."""
    asked = (table["metric"] == metric) & (table["attack"] == attack) & (table["run"] == 0)
    rows = table.loc[asked & table["method"].isin((method, reference)), [*RUN, "method", "value"]]
    # A pivot table does the same in three times the time, and a page asks for a thousand gaps.
    values: dict[str, dict[tuple, list[float]]] = {method: {}, reference: {}}
    for *run, name, value in rows.itertuples(index=False, name=None):
        if not np.isnan(value):
            values[name].setdefault(tuple(run), []).append(value)
    both = sorted(values[method].keys() & values[reference].keys())
    return np.array([np.mean(values[method][run]) - np.mean(values[reference][run]) for run in both])


def interval_text(mean: float, low: float, high: float, form: str = ".3f") -> str:
    """`x (low to high)`; the value alone where there is no interval."""
    return f"{mean:{form}} ({low:{form}} to {high:{form}})" if np.isfinite([low, high]).all() else f"{mean:{form}}"


def gap_interval(values: np.ndarray, metric: str = "") -> tuple[float, float, float]:
    """Mean of gaps of a metric (by default a share), and its 95 % t-interval over runs; no ends for one run."""
    if len(values) < 2:
        return (float(values[0]) if len(values) else np.nan), np.nan, np.nan
    return within(t_interval(values), gap_range(metric))[:3]


def with_interval(values: np.ndarray, metric: str = "", *, points: bool = True) -> str:
    """Gaps as text: mean and 95 % interval over runs, in points of a per cent or as they are."""
    if len(values) == 0:
        return "not measured"
    mean, low, high = gap_interval(values, metric)
    text = (
        interval_text(100 * mean, 100 * low, 100 * high, "+.1f") if points else interval_text(mean, low, high, "+.3f")
    )
    return f"{text}{' points' if points else ''}{', one run' if len(values) == 1 else ''}"


def kept_metric(table: pd.DataFrame) -> str:
    """The accuracy that unlearning must keep: on the classes that stay where some go, else on the whole test set."""
    return "test_accuracy_retained" if "test_accuracy_retained" in set(table["metric"]) else "test_accuracy"


def has_oracle(table: pd.DataFrame) -> bool:
    """Whether there is a retrained model to compare with; without the original's recipe there is none."""
    return bool(((table["method"] == "retrain") & (table["status"] == "done")).any())


def is_near(table: pd.DataFrame, method: str) -> tuple[bool, bool]:
    """Whether the mean gaps to the retrained model lie within `MARGIN`: on the forget set (both sides), on what is
    kept."""
    forget, kept = (paired_gap(table, method, metric) for metric in ("forget_accuracy", kept_metric(table)))
    if len(forget) == 0:
        return False, False
    return bool(abs(forget.mean()) <= MARGIN), bool(kept.mean() >= -MARGIN)


def failures(table: pd.DataFrame, status: str = "failed") -> dict[str, str]:
    """Methods with that status, with in how many of their runs and the first reason, as text."""
    runs = table.drop_duplicates([*RUN, "method", "run"])
    texts = {}
    for method, rows in runs[runs["status"] == status].groupby("method", sort=False):
        number = int((runs["method"] == method).sum())
        often = f"{status} in {len(rows)} of {number} runs" if len(rows) < number else status
        texts[method] = f"{often} ({str(rows['reason'].iloc[0]).rstrip('.')})"
    return texts


def gap_table(table: pd.DataFrame, metrics: tuple[tuple[str, str], ...] = ()) -> pd.DataFrame:
    """Each model minus the retrained one, or the original where nothing could be retrained: n, gap, low and high (95 %
    over runs, paired; NaN for one) by metric and method. Args: metrics: pairs of metric and attack."""
    reference = "retrain" if has_oracle(table) else "original"
    usual = (("forget_accuracy", ""), (kept_metric(table), ""), ("auc", "loss_regression"))
    rows = []
    for metric, attack in metrics or usual:
        for method in dict.fromkeys(table["method"]):
            values = paired_gap(table, method, metric, attack, reference)
            if len(values) and method != reference:
                rows.append((metric, method, len(values), *gap_interval(values, metric)))
    return pd.DataFrame(rows, columns=["metric", "method", "n", "gap", "low", "high"]).set_index(["metric", "method"])


def gaps_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`gap_table` as text, a row a method, the nearest on the forget set first; methods without a model say why."""
    gaps = gap_table(table)
    shown: dict[str, dict[str, str]] = {}
    for (metric, method), row in gaps.iterrows():
        scale, form = (1, "+.3f") if metric == "auc" else (100, "+.1f")
        title = "loss attack's AUC" if metric == "auc" else f"{metric.replace('_', ' ')} (points)"
        shown.setdefault(method, {"n": f"{row.n:.0f}"})[title] = interval_text(
            scale * row.gap, scale * row.low, scale * row.high, form
        )
    order = gaps.loc["forget_accuracy", "gap"].abs().sort_values(kind="stable").index
    frame = pd.DataFrame.from_dict(shown, orient="index").reindex(order)
    for method, why in (failures(table) | failures(table, "not applicable")).items():
        frame.loc[method, "note"] = why
    return frame.fillna("–").rename_axis("minus retrained" if has_oracle(table) else "minus original")


def has_power(table: pd.DataFrame, attack: str = "loss_regression", power: float = 0.05) -> bool | None:
    """Whether an attack finds the original's members: its AUC over seeds has its low end over 0.5 + power, or the AUC
    of the only seed lies there, its interval not on 0.5. None where it gave no result."""
    part = summary(table[(table["attack"] == attack) & (table["metric"] == "auc") & (table["method"] == "original")])
    if part.empty:
        return None
    original = part.iloc[0]
    if original["n"] > 1:
        return bool(original["low"] >= 0.5 + power)
    return bool(original["mean"] >= 0.5 + power and not original["low"] <= 0.5)


def control_sentences(table: pd.DataFrame) -> list[str]:
    """What the retrained models and the original show, and so what the gaps of methods can be read for."""
    if not has_oracle(table):
        reasons = "; ".join(table.loc[table["method"] == "retrain", "reason"].dropna().unique()) or "none was made"
        lost = "Gaps are to the original: they say how far a method moved it, not whether it forgot."
        return [f"**There is no retrained model** ({reasons}). {lost}"]
    gaps, lines = gap_table(table), []
    for metric in ("forget_accuracy", kept_metric(table)):
        original, floor = (with_interval(paired_gap(table, name, metric)) for name in ("original", "second_retrain"))
        title = metric.replace("_", " ").capitalize()
        lines.append(f"{title}: original minus retrained {original}; second retrained minus first, the floor, {floor}.")
    runs, gap, low, high = gaps.loc["forget_accuracy", "original"]
    floor = gaps["gap"].get(("forget_accuracy", "second_retrain"), 0.0)
    if abs(gap) <= max(MARGIN, abs(floor)) or low <= 0 <= high:
        lines.append(
            f"**Accuracy cannot tell here** what was forgotten: {100 * MARGIN:.0f} points or the floor reach so far."
        )
    lines.append(attack_sentence(table))
    if ("forget_accuracy", "mask_logit") in gaps.index and all(is_near(table, "mask_logit")):
        lines.append("mask_logit hides the output and forgets nothing, and is as near: **accuracy is no proof** here.")
    return [*lines, "One run is no verdict on a method: the gaps have no interval."] if runs == 1 else lines


def attack_sentence(table: pd.DataFrame, attack: str = "loss_regression") -> str:
    """The AUC of an attack on original and retrained models, and whether the gaps of methods can be read."""
    areas = summary(table[(table["attack"] == attack) & (table["metric"] == "auc")]).set_index("method")
    if "original" not in areas.index:
        return f"The attack {attack} gave no result here: too few unseen samples like those to forget."
    texts = [f"{name} {interval_text(*areas.loc[name, ENDS])}" for name in CONTROLS if name in areas.index]
    reading = "The retrained model is not at 0.5: only differences from it can be read."
    if not has_power(table, attack):
        reading = "It does not find what the original learned: **no ranking can be read**."
    elif "retrain" in areas.index and not (areas.loc["retrain", "low"] > 0.5 or areas.loc["retrain", "high"] < 0.5):
        reading = "It finds the original and not the retrained model, so it can be read."
    return f"AUC of {attack}, 0.5 is guessing: {', '.join(texts)}. {reading}"


def class_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Points of test accuracy that each model loses against the retrained one, over draws and seeds: its worst class,
    the loss there, the mean over classes, and the classes emptied (1 % or less in some run, where the retrained model
    has 10 % or more). Classes that the retrained model does not know are left out; the worst model comes first."""
    part = table[(table["metric"] == "class_accuracy") & (table["run"] == 0)]
    wide = part.pivot_table("value", [*RUN, "item"], "method")
    columns = ["worst class", "worst", "mean", "emptied"]
    if "retrain" not in wide:
        return pd.DataFrame(columns=columns)
    known = wide[wide["retrain"] > 0]
    lost = 100 * known.rsub(known["retrain"], axis=0).groupby("item").mean().drop(columns="retrain")
    gone = (known[known["retrain"] >= 0.1] <= 0.01).groupby("item").any()
    emptied = [", ".join(gone.index[gone[name]]) for name in lost]
    frame = pd.DataFrame({"worst class": lost.idxmax(), "worst": lost.max(), "mean": lost.mean(), "emptied": emptied})
    return frame.sort_values("worst", ascending=False)


def power_sentence(strong: pd.DataFrame) -> str:
    """How far the positive control stands out in a pooled study, and what may be read if it does not."""
    areas = strong[(strong["method"] == "original") & (strong["kind"] == "control") & (strong["metric"] == "auc")]
    if areas.empty:
        return "The positive control is missing: **no ranking can be read** here."
    best = areas.loc[areas["value"].idxmax()]
    errors = (best["value"] - 0.5) / np.nanmax([best["error"], best["null_error"]])
    text = f"Positive control: {best['attack']} finds the original's samples with AUC {best['value']:.3f} "
    text += (
        f"({best['low']:.3f} to {best['high']:.3f}), {errors:.0f} standard errors above 0.5 ({POWER} are asked for)."
    )
    return text if attack_has_power(strong) else f"{text} That is too little: **no ranking can be read** here."


def shuffled_sentence(strong: pd.DataFrame) -> str:
    """Whether the attacks give 0.5 where the labels of members are shuffled, by their intervals; empty without them."""
    rows = strong[(strong["kind"] == "shuffled") & (strong["metric"] == "auc")]
    if rows.empty:
        return ""
    off = rows[(rows["low"] > 0.5) | (rows["high"] < 0.5)]
    text = f"Labels shuffled: {len(rows) - len(off)} of {len(rows)} intervals hold 0.5"
    if off.empty:
        return f"{text}."
    names = ", ".join(f"{row.attack} {row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in off.itertuples())
    return (
        f"{text}. Off it: {names}. All targets share their coins: read these attacks against the retrained model alone."
    )


def strong_attack_sentences(strong: pd.DataFrame) -> list[str]:
    """What the strong attacks say, from the table of `membership.run_scenario`; nothing where they have no power."""
    share = strong["forgotten"].iloc[0]
    found = [f"Each target forgets {share:.1%} of its training set; {int(strong['targets'].max())} targets are pooled."]
    found.append(power_sentence(strong))
    if not attack_has_power(strong):
        return found
    areas = strong[(strong["metric"] == "auc") & strong["kind"].isin(["control", "method"])]
    for name, part in areas.groupby("method", sort=False):
        each = part.set_index("attack")
        best = each.loc[(each["value"] - 0.5).abs().idxmax()]
        interval = f"{best['value']:.3f} ({best['low']:.3f} to {best['high']:.3f})"
        found.append(f"**{name}**: strongest sign {interval}, by {best.name}.")
    broken = strong[strong["status"] == "failed"].drop_duplicates("method")
    found += [f"**{row.method}** failed ({row.reason.rstrip('.')})." for row in broken.itertuples()]
    passing = passes_weak_fails_strong(strong)
    note = "95 % intervals, and Holm's adjustment over methods and strong attacks"
    found.append(f"Pass the weak attack and fail a strong one ({note}): {', '.join(passing) or 'no method here'}.")
    limits = detection_limits(strong).dropna()
    if len(limits):
        first = limits.idxmin()
        found.append(
            f"{first} tells a clean retrained model from one that kept {limits[first]:.0%} of the forget set or more; "
            f"no attack here sees less."
        )
    return found


def as_list(sentences: list[str]) -> str:
    """Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
