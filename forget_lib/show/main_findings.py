"""The questions of the study and what the records answer: a sentence or two each, with intervals and the pages behind.

Where records are missing the answer says so. What is said of one scenario is in `findings` and in its notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from forget_lib.show.findings import paired_gap, with_interval
from forget_lib.show.membership_views import adjusted, has_power, passes_weak_fails_strong
from forget_lib.show.overview import KINDS, failing, in_points
from forget_lib.statistics.intervals import t_interval
from forget_lib.statistics.metrics import dominated
from forget_lib.statistics.rules import ALPHA, CONTROLS, STRONG, WEAK
from forget_lib.study.records import summary
from forget_lib.unlearning import METHODS

Pages = Callable[[Iterable[tuple[str, str, str]]], str]
"""Scenarios as Markdown links, see `report.links.linked`."""
SHOWN = 8
"""So many names of methods stand in a sentence at most."""
HARDER = {"mislabelled": "wrong labels", "most_memorised": "the most memorised samples"}


PROBES = (
    ("reidentification", "rank_1_forgotten", "re-identification at rank 1", 1),
    ("verification", "separation", "separation d' of same from different", 1),
    ("verification", "equal_error_rate", "equal error rate of verification", -1),
)
"""Attack, metric, its name for people, and 1 where a higher value means that more is left."""


def is_method(name: str) -> bool:
    """Whether a name is a method to be judged: no reference model and no control of the study."""
    return name not in CONTROLS and not (name in METHODS and METHODS[name].control)


def can_be_read(table: pd.DataFrame, attack: str, metric: str, sign: int = 1) -> bool:
    """Whether the original shows more than the retrained model beyond the interval of their difference, paired by run;
    never for a single run, which has no interval."""
    gaps = sign * paired_gap(table, "original", metric, attack)
    return len(gaps) > 1 and t_interval(gaps).low > 0


def _scenarios(table: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    return dict(iter(table.groupby(["dataset", "model", "request"], sort=True)))


def matching(found: pd.DataFrame) -> list[str]:
    """How many methods do as retraining does, by kind of request, and which; from `overview.answers`."""
    lines = []
    for kind, part in found[~found["control"].astype(bool)].groupby("kind", sort=False):
        failed = failing(part)
        part = part[part["gap"].notna()].sort_values("cost")
        good, mixed = (part[part["verdict"] == key] for key in ("good", "mixed"))
        title, unknown = f"**{KINDS.get(kind, kind)}**: ", part["verdict"] == "unknown"
        part = part[~unknown]
        if unknown.any() and not len(good):
            lines.append(f"{title}accuracy cannot tell; the untouched original is within the margin as well.")
            continue
        names = [f"{row.method} {in_points(row.gap, row.low, row.high)}" for row in good.head(SHOWN).itertuples()]
        names += [f"{len(good) - SHOWN} more"] if len(good) > SHOWN else []
        text = f"{title}{len(good)} of {len(part)} methods do as retraining does"
        shown = f" (cheapest first; forget accuracy, points: {', '.join(names)})"
        lines.append(f"{text}{shown if len(good) else ''}")
        lines[-1] += f"; {len(mixed)} more on average, but not in every scenario" if len(mixed) else ""
        lines[-1] += f"; of {unknown.sum()} more accuracy cannot tell" if unknown.any() else ""
        lines[-1] += f"; failed: {', '.join(failed)}." if failed else "."
    return lines or ["No scenario with an original and a retrained model is among these records."]


def weak_and_strong(pools: Mapping[tuple[str, str, str], pd.DataFrame], linked: Pages) -> list[str]:
    """How many methods pass the usual attack and fail a strong one on the same models, by pooled study."""
    lines = []
    for names, table in pools.items():
        title = f"**{linked([names])}**: "
        if not has_power(table):
            lines.append(f"{title}even the original is not found out, so **no ranking can be read**.")
            continue
        areas = adjusted(table)
        areas = areas[areas["method"].map(is_method)]
        weak = areas[areas["attack"] == WEAK].set_index("method")
        silent = weak[(weak["low"] <= 0.5) & (weak["high"] >= 0.5) & (weak["p_holm"] > ALPHA)].index
        if not len(silent):
            lines.append(f"{title}none of {len(weak)} methods passes the usual test.")
            continue
        failing = [name for name in passes_weak_fails_strong(table) if is_method(name)]
        text = f"{title}{len(silent)} of {len(weak)} methods pass the usual test; "
        text += f"{len(failing)} of those fail a strong one"
        lines.append(f"{text}{f': {_widest(areas, weak, failing)}' if failing else ''}.")
    return lines or ["No pooled membership study is among these records, so strong attacks say nothing."]


def _widest(areas: pd.DataFrame, weak: pd.DataFrame, names: list[str]) -> str:
    """The methods by how far the strongest attack lies from 0.5, the first with its two numbers."""
    strong = areas[areas["attack"].isin(STRONG) & areas["method"].isin(names)].copy()
    strong["far"] = (strong["value"] - 0.5).abs()
    best = strong.sort_values("far", ascending=False).drop_duplicates("method")
    first, usual = best.iloc[0], weak.loc[best.iloc[0]["method"]]
    text = f"{first['method']} (AUC {_area(usual)} by {WEAK}, {_area(first)} by {first['attack']})"
    return f"{text}, then {_named(best['method'].iloc[1:])}" if len(best) > 1 else text


def _area(row: pd.Series) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def costs(found: pd.DataFrame) -> list[str]:
    """What forgetting costs, by kind of request: the methods that no other beats in distance of forgetting, utility
    lost and cost at once, cheapest first; from `overview.answers`."""
    lines = []
    chosen = found[~found["control"].astype(bool) & found["cost"].notna() & found["gap"].notna()]
    for kind, part in chosen.groupby("kind", sort=False):
        values = np.column_stack([part["gap"].abs(), (-part["kept"]).clip(lower=0), part["cost"]])
        front = part[~dominated(values)].sort_values("cost")
        names = ", ".join(
            f"{row.method} ({row.cost:.2f}; forget {in_points(row.gap, row.low, row.high)}, kept {row.kept:+.1f})"
            for row in front[front["verdict"].isin(["good", "mixed", "unknown"])].head(5).itertuples()
        )
        text = f"**{KINDS.get(kind, kind)}**: {len(front)} of {len(part)} methods lie on the front of forgetting, "
        text += "utility and cost (retrainings); of these, near the retrained model on average: "
        lines.append(f"{text}{names or 'none'}. The median method costs {part['cost'].median():.2f} retrainings.")
    return lines or ["No costs are among these records."]


def hardest(pools: Mapping[tuple[str, str, str], pd.DataFrame], linked: Pages) -> list[str]:
    """Whether wrongly labelled and most memorised samples are harder to forget than random ones: how much farther from
    0.5 the strongest attack lies, paired by method, with an interval over methods."""
    lines = []
    for names, table in pools.items():
        kind = next((kind for kind in HARDER if f"-{kind}-" in names[2]), "")
        same = [other for other in pools if other[:2] == names[:2] and other[2].startswith("pool-random-0")]
        if not kind or not same:
            continue
        here, there = _reach(table), _reach(pools[same[0]])
        if not ("original" in here and "original" in there):
            continue
        both = [name for name in here.index if name in there.index and is_method(name)]
        text = f"**{HARDER[kind]}** ({linked([names])}, beside {linked(same[:1])}): the strongest attack finds the "
        text += f"original with AUC {0.5 + here['original']:.3f}, for random samples {0.5 + there['original']:.3f}"
        if both:
            gaps = with_interval((here[both] - there[both]).to_numpy(), points=False)
            text += f"; after forgetting it lies farther from 0.5 by {gaps}, mean over {len(both)} methods"
            text += f"; farthest after {here[both].idxmax()}, nearest after {here[both].idxmin()}"
        lines.append(f"{text}.")
    return lines or ["Pools of random and of chosen samples are not both among these records."]


def _reach(table: pd.DataFrame) -> pd.Series:
    """Largest distance of a strong attack's AUC from 0.5, by model; original and methods."""
    rows = table[(table["metric"] == "auc") & table["attack"].isin(STRONG)]
    rows = rows[(rows["kind"] == "method") | ((rows["kind"] == "control") & (rows["method"] == "original"))]
    return (rows["value"] - 0.5).abs().groupby(rows["method"]).max()


def relearned_sooner(table: pd.DataFrame) -> dict[str, list[set[str]]]:
    """Methods after which the forget set is relearned sooner than by a retrained model (95 % interval of AIN under 1).

    Returns: by kind of request, a set for each scenario that has the attack and more than one run.
    """
    ratios = table[(table["metric"] == "anamnesis_index") & (table["attack"] == "relearning")]
    found: dict[str, list[set[str]]] = {}
    for part in _scenarios(ratios).values():
        means = summary(part)
        means = means[means["method"].map(is_method) & (means["n"] > 1)]
        if len(means):
            kind = str(part["request"].iloc[0]).split("-")[0]
            found.setdefault(kind, []).append(set(means.loc[means["high"] < 1, "method"]))
    return found


def brought_back(table: pd.DataFrame, found: pd.DataFrame, linked: Pages) -> list[str]:
    """Whether relearning is faster than for a retrained model, by kind of request, and whether a linear probe on the
    embedding names the person again."""
    lines = []
    for kind, sets in relearned_sooner(table).items():
        good = set(found.loc[(found["kind"] == kind) & (found["verdict"] == "good"), "method"])
        always, ever = set.intersection(*sets), set.union(*sets)
        text = f"**Relearning, {KINDS.get(kind, kind)}**: sooner than by a retrained model (95 % interval of AIN under "
        text += f"1): {_named(always)}"
        text += f" (in each of {len(sets)} scenarios); {_named(ever - always)} (in some)" if len(sets) > 1 else ""
        lines.append(f"{text}{f'; of those as retrained by accuracy: {_named(ever & good)}' if good else ''}.")
    lines += _probes(table, linked, ("linear_probe", "probe_recall_forgotten", "a new linear head names the person", 1))
    return lines or ["Neither relearning nor a linear probe is among these records."]


def _named(names: Iterable[str]) -> str:
    """The names in order, of many the first `SHOWN`."""
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more or "none"


def reidentified(table: pd.DataFrame, linked: Pages) -> list[str]:
    """Whether a forgotten person is still re-identified or verified, by recogniser, beside the retrained model."""
    lines = [line for probe in PROBES[:2] for line in _probes(table, linked, probe)]
    return lines or ["No face recogniser is among these records."]


def _probes(table: pd.DataFrame, linked: Pages, probe: tuple[str, str, str, int]) -> list[str]:
    """One probe of the embedding in every scenario that has it: its values, and who is above, at or below the retrained
    model by the interval of the difference."""
    attack, metric, title, sign = probe
    lines = []
    for names, part in _scenarios(table[(table["attack"] == attack) & (table["metric"] == metric)]).items():
        means = part.groupby("method")["value"].mean()
        if not {"original", "retrain"} <= set(means.index):
            continue
        gap = with_interval(paired_gap(part, "original", metric, attack), metric, points=False)
        text = f"**{linked([names])}**, {title}: original {means['original']:.3f}, retrained {means['retrain']:.3f} "
        text += f"(difference {gap})"
        if not can_be_read(part, attack, metric, sign):
            lines.append(f"{text}: the original does not stand out, so **nothing can be read**.")
            continue
        places: dict[str, list[str]] = {"still there": [], "not told": [], "below": []}
        for name in filter(is_method, means.index):
            gaps = sign * paired_gap(part, name, metric, attack)
            if len(gaps) > 1:
                place = t_interval(gaps)
                places["still there" if place.low > 0 else "below" if place.high < 0 else "not told"].append(name)
        text += f"; still there after {_named(places['still there'])}; not told from retrained: "
        lines.append(f"{text}{_named(places['not told'])}; below it (over-forgotten): {_named(places['below'])}.")
    return lines


QUESTIONS = {
    "matching": ("Which methods do as retraining does?", "08_figures.ipynb#All-gaps-with-intervals"),
    "strong": ("Who passes the usual test and fails a strong attack?", "08_figures.ipynb#Strong-attacks"),
    "costs": ("What does forgetting cost?", "08_figures.ipynb#Forgetting-utility-cost"),
    "spread": ("Where does the spread of a result come from?", "08_figures.ipynb#Where-the-spread-comes-from"),
    "hardest": ("Which samples are hardest to forget?", "08_figures.ipynb#Strong-attacks"),
    "back": ("Does training a little bring it back?", "08_figures.ipynb#How-soon-it-comes-back"),
    "people": ("Is a person still re-identified?", "06_unlearn_identity.ipynb"),
    "published": ("Is our order of methods the published one?", "#Beside-published-numbers"),
}
"""Each question in words, and where its figure stands."""


def as_sections(answers: Mapping[str, list[str]]) -> str:
    """Answers by key of `QUESTIONS` in Markdown, each under its question and with a link to its figure."""
    parts = []
    for key, lines in answers.items():
        question, figure = QUESTIONS[key]
        lines = [*lines, f"[Figures and tables]({figure})"]
        parts.append("\n".join([f"### {question}", "", *(f"- {line}" for line in lines)]))
    return "\n\n".join(parts)
