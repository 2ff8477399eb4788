"""Sentences and tables about people: are they still named, still re-identified, still known to have been there?"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forget_lib.show import figures
from forget_lib.show.findings import CONTROLS, failure, paired_gap, with_interval
from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import range_of
from forget_lib.study.records import summary

if TYPE_CHECKING:
    from forget_lib.study.scenario import Scenario

POINTS = 0.03
"""What is kept may lie this far below the retrained model's."""
RECALL, OTHERS = "test_accuracy_forgotten", "test_accuracy_retained"
PROBES = (
    ("reidentification", "rank_1_forgotten", "re-identification at rank 1", 1),
    ("verification", "separation", "separation d' of same from different", 1),
    ("verification", "equal_error_rate", "equal error rate of verification", -1),
)
"""Attack, metric, its name for people, and 1 where a higher value means that more is left."""
COMPARED = (*CONTROLS, "untrained", "mask_logit", "do_nothing")


def _mean(table: pd.DataFrame, method: str, metric: str, attack: str = "") -> float:
    rows = (table["method"] == method) & (table["metric"] == metric) & (table["attack"] == attack)
    return float(table[rows]["value"].mean())


def _methods(table: pd.DataFrame) -> list[str]:
    done = table[table["status"] == "done"]
    return [name for name in figures.method_order(done) if name not in COMPARED]


def can_be_read(table: pd.DataFrame, attack: str, metric: str, sign: int = 1) -> bool:
    """Whether the original shows more than the retrained model beyond the interval of their difference, paired by run;
    never for a single run, which has no interval."""
    gaps = sign * paired_gap(table, "original", metric, attack)
    return len(gaps) > 1 and t_interval(gaps).low > 0


def probe_sentences(table: pd.DataFrame) -> list[str]:
    """For each probe of the embedding: its values, whether anything can be read, and if so each method's place."""
    found = []
    for attack, metric, title, sign in PROBES:
        if not ((table["metric"] == metric) & (table["attack"] == attack)).any():
            continue
        names = ("original", "retrain", "second_retrain", "untrained")
        values = {name: _mean(table, name, metric, attack) for name in names}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if np.isfinite(value))
        gap = paired_gap(table, "original", metric, attack)
        found.append(f"**{title}** of the forgotten person: {shown}.")
        if not can_be_read(table, attack, metric, sign):
            why = (
                "one run has no interval" if len(gap) < 2 else f"difference {with_interval(gap, metric, points=False)}"
            )
            more = "above" if sign > 0 else "below"
            found[-1] += f" The original is not {more} the retrained model beyond the interval ({why}): "
            found[-1] += "**nothing can be read here**, no method is ranked by it."
            continue
        found[-1] += f" The original differs from the retrained model by {with_interval(gap, metric, points=False)}."
        for name in [*(name for name in ("mask_logit",) if name in set(table["method"])), *_methods(table)]:
            gaps = sign * paired_gap(table, name, metric, attack)
            if len(gaps) > 1:
                place = t_interval(gaps)
                word = "still there" if place.low > 0 else "below it: over-forgotten" if place.high < 0 else "not told"
                found.append(
                    f"**{name}**: {word} ({with_interval(sign * gaps, metric, points=False)} from the retrained)."
                )
    return found


def meaning_sentence(table: pd.DataFrame) -> str:
    """What it means that a retrained net still embeds a face that it never saw."""
    retrained, fresh = (_mean(table, name, "rank_1_forgotten", "reidentification") for name in ("retrain", "untrained"))
    text = f"The retrained recogniser never saw the person and still finds {retrained:.0%} of the images at rank 1"
    text += f" (an untrained net {fresh:.0%})" if np.isfinite(fresh) else ""
    return (
        f"{text}. It learned from the others how faces differ, and that carries over to any face. So being "
        "re-identified is no proof that something was kept; only what exceeds the retrained model is, and what falls "
        "below it is damage that shows that the person was there."
    )


def mask_sentence(table: pd.DataFrame) -> str:
    """That hiding the output reaches the head's goal and forgets nothing; empty where the control was not run."""
    if "mask_logit" not in set(table["method"]):
        return ""
    largest, recall = _farthest(table, "mask_logit"), _mean(table, "mask_logit", RECALL)
    if recall > 0 or largest > 0:
        return f"**mask_logit** has recall {recall:.1%}; its probes differ from the original's by up to {largest:.3g}."
    text = (
        "**mask_logit** reaches recall 0 and forgets nothing: its embedding is the original's, and every probe gives "
        "the original's number."
    )
    alike = [name for name in _methods(table) if _farthest(table, name) == 0]
    return f"{text} The embedding stays with {', '.join(alike)} too: only the head forgets." if alike else text


def _farthest(table: pd.DataFrame, name: str) -> float:
    """Largest difference of a method's probes of the embedding from the original's; NaN where none was made."""
    gaps = [paired_gap(table, name, metric, attack, "original") for attack, metric, _, _ in PROBES]
    return max((float(np.abs(gap).max()) for gap in gaps if len(gap)), default=float("nan"))


def goal_sentences(table: pd.DataFrame, recall: float = 0.0, points: float = POINTS) -> list[str]:
    """Which methods reach the goal: the forgotten classes are not named any more, and the others stay as good as the
    retrained model's, by its interval over runs and by `points`. Last, those that gave no model. Empty without a
    retrained model.

    Args: recall: largest mean share of test images of the forgotten classes that may still be named. points: share by
        which the accuracy on the others may lie below the retrained model's.
    """
    of_retrained = table[(table["method"] == "retrain") & (table["metric"] == OTHERS)]["value"].to_numpy()
    if not len(of_retrained):
        return []
    interval = within(t_interval(of_retrained), range_of(OTHERS)) if len(of_retrained) > 1 else None
    met, missed = [], []
    for name in _methods(table):
        named, others = _mean(table, name, RECALL), _mean(table, name, OTHERS)
        gap = paired_gap(table, name, OTHERS)
        inside = interval is None or others >= interval.low
        reached = named <= recall and inside and gap.mean() >= -points
        text = f"{name} (named {named:.1%}, others {100 * gap.mean():+.1f} points)"
        (met if reached else missed).append(text)
    ends = "one run, no interval" if interval is None else f"95 % interval {interval.low:.1%} to {interval.high:.1%}"
    rule = f"named at most {recall:.0%}, others within the retrained model's interval and {points:.0%} of it"
    original = f"the original with {_mean(table, 'original', OTHERS):.1%}"
    return [
        f"The retrained model tells the others with {of_retrained.mean():.1%} ({ends}), {original}.",
        f"Reach the goal ({rule}): {', '.join(met) or 'no method'}.",
        f"Do not: {', '.join(missed) or 'none'}.",
        *filter(None, (failure(part) for _, part in table.groupby("method", sort=False))),
    ]


def people_sentences(table: pd.DataFrame) -> list[str]:
    """The rank test by person: its power first, then who is told from matched people never seen."""
    part = table[table["attack"] == "rank_test"]
    if part.empty:
        return ["The rank test gave no result here: fewer than 4 forgotten or unseen units."]
    areas = summary(part[part["metric"] == "auc"]).set_index("method")
    power, units = _mean(part, "original", "rank_power", "rank_test"), part[part["metric"] == "auc"]["n"].min()
    text = (
        f"Rank test with {int(units)} forgotten units: a difference of one standard deviation is found with a chance of"
    )
    found = [f"{text} {power:.0%}. Under 30 images no true-positive rate is given."]
    for name in figures.method_order(part):
        row, p_value = areas.loc[name], _mean(part, name, "rank_p", "rank_test")
        ends = f" ({row['low']:.2f} to {row['high']:.2f})" if np.isfinite([row["low"], row["high"]]).all() else ""
        told = f"{'p' if row['n'] <= 1 else 'mean p'} {p_value:.3g}"
        found.append(f"**{name}**: surer of the forgotten in {row['mean']:.2f} of the pairs{ends}, {told}.")
    return found


def people_table(scenario: "Scenario") -> pd.DataFrame:
    """Who is forgotten and who stands against them: images, people, share of women, images by class.

    Returns: one row a set (forget, unseen); empty where the data know no people.
    """
    data, rows = scenario.data, {}
    if data.people is None:
        return pd.DataFrame()
    for name in ("forget", "unseen"):
        part = getattr(scenario.sets, name)
        row = {"images": len(part), "people": len(data.people[part].unique())}
        if data.sexes is not None:
            known = data.sexes[part] < 2
            row["women (%)"] = round(100 * float((data.sexes[part][known] == 0).double().mean()), 1)
        counts = data.labels[part].bincount(minlength=len(data.classes)).tolist()
        rows[name] = row | (dict(zip(data.classes, counts, strict=True)) if len(data.classes) <= 12 else {})
    return pd.DataFrame.from_dict(rows, orient="index")
