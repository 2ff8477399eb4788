"""The generated parts of docs/paper.md: findings and the answer table, from the committed records alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from forget_lib.show import catalogue, overview
from forget_lib.statistics import verdict
from forget_lib.statistics.rules import PAIRS_FOR_DIFFERENCE

CONTROLS = [name for name in overview.CORE if not overview.is_method(name)]
"""Rows below the methods: what costs as much, what is reachable, and what has forgotten nothing."""


def answer(found: pd.DataFrame) -> str:
    """The core methods' verdict by kind of request, with equality bound (in margins) and pairs, as Markdown.

    found: of `overview.answers`; scenarios with too few pairs to show a difference are left out.
    """
    shown = found[found["method"].isin(overview.CORE) & (found["tuned"] | ~found["is_method"])]
    pairs = shown.groupby(overview.SCENARIO)["n"].transform("max")
    shown = shown[pairs >= PAIRS_FOR_DIFFERENCE]
    cells = {key: "; ".join(map(_cell, part.to_dict("records"))) for key, part in shown.groupby(["method", "kind"])}
    kinds = [kind for kind in overview.KINDS if kind in set(shown["kind"])]
    order = overview.ranked(overview.by_kind(shown[~shown["method"].isin(CONTROLS)]))
    rows = [
        [f"`{name}`", *(cells.get((name, kind), "–") for kind in kinds)]
        for name in [*order, *(name for name in CONTROLS if name in set(shown["method"]))]
    ]
    return catalogue.table(["model", *(overview.KINDS[kind] for kind in kinds)], rows)


def _cell(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return str(row["word"])
    bound = f"bound {row['bound']:.1f}, " if np.isfinite(row["bound"]) else ""
    return f"{row['word']} ({bound}n = {row['n']})"


def states(found: pd.DataFrame) -> str:
    """What the verdicts in the table mean, a line each."""
    met = [key for key in verdict.STATES if key in set(found["verdict"])]
    return "\n".join(f"- *{verdict.STATES[key].word}*: {verdict.STATES[key].meaning}" for key in met)


def beaten(found: pd.DataFrame) -> str:
    """How many tuned methods have a smaller equality bound than a retraining cut to the same cost; where nothing can
    be told of a method it does not count."""
    names, counted, better = overview.SCENARIO, 0, []
    for _, part in found.groupby(names):
        short = part[part["method"] == "short_retrain"]
        told = part["bound"].notna() & (part["verdict"] != "blind")
        methods = part[part["is_method"] & part["tuned"] & told]
        if short.empty or not np.isfinite(short["bound"].iloc[0]):
            continue
        counted += len(methods)
        ahead = methods[methods["bound"] < short["bound"].iloc[0]]
        better += [f"{row.method} ({overview.KINDS[row.kind]})" for row in ahead.itertuples()]
    which = f": {', '.join(better)}" if better else ""
    verb = "is" if len(better) == 1 else "are"
    return (
        f"Of {counted} tuned methods (one in one scenario), {len(better)} {verb} nearer to the retrained model by the "
        f"equality bound than `short_retrain`, a retraining cut to the same cost{which}."
    )
