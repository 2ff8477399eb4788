"""Our gaps to the retrained model, and our order of methods, beside published ones: where they agree, and where not.

The published numbers are in workflow/config/published.csv, each with its source: accuracy on the forget set and on what
is kept (shares), the retrained model's, and a note where the code behind a row does something else than its name; those
of NoMUS on MUFAC in published_nomus.csv: accuracy on the test set and of the loss attack.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from forget_lib.core.paths import REPOSITORY
from forget_lib.show.findings import kept_metric, paired_gap, with_interval
from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.metrics import nomus
from forget_lib.statistics.rules import MARGIN
from forget_lib.study.records import summary

TABLE = REPOSITORY / "workflow" / "config" / "published.csv"
NOMUS = TABLE.with_name("published_nomus.csv")
FACES = ("mufac", "mufac_clean", "synthetic_faces", "synthetic_faces32")
"""Data sets in the layout of MUFAC, those of real people first."""
SHARED = 4
"""An order of fewer methods than these is not compared."""
ANSWERS = {"yes": "say the same as ours", "no": "say something else", "open": "meet an interval too wide to say"}
DATA = ("cifar10", "cifar10_part")
"""Data sets whose records may stand beside the published numbers, which are all of CIFAR-10."""


def published(path: Path = TABLE) -> pd.DataFrame:
    """The published numbers, a row each."""
    return pd.read_csv(path).fillna({"note": ""})


def side(*gaps: float) -> str:
    """Gaps of forget accuracy (share) to the retrained model's in words, `MARGIN` counting as none; with several, what
    all of their 95 % interval says, or "not settled"."""
    ends = gaps if len(gaps) == 1 else within(t_interval(np.array(gaps)), gap_range())[1:3]
    words = {"as retraining" if abs(gap) <= MARGIN + 1e-9 else "too little" if gap > 0 else "too much" for gap in ends}
    return words.pop() if len(words) == 1 else "not settled"


def compare(table: pd.DataFrame, numbers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Published rows whose method and kind of request the records hold, with our gap and whether both say the same.

    Args: table: records as `results.load` gives them; only those of `DATA` are looked at. numbers: as `published`.
    Returns: method, request, published and ours (points of forget accuracy above the retrained model's, ours with the
        interval over runs), they say, we say, agree (yes, no, or open where ours is not settled), kept published and
        kept ours, note and source; empty where nothing can be compared.
    """
    ours = table[table["dataset"].isin(DATA)]
    kinds = ours["request"].str.extract(r"^([a-z]+)", expand=False)
    rows = []
    for row in (published() if numbers is None else numbers).itertuples():
        part = ours[kinds == row.kind]
        gaps = paired_gap(part, row.method, "forget_accuracy")
        if len(gaps) == 0:
            continue
        theirs, kept = row.forget - row.forget_retrained, row.kept - row.kept_retrained
        said, say = side(theirs), side(*gaps)
        rows.append(
            {
                "method": row.method,
                "request": row.request,
                "published": f"{100 * theirs:+.1f} points",
                "ours": with_interval(gaps),
                "they say": said,
                "we say": say,
                "agree": "open" if say == "not settled" else "yes" if said == say else "no",
                "kept, published": "–" if np.isnan(kept) else f"{100 * kept:+.1f} points",
                "kept, ours": with_interval(paired_gap(part, row.method, kept_metric(part))),
                "note": row.note,
                "setup": row.setup,
                "source": row.source,
            }
        )
    return pd.DataFrame(rows)


def sentences(compared: pd.DataFrame) -> list[str]:
    """How many rows agree, and which do not; a sentence that says so where nothing can be compared."""
    if compared.empty:
        return ["No published number stands beside these records: all that could be read are of CIFAR-10."]
    counts, sound = compared["agree"].value_counts(), compared[compared["note"] == ""]["agree"].value_counts()
    text = ", ".join(f"{counts.get(word, 0)} {name}" for word, name in ANSWERS.items())
    alone = ", ".join(f"{sound.get(word, 0)} {name}" for word, name in ANSWERS.items())
    found = [f"Published rows on the forget set: {text}; of those without a note against them: {alone}."]
    for row in compared[compared["agree"] == "no"].itertuples():
        note = f" Of the published row: {row.note}." if row.note else ""
        found.append(f"**{row.method}**, {row.request}: published {row.published}, ours {row.ours}.{note}")
    return found


def order(theirs: pd.Series, ours: pd.Series) -> str:
    """How far two orders of the same methods agree (Kendall's tau with its p-value), by method; empty for too few."""
    both = [name for name in theirs.index if name in ours.index and np.isfinite(ours[name])]
    if len(both) < SHARED:
        return ""
    tau, p_value = kendalltau(theirs[both], ours[both])
    return f"Kendall's tau {tau:+.2f} over {len(both)} models (p = {p_value:.2f})" if np.isfinite(tau) else ""


def order_sentences(table: pd.DataFrame) -> list[str]:
    """For each published source: does our order of methods by distance from retraining agree with theirs? And how far
    the untouched original is from the retrained model here, where everything starts."""
    ours = table[table["dataset"].isin(DATA)]
    kinds = ours["request"].str.extract(r"^([a-z]+)", expand=False)
    found = []
    for (source, kind), rows in published().groupby(["source", "kind"], sort=False):
        part = ours[kinds == kind]
        theirs = (rows["forget"] - rows["forget_retrained"]).abs().set_axis(rows["method"])
        gaps = {name: paired_gap(part, name, "forget_accuracy") for name in theirs.index}
        text = order(theirs, pd.Series({name: abs(gap.mean()) for name, gap in gaps.items() if len(gap)}, dtype=float))
        if text:
            start = with_interval(paired_gap(part, "original", "forget_accuracy"))
            noted = int((rows["note"] != "").sum())
            found.append(
                f"Order by distance from retraining, {kind}, {source}: {text}; {noted} of their rows have a note "
                f"against them. Our untouched original starts at {start}."
            )
    return found


def nomus_sentences(table: pd.DataFrame) -> list[str]:
    """Our order of models by NoMUS on faces in MUFAC's layout beside the published ones on MUFAC."""
    there = table[(table["metric"] == "accuracy") & (table["attack"] == "loss_regression")]
    places = there[there["dataset"].isin(FACES)][["dataset", "model", "request"]].drop_duplicates()
    wanted = ("official-list", "person-any20", "random-0.1")
    places = places[places["request"].isin(wanted)].itertuples(index=False)
    places = sorted(places, key=lambda row: (FACES.index(row[0]), wanted.index(row[2])))
    if not places:
        return ["NoMUS: no faces in MUFAC's layout are among these records."]
    means = summary(table[(table[["dataset", "model", "request"]] == list(places[0])).all(axis=1)])
    test, attacked = (
        means[(means["metric"] == metric) & (means["attack"] == attack)].set_index("method")["mean"]
        for metric, attack in (("test_accuracy", ""), ("accuracy", "loss_regression"))
    )
    ours = pd.Series({name: nomus(test[name], attacked[name]) for name in attacked.index if name in test.index})
    found = []
    for source, rows in pd.read_csv(NOMUS).groupby("source", sort=False):
        theirs = pd.Series(
            {row.method: nomus(row.test_accuracy, row.attack_accuracy) for row in rows.itertuples()}, dtype=float
        )
        text = order(theirs, ours)
        if text:
            both = [name for name in theirs.index if name in ours.index]
            first, second = (" > ".join(each[both].sort_values(ascending=False).index) for each in (theirs, ours))
            found.append(f"NoMUS, {', '.join(places[0])}, beside {source}: {text}. Theirs: {first}; ours: {second}.")
    return found or [f"NoMUS: fewer than {SHARED} models are both here and in the published tables."]
