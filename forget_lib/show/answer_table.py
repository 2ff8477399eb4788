"""The answers of `overview` as tables in HTML that sort and filter without a network; each number leads to its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from forget_lib.show.overview import KINDS, VERDICTS, ranked

PARTS = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "answer"), autoescape=True, undefined=StrictUndefined
)


def answer_page(found: pd.DataFrame, behind: str = "") -> str:
    """The answers by kind of request (`overview.answers`), with filters; a cell leads to the table of its kind, see
    `scenario_page`, which is on the page `behind` (empty: this one)."""
    kinds = list(dict.fromkeys(found["kind"]))
    heads = {kind: _head(KINDS.get(kind, kind), f"{behind}#kind-{kind}") for kind in kinds}
    verdicts = [verdict for key, verdict in VERDICTS.items() if key in set(found["verdict"])]
    return PARTS.get_template("answer.html").render(verdicts=verdicts, table=_table(found, "kind", heads))


def scenario_page(found: pd.DataFrame, pages: Mapping[tuple[str, str, str], list[str]]) -> str:
    """The answers by scenario (`overview.answers(table, by_scenario=True)`), a table a kind of request, folded away.

    pages: of `show.links.pages_of`; the head of a column and its cells lead to the scenario's pages.
    """
    tables = []
    for kind, part in found.groupby("kind", sort=False):
        heads = {}
        for scenario in dict.fromkeys(part["scenario"]):
            links = pages.get(scenario, [])
            name = f"{scenario[0]}, {scenario[2]}"
            heads[scenario] = _head(name, links[0] if links else "", scenario[1], links)
        tables.append({"kind": kind, "name": KINDS.get(kind, kind), "table": _table(part, "scenario", heads)})
    return PARTS.get_template("scenarios.html").render(tables=tables)


def _head(name: str, link: str, model: str = "", pages: Sequence[str] = ()) -> dict[str, Any]:
    return {"name": name, "link": link, "model": model, "pages": pages}


def _table(found: pd.DataFrame, column: str, heads: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """What the template draws: methods by `column` ("kind" or "scenario"), the original on top, then the best."""
    cells = {(row.method, getattr(row, column)): row for row in found.itertuples()}
    rows = []
    for name in ranked(found):
        measured = [cells.get((name, key)) for key in heads]
        there = [row for row in measured if row is not None]
        costs = [row.cost for row in there if np.isfinite(row.cost)]
        shown = [_cell(row, head["link"]) for row, head in zip(measured, heads.values(), strict=True)]
        cost = float(np.mean(costs)) if costs else None
        rows.append({"name": name, "control": there[0].control, "cells": shown, "cost": cost})
    return {"heads": list(heads.values()), "rows": rows}


def _cell(row: Any, link: str) -> dict[str, Any] | None:
    """One method in one column; None where it was not measured or does not apply."""
    if row is None or row.verdict in ("absent", "unsuited"):
        return None
    verdict = VERDICTS[row.verdict]
    if row.verdict == "failed":
        return {"verdict": verdict, "sort": "99999", "lines": [], "link": ""}
    ends = f"({row.low:+.1f} to {row.high:+.1f})" if np.isfinite(row.low) else "(one seed)"
    several = f" ({row.agree} of {row.scenarios} scenarios)" if row.verdict == "mixed" else ""
    lines = [f"forget {row.gap:+.1f} {ends}", f"kept {row.kept:+.1f}{several}"]
    if row.failed:
        lines.append(f"failed in {row.failed} of {row.runs} runs")
    return {"verdict": verdict, "sort": f"{abs(row.gap):.4f}", "lines": lines, "link": link}
