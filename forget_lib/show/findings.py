"""Sentences computed from the tables: if the numbers change, so do the sentences."""

import numpy as np
import pandas as pd

from forget_lib.show.membership_views import POWER, detection_limits, passes_weak_fails_strong
from forget_lib.show.membership_views import has_power as attack_has_power
from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.study.records import RUN, summary

CONTROLS = ("original", "retrain", "second_retrain")
SETS_TRAINED = ("forget", "retain")
OF_CLASS = "test_accuracy_of_"
LARGE_SHARE = 0.25
MARGIN = 0.05
"""Forget accuracy this close to the retrained model's counts as near it, and so does a loss of utility."""


def paired_gap(
    table: pd.DataFrame, method: str, metric: str, attack: str = "", reference: str = "retrain"
) -> np.ndarray:
    """Differences method minus reference by draw and seed, float [n]; the reference's first run is taken."""
    asked = (table["metric"] == metric) & (table["attack"] == attack) & (table["run"] == 0)
    rows = table.loc[asked & table["method"].isin((method, reference)), [*RUN, "method", "value"]]
    # A pivot table does the same in three times the time, and a page asks for a thousand gaps.
    found: dict[str, dict[tuple, list[float]]] = {method: {}, reference: {}}
    for *run, name, value in rows.itertuples(index=False, name=None):
        if not np.isnan(value):
            found[name].setdefault(tuple(run), []).append(value)
    both = sorted(found[method].keys() & found[reference].keys())
    return np.array([np.mean(found[method][run]) - np.mean(found[reference][run]) for run in both])


def with_interval(values: np.ndarray, metric: str = "", *, points: bool = True) -> str:
    """Mean of gaps of a metric (by default a share) with a 95 % t-interval over seeds, in points of a per cent or as it
    is."""
    scale, digits, unit = (100, 1, " points") if points else (1, 3, "")
    if len(values) == 0:
        return "not measured"
    if len(values) == 1:
        return f"{values[0] * scale:+.{digits}f}{unit} (one seed)"
    interval = within(t_interval(values), gap_range(metric))
    mean, low, high = (f"{value * scale:+.{digits}f}" for value in interval[:3])
    return f"{mean}{unit} (95 % interval {low} to {high})"


def kept_metric(table: pd.DataFrame) -> str:
    """The accuracy that unlearning must keep: on the other classes where classes are forgotten, else on the test
    set."""
    retained = "test_accuracy_retained"
    return retained if retained in set(table["metric"]) else "test_accuracy"


def is_near(table: pd.DataFrame, method: str) -> tuple[bool, bool]:
    """Whether the mean gaps to the retrained model lie within `MARGIN`: on the forget set (both sides), on what is
    kept."""
    forget, kept = (paired_gap(table, method, metric) for metric in ("forget_accuracy", kept_metric(table)))
    if len(forget) == 0:
        return False, False
    return bool(abs(forget.mean()) <= MARGIN), bool(kept.mean() >= -MARGIN)


def has_oracle(table: pd.DataFrame) -> bool:
    """Whether there is a retrained model to compare with; without the original's recipe there is none."""
    return bool(((table["method"] == "retrain") & (table["status"] == "done")).any())


def _without_oracle(table: pd.DataFrame, method: str) -> str:
    """What a method did to the original, which is all that can be said where nothing was retrained."""
    kept = kept_metric(table)
    gaps = (with_interval(paired_gap(table, method, m, reference="original")) for m in ("forget_accuracy", kept))
    forget, utility = gaps
    moved = f"**{method}**: forget accuracy {forget}, {kept} {utility} against the original"
    return f"{moved}; whether it forgot is not known."


def oracle_sentences(table: pd.DataFrame) -> list[str]:
    """What the retrained model shows about this request, or why there is none and what that costs."""
    if not has_oracle(table):
        reasons = table[table["method"] == "retrain"]["reason"].dropna().unique()
        text = (
            f"**There is no retrained model** ({'; '.join(reasons) or 'none was made'}). What can be said is how far "
        )
        return [text + "each method moved the original; that it forgot, or forgot too much, cannot."]
    means = summary(table).set_index(["method", "attack", "metric"])["mean"]
    kept = kept_metric(table)
    forget, original = (f"{100 * means[name, '', 'forget_accuracy']:.1f} %" for name in ("retrain", "original"))
    gap = with_interval(paired_gap(table, "retrain", kept, reference="original"))
    found = [
        f"The retrained model answers {forget} of the forget set correctly, the original {original}.",
        f"On what is kept ({kept}) the retrained model differs from the original by {gap}.",
    ]
    floor = paired_gap(table, "second_retrain", kept)
    if len(floor):
        found.append(f"The floor: a second retrained model differs from the first on {kept} by {with_interval(floor)}.")
    return found


def failures(table: pd.DataFrame) -> dict[str, str]:
    """Methods that failed, with in how many of their runs and the first reason, as text."""
    runs = table.drop_duplicates([*RUN, "method", "run"])
    found = {}
    for method, part in runs[runs["status"] == "failed"].groupby("method", sort=False):
        of = int((runs["method"] == method).sum())
        often = f"failed in {len(part)} of {of} runs" if len(part) < of else "failed"
        found[method] = f"{often} ({str(part['reason'].iloc[0]).rstrip('.')})"
    return found


VERDICTS = {
    (True, True): f"near the retrained model on both (within {100 * MARGIN:.0f} points)",
    (True, False): "forgets as the retrained model does, but loses utility",
    (False, True): "keeps utility, but its forget accuracy is not the retrained model's",
    (False, False): "far from the retrained model on both",
}


def failure(rows: pd.DataFrame) -> str:
    """That a method failed or does not apply in every run of these rows, and why; empty where it gave a model."""
    broken = rows[rows["status"] != "done"]
    if len(broken) < len(rows):
        return ""
    return f"**{broken.iloc[0]['method']}**: {broken.iloc[0]['status']} ({broken.iloc[0]['reason']})."


def method_sentences(table: pd.DataFrame) -> list[str]:
    """For each method: is its forgetting near the retrained model's, and what did it cost in utility?"""
    kept, failed = kept_metric(table), failures(table)
    found = []
    for method in dict.fromkeys(table["method"]):
        if method in CONTROLS:
            continue
        if told := failure(table[table["method"] == method]):
            found.append(told)
            continue
        note = f" It {failed[method]}." if method in failed else ""
        if not has_oracle(table):
            found.append(_without_oracle(table, method) + note)
            continue
        forget, utility = (with_interval(paired_gap(table, method, metric)) for metric in ("forget_accuracy", kept))
        verdict = VERDICTS[is_near(table, method)]
        found.append(f"**{method}**: {verdict}; forget accuracy {forget}, {kept} {utility} against it.{note}")
    return found


def class_sentences(table: pd.DataFrame) -> list[str]:
    """What a mean over classes hides: each method's worst class beside its mean loss, and the classes that it emptied.

    Losses of test accuracy are against the retrained model, over draws and seeds; a class that this one does not know
    cannot be lost. Emptied: 1 % or less in some run, where the retrained model has 10 % or more. The worst of many
    classes is bad by chance too: only methods beyond the second retrained model's worst are named, the first four.
    """
    part = table[table["metric"].str.startswith(OF_CLASS) & (table["run"] == 0)]
    index = [*RUN, "metric"]
    wide = part.pivot_table(index=index, columns="method", values="value")
    if "retrain" not in wide:
        return []
    known, lines = wide[wide["retrain"] > 0], []
    lost = 100 * known.rsub(known["retrain"], axis=0).groupby("metric").mean()
    floor = max(100 * MARGIN, lost["second_retrain"].max() if "second_retrain" in lost else 0.0)
    for name in lost.columns.difference([*CONTROLS, "untrained"], sort=False):
        worst, pair = lost[name].max(), known[[name, "retrain"]].dropna()
        if not worst > floor:
            continue
        gone = pair[(pair[name] <= 0.01) & (pair["retrain"] >= 0.1)].index.get_level_values("metric").unique()
        names = [each.removeprefix(OF_CLASS) for each in (lost[name].idxmax(), *gone)]
        text = f"**{name}** {worst:.0f} points on {names[0]} (mean over classes {lost[name].mean():.1f}"
        lines.append((worst, f"{text}; emptied: {', '.join(names[1:])})" if len(gone) else f"{text})"))
    start = "Class by class, points of test accuracy lost against the retrained model"
    if not lines:
        return [f"{start}: no method loses more than {floor:.0f} on any class that stays."]
    named = "; ".join(text for _, text in sorted(lines, reverse=True)[:4])
    return [f"{start}, where more than {floor:.0f} on the worst class ({len(lines)} methods): {named}."]


def has_power(table: pd.DataFrame, attack: str = "loss_regression", power: float = 0.05) -> bool | None:
    """Whether the attack finds the original's members: the AUC's low end (one seed: the AUC, if the interval within the
    run leaves out 0.5) is over 0.5 + power.

    Returns: None where the attack gave no result.
    """
    part = summary(table[(table["attack"] == attack) & (table["metric"] == "auc") & (table["method"] == "original")])
    if part.empty:
        return None
    original = part.iloc[0]
    if original["n"] > 1:
        return bool(original["low"] >= 0.5 + power)
    return bool(original["mean"] >= 0.5 + power and not original["low"] <= 0.5)


def side_of_null(row: pd.Series) -> str:
    """On which side of 0.5 an AUC lies by its interval: over seeds, or within the run where there is one."""
    if np.isnan(row["low"]):
        return "one run without an interval: on neither side of the null"
    if row["low"] <= 0.5 <= row["high"]:
        return "not told from the null, which the interval holds"
    return f"{'above' if row['mean'] > 0.5 else 'below'} the null"


def attack_sentences(table: pd.DataFrame, attack: str = "loss_regression") -> list[str]:
    """Controls first: where the attack does not find the original's members, nothing is ranked."""
    part = summary(table[(table["attack"] == attack) & (table["metric"] == "auc")])
    if part.empty:
        return [f"The attack {attack} gave no result here: too few exchangeable unseen samples."]
    rows = part.set_index("method")

    def text(name: str) -> str:
        row = rows.loc[name]
        if np.isnan(row["low"]):
            return f"{row['mean']:.3f} (one seed)"
        return f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f}{'' if row['n'] > 1 else ', one seed'})"

    found = share_sentences(table)
    if "retrain" not in rows.index:
        values = "; ".join(f"{name} {text(name)}" for name in rows.index)
        return [*found, f"AUC of {attack}: {values}. Without a retrained model there is no null to hold them against."]
    found += [
        f"AUC of {attack}: original (positive control) {text('original')}, retrained (null 0.5) {text('retrain')}."
    ]
    retrain = rows.loc["retrain"]
    if retrain["low"] > 0.5 or retrain["high"] < 0.5:
        found.append("The retrained model's interval does not hold 0.5: not calibrated here, read differences only.")
    if not has_power(table, attack):
        return [*found, "The positive control has no power here: **no ranking can be read**; a low AUC means nothing."]
    for name in rows.index:
        if name not in CONTROLS:
            gap = with_interval(paired_gap(table, name, "auc", attack), points=False)
            side = side_of_null(rows.loc[name])
            found.append(f"**{name}**: AUC {text(name)}, {side}; against the retrained model {gap}.")
    return found


def relearning_sentences(table: pd.DataFrame) -> list[str]:
    """Which methods relearn sooner or later than a retrained model, where the interval of AIN over seeds excludes 1."""
    means = summary(table[(table["metric"] == "anamnesis_index") & (table["attack"] == "relearning")])
    rows = means[~means["method"].isin(CONTROLS) & (means["n"] > 1)]
    if rows.empty:
        return []
    sooner, later = rows[rows["high"] < 1]["method"], rows[rows["low"] > 1]["method"]
    found = [f"Relearned sooner than by a retrained model (AIN under 1): {', '.join(sooner) or 'none'} of {len(rows)}."]
    if len(later):
        found.append(f"Later than by a retrained model (over-forgotten): {', '.join(later)}.")
    floor = means[means["method"] == "second_retrain"]
    if len(floor):
        row = floor.iloc[0]
        found.append(
            f"The floor: a second retrained model has AIN {row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})."
        )
    return found


def share_sentences(table: pd.DataFrame) -> list[str]:
    """How much of the training set is forgotten, from the sizes of the two sets; a warning from a quarter on."""
    sizes = [
        table.loc[table["metric"] == f"{part}_accuracy", "n"].dropna() if "n" in table else [] for part in SETS_TRAINED
    ]
    if not all(len(part) for part in sizes):
        return []
    forget, retain = (float(part.iloc[0]) for part in sizes)
    share = forget / (forget + retain)
    note = "" if share < LARGE_SHARE else " That is far more than real requests, and easier to find."
    return [f"The request is {share:.1%} of the training set.{note}"]


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
    rows = strong[(strong["kind"] == "null") & (strong["metric"] == "auc")]
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
    limits = detection_limits(strong).dropna().set_index("attack")["share"]
    if len(limits):
        first = limits.idxmin()
        found.append(
            f"{first} tells a clean retrained model from one that kept {limits[first]:.0%} of the forget set or more; "
            f"no attack here sees less."
        )
    return found


def overview_sentences(table: pd.DataFrame) -> list[str]:
    """For each scenario: which methods come near the retrained model, and whether the attack could have told."""
    found = []
    accuracies = ("", "forget_accuracy", "retain_accuracy", "test_accuracy", "test_accuracy_retained", "auc")
    table = table[table["metric"].isin(accuracies)]  # a tenth of a big study's rows, which are gone through often
    for names, part in table.groupby(["dataset", "model", "request"], sort=True):
        if "retrain" not in set(part["method"]):
            continue
        methods = [name for name in dict.fromkeys(part["method"]) if name not in CONTROLS]
        near = [name for name in methods if all(is_near(part, name))]
        text = f"**{', '.join(names)}**: within {100 * MARGIN:.0f} points of the retrained model: "
        text += ", ".join(near) or "no method"
        failed = [name for name in failures(part) if name not in near]
        text += f"; failed: {', '.join(failed)}" if failed else ""
        if is_near(part, "original")[0]:
            text += " (the untouched original is so too: accuracy cannot tell here)"
        power = has_power(part)
        note = "" if power is None else " No ranking can be read." if not power else " The attack has power here."
        line = next(line for line in attack_sentences(part) if line.startswith(("AUC", "The attack")))
        found.append(f"{text}. {line}{note}")
    return found


def as_list(sentences: list[str]) -> str:
    """Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
