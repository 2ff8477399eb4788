"""Numbers that several pages share: gaps to the retrained model, the verdict on them, and an interval as text."""

import numpy as np
import pandas as pd

from forget_lib.statistics import verdict
from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.rules import MARGINS, PAIRS_FOR_DIFFERENCE, PAIRS_FOR_EQUALITY, PRIMARY
from forget_lib.study.membership import detection_limits
from forget_lib.study.records import RUN

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


IN_POINTS = {measure.title for measure in verdict.MEASURES if measure.margin == "accuracy"}


def _measured(row: verdict.Compared) -> str:
    """A gap as text: accuracies in points."""
    scale, form = (100, "+.1f") if row.measure in IN_POINTS else (1, "+.3f")
    mean, low, high = verdict.ends_of(row)
    return interval_text(scale * mean, scale * low, scale * high, form)


def gaps_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each model of one scenario with its gaps to the retrained one as text (accuracies and probes in
    points), methods first and the best on top; models without a result say why."""
    judged = verdict.verdicts(table[table["run"] == 0])
    rows = {}
    for name, row in judged.iterrows():
        about = {"verdict": f"{verdict.STATES[row['verdict']].sign} {row['word']}", "n": str(row["n"])}
        texts = {measure: _measured(each) for measure, each in row["gaps"].items() if each.n}
        bound = f"{row['bound']:.1f}" if np.isfinite(row["bound"]) else "–"
        rows[name] = about | texts | {"equal within (margins)": bound}
    if not has_oracle(table):
        for (metric, method), row in gap_table(table).iterrows():
            scale, form = (1, "+.3f") if metric == "auc" else (100, "+.1f")
            text = interval_text(scale * row.gap, scale * row.low, scale * row.high, form)
            rows.setdefault(method, {})[f"{str(metric).replace('_', ' ')}, minus original"] = text
    frame = pd.DataFrame.from_dict(rows, orient="index")
    for method, text in promises(table).items():
        frame.loc[method, "promises"] = text
    for method, why in (failures(table) | failures(table, "not applicable")).items():
        frame.loc[method, "note"] = why
    return frame.fillna("–").rename_axis("minus retrained")


def promises(table: pd.DataFrame) -> dict[str, str]:
    """What methods with a guarantee say of their runs: the weakest (ε, δ) of them, of what, and how often the part was
    fitted anew instead (certified removal). Methods without one are not named."""
    if "fact_epsilon" not in table:
        return {}
    runs = table[table["fact_epsilon"].notna()].drop_duplicates([*RUN, "method", "run"])
    texts = {}
    for method, rows in runs.groupby("method", sort=False):
        weakest = rows.loc[rows["fact_epsilon"].astype(float).idxmax()]
        text = f"ε = {float(weakest['fact_epsilon']):.3g}, δ = {float(weakest['fact_delta']):.0e}"
        scope = weakest.get("fact_scope")
        text += f" ({scope})" if isinstance(scope, str) else ""
        again = rows["fact_refitted"].eq(True).sum() if "fact_refitted" in rows else 0
        texts[str(method)] = f"{text}; fitted anew in {again} of {len(rows)} runs" if again else text
    return texts


def control_sentences(table: pd.DataFrame) -> list[str]:
    """What the retrained models and the placebos show, and so what the gaps of methods can be read for."""
    if not has_oracle(table):
        reasons = "; ".join(table.loc[table["method"] == "retrain", "reason"].dropna().unique()) or "none was made"
        lost = "Gaps are to the original: they say how far a method moved it, not whether it forgot."
        return [f"**There is no retrained model** ({reasons}). {lost}"]
    judged = verdict.verdicts(table[table["run"] == 0])
    rows = {(row.measure, row.method): row for gaps in judged["gaps"] for row in gaps.values()}
    missed = verdict.powers(list(rows.values()))
    lines = []
    for measure, blind in missed.items():
        texts = [f"{name} {_measured(rows[measure, name])}" for name in REFERENCES if (measure, name) in rows]
        power = f"**no power here**: it does not distinguish {blind} from retraining" if blind else "it has power here"
        lines.append(f"{measure.capitalize()}, minus the retrained model's: {'; '.join(texts)}; {power}.")
    for name, measures in verdict.blind_to(judged).items():
        lines.append(f"{name} looks like the retrained model in {', '.join(measures)}: that is no proof of forgetting.")
    methods = judged[~judged["placebo"]]
    for word, names in methods.groupby("word", sort=False).groups.items():
        lines.append(f"**{str(word).capitalize()}**: {', '.join(names)}.")
    pairs = judged["n"].max() if len(judged) else 0
    if pairs < PAIRS_FOR_EQUALITY:
        few = f"fewer than {PAIRS_FOR_DIFFERENCE} show nothing, fewer than {PAIRS_FOR_EQUALITY} no equality"
        lines.append(f"Pairs of draw and seed: {pairs}; {few}.")
    return lines


def first_findings(table: pd.DataFrame) -> list[str]:
    """The three sentences at the top of a page: what the original and the retrained model answer for the images to
    forget, the verdict on the methods or why there is none, and what a control shows about the measure."""
    if not has_oracle(table):
        return control_sentences(table)
    rows = table[(table["run"] == 0) & ((table["attack"] == "") | (table["attack"] == "loss_regression"))]
    means = rows.pivot_table("value", "method", "metric")
    right = means["forget_accuracy"]
    text = (
        f"Of the images to forget, the original model names {right['original']:.1%} rightly. A model retrained without"
    )
    lines = [f"{text} them names {right['retrain']:.1%}: that is the goal of every method."]
    judged = verdict.verdicts(table[table["run"] == 0])
    pairs, methods = judged["n"].max(), judged[~judged["placebo"]]
    if pairs < PAIRS_FOR_DIFFERENCE:
        needed = f"a difference needs {PAIRS_FOR_DIFFERENCE} pairs of draw and seed, equality {PAIRS_FOR_EQUALITY}"
        text = f"**Which methods forget as retraining does cannot be told here**: {needed}, and this page has {pairs}."
        lines.append(f"{text} The page of [all runs](08_figures.ipynb) has them.")
    else:
        words = methods.groupby("word", sort=False).groups.items()
        lines.append(" ".join(f"**{str(word).capitalize()}**: {', '.join(names)}." for word, names in words))
    if abs(right.get("mask_logit", np.inf) - right["retrain"]) <= MARGINS["accuracy"]:
        hidden = "Hiding the output (`mask_logit`) forgets nothing, and yet names"
        lines.append(f"{hidden} {right['mask_logit']:.1%} of them: accuracy alone is no proof of forgetting.")
    elif "auc" in means:
        known, never = means.loc["original", "auc"], means.loc["retrain", "auc"]
        text = f"The loss attack has an AUC of {known:.3f} on the original and of {never:.3f} on the retrained model"
        weak = known - never <= MARGINS["auc"]
        lines.append(f"{text}: it does not even find the original." if weak else f"{text} (0.5 is guessing).")
    return lines


REFERENCES = ("original", "second_retrain", "mask_logit")
"""Models whose gaps say what a measure is worth."""


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


def null_sentence(strong: pd.DataFrame) -> str:
    """Whether the attacks give 0.5 on models that never saw the forget set, from `membership.table_of`."""
    off, total = verdict.broken_nulls(strong)
    text = f"Null check: {total - off} of {total} intervals hold 0.5 (retrained twice, labels shuffled)"
    if 20 * off > total:
        return f"{text}. Fewer than 19 in 20, since targets share their coins: **read paired numbers only**."
    return f"{text}."


def strong_attack_sentences(strong: pd.DataFrame) -> list[str]:
    """What the strong attacks say against the retrained model on the same targets, from `membership.table_of`."""
    share = strong["forgotten"].iloc[0]
    lines = [f"Each target forgets {share:.1%} of its training set; {int(strong['targets'].max())} targets are pooled."]
    lines.append(null_sentence(strong))
    judged = verdict.pool_verdicts(strong)
    if judged.empty:
        return [*lines, f"{PRIMARY}, on which the verdict rests, was not run here: nothing can be told."]
    methods = judged[~judged["placebo"] & (judged["n"] > 0)]
    told = ", ".join(methods.index[methods["told"]]) or "no method"
    lines.append(f"{PRIMARY} distinguishes {methods['told'].sum()} of {len(methods)} from retraining (Holm): {told}.")
    for word, names in methods.groupby("word", sort=False).groups.items():
        lines.append(f"**{str(word).capitalize()}** by {PRIMARY}: {', '.join(names)}.")
    broken = strong[strong["status"] == "failed"].drop_duplicates("method")
    lines += [f"**{row.method}** failed ({row.reason.rstrip('.')})." for row in broken.itertuples()]
    limits = detection_limits(strong).dropna()
    if len(limits):
        first = limits.idxmin()
        text = f"{first} distinguishes a clean retrained model from one that kept {limits[first]:.0%} of the forget set"
        lines.append(f"{text} or more; no attack here sees less.")
    return lines


def pool_gaps_shown(strong: pd.DataFrame) -> pd.DataFrame:
    """The verdict of the primary attack on each model of a pooled study, as text."""
    rows = {}
    for name, row in verdict.pool_verdicts(strong).iterrows():
        gap = row["gaps"].get(PRIMARY)
        if gap is not None:
            about = {"verdict": f"{verdict.STATES[row['verdict']].sign} {row['word']}", "targets": str(gap.n)}
            rows[name] = about | {"AUC minus retrained": _measured(gap), "equal within": f"{gap.bound:.3f}"}
            rows[name]["distinguished from retraining"] = "yes" if row["told"] else "no"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(PRIMARY)


def as_list(sentences: list[str]) -> str:
    """Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
