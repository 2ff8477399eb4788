"""Our gaps to the retrained model beside published ones: where they agree, and where not.

The published numbers are in workflow/config/published.csv, each with its source: accuracy on the forget set and on what
is kept (shares), the retrained model's, and a note where the code behind a row does something else than its name.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from forget_lib.findings import MARGIN, kept_metric, paired_gap, with_interval
from forget_lib.results import REPOSITORY
from forget_lib.statistics import t_interval

TABLE = REPOSITORY / "workflow" / "config" / "published.csv"
ANSWERS = {"yes": "say the same as ours", "no": "say something else", "open": "meet an interval too wide to say"}
DATA = ("cifar10", "cifar10_part")
"""Data sets whose records may stand beside the published numbers, which are all of CIFAR-10."""


def published(path: Path = TABLE) -> pd.DataFrame:
    """The published numbers, a row each."""
    return pd.read_csv(path).fillna({"note": ""})


def side(*gaps: float) -> str:
    """Gaps of forget accuracy (share) to the retrained model's in words, `MARGIN` counting as none; with several, what
    all of their 95 % interval says, or "not settled"."""
    ends = gaps if len(gaps) == 1 else t_interval(np.array(gaps))[1:3]
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
