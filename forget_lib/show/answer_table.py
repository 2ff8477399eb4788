"""The answers of `overview` as tables in HTML that sort and filter without a network; each number leads to its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from forget_lib.show.overview import CORE, KINDS, SCENARIO, by_kind, ranked
from forget_lib.statistics import verdict

PARTS = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "answer"), autoescape=True, undefined=StrictUndefined
)


def answer_page(kinds: pd.DataFrame, behind: str = "") -> str:
    """The answers by kind of request (`overview.by_kind`): the core methods with the placebos below a line, then all
    others folded away, with filters. A cell leads to the table of its kind, see `scenario_page`, which is on the page
    `behind` (empty: this one)."""
    names = list(dict.fromkeys(kinds["kind"]))
    heads = {kind: _head(KINDS.get(kind, kind), f"{behind}#kind-{kind}") for kind in names}
    core = kinds[kinds["method"].isin(CORE)]
    rest = kinds[~kinds["method"].isin(CORE)]
    there = set(kinds["verdict"]) - {"unsuited"}
    used = [verdict.state(key) for key in (*verdict.STATES, "mixed") if key in there]
    return PARTS.get_template("answer.html").render(
        states=used, core=_table(core, "kind", heads), rest=_table(rest, "kind", heads) if len(rest) else None
    )


def scenario_page(found: pd.DataFrame, pages: Mapping[tuple[str, str, str], list[str]]) -> str:
    """The answers by scenario (`overview.answers`), a table a kind of request, folded away.

    pages: of `show.links.pages_of`; the head of a column and its cells lead to the scenario's pages.
    """
    tables = []
    for kind, part in found.groupby("kind", sort=False):
        heads, cells = {}, []
        for scenario, rows in part.groupby(SCENARIO, sort=False):
            links = pages.get(scenario, [])
            heads[scenario] = _head(f"{scenario[0]}, {scenario[2]}", links[0] if links else "", scenario[1], links)
            cells.append(by_kind(rows).assign(scenario=[scenario] * rows["method"].nunique()))
        table = _table(pd.concat(cells, ignore_index=True), "scenario", heads)
        tables.append({"kind": kind, "name": KINDS.get(str(kind), kind), "table": table})
    return PARTS.get_template("scenarios.html").render(tables=tables)


def _head(name: str, link: str, model: str = "", pages: Sequence[str] = ()) -> dict[str, Any]:
    return {"name": name, "link": link, "model": model, "pages": pages}


def _table(found: pd.DataFrame, column: str, heads: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """What the template draws: methods by `column` ("kind" or "scenario"), the best first; placebos and reference
    models in a part of their own."""
    cells = {(row.method, getattr(row, column)): row for row in found.itertuples()}
    parts: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for name in ranked(found):
        there = [row for key in heads if (row := cells.get((name, key))) is not None]
        costs = [row.cost for row in there if pd.notna(row.cost)]
        shown = [_cell(cells.get((name, key)), head["link"]) for key, head in heads.items()]
        row = {"name": name, "cells": shown, "cost": float(np.mean(costs)) if costs else None}
        parts[there[0].placebo].append(row)
    return {"heads": list(heads.values()), "methods": parts[False], "placebos": parts[True]}


def _cell(row: Any, link: str) -> dict[str, Any] | None:
    """One method in one column; None where it was not measured or does not apply."""
    if row is None or row.verdict == "unsuited":
        return None
    state = verdict.state(row.verdict)
    background = "#ffffff" if row.placebo else state.background
    return {"state": state, "background": background, "sort": state.rank, "lines": row.lines, "link": link}
