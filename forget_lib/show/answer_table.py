"""The answers of `overview` as tables in HTML that sort and filter without a network; each number leads to its page."""

import html
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from forget_lib.show.overview import KINDS, VERDICTS, ranked

PARTS = Path(__file__).parent / "answer"


def answer_page(found: pd.DataFrame) -> str:
    """The answers by kind of request (`overview.answers`), with filters; a cell leads to the table of its kind, see
    `scenario_page`."""
    kinds = list(dict.fromkeys(found["kind"]))
    heads = {kind: html.escape(KINDS.get(kind, kind)) for kind in kinds}
    links = {kind: f"#kind-{html.escape(kind, quote=True)}" for kind in kinds}
    there = [verdict for key, verdict in VERDICTS.items() if key in set(found["verdict"])]
    legend = " ".join(
        f'<span class="verdict" style="background:{verdict.background}">{verdict.sign} {verdict.word}</span>'
        for verdict in there
    )
    options = "".join(f"<option>{verdict.word}</option>" for verdict in there)
    table = _table(found, "kind", heads, links)
    return _part("answer.html", legend=legend, options=options, table=table, style=_part("answer.css")) + _script()


def scenario_page(found: pd.DataFrame, pages: Mapping[tuple[str, str, str], list[str]]) -> str:
    """The answers by scenario (`overview.answers(table, by_scenario=True)`), a table a kind of request, folded away.

    pages: of `report.links.pages_of`; the head of a column and its cells lead to the scenario's pages.
    """
    parts = []
    for kind, part in found.groupby("kind", sort=False):
        scenarios = list(dict.fromkeys(part["scenario"]))
        first = {scenario: pages.get(scenario, [""])[0] for scenario in scenarios}
        heads = {scenario: _head(scenario, pages.get(scenario, [])) for scenario in scenarios}
        title = f"{KINDS.get(kind, kind)}: {len(scenarios)} scenario{'s' if len(scenarios) > 1 else ''}"
        parts.append(
            f'<details class="forget-answer" id="kind-{html.escape(kind, quote=True)}"><summary>{html.escape(title)}'
            f'</summary><div class="frame">{_table(part, "scenario", heads, first)}</div></details>'
        )
    return "".join(parts) + _script()


def _head(scenario: tuple[str, str, str], pages: list[str]) -> str:
    """A scenario's name with links to its pages, one a draw and seed."""
    name = html.escape(f"{scenario[0]}, {scenario[2]}")
    marks = " ".join(f'<a href="{html.escape(page, quote=True)}">{n}</a>' for n, page in enumerate(pages, 1))
    return f'{name}<br><span class="small">{html.escape(scenario[1])}{f"; pages: {marks}" if marks else ""}</span>'


def _table(found: pd.DataFrame, column: str, heads: Mapping, links: Mapping) -> str:
    """Methods by `column` ("kind" or "scenario"): a coloured cell each, the best methods first, the original on top."""
    methods = ranked(found)
    cells = {(row.method, getattr(row, column)): row for row in found.itertuples()}
    body = []
    for name in methods:
        rows = [cells.get((name, key)) for key in heads]
        shown = "".join(_cell(row, links[key]) for key, row in zip(heads, rows, strict=True))
        there = [row for row in rows if row is not None]
        costs = [row.cost for row in there if np.isfinite(row.cost)]
        cost, text = (np.mean(costs), f"{np.mean(costs):.2f}") if costs else (9e9, "–")
        title, control = html.escape(name), " (control)" if there[0].control else ""
        broken = title.replace("_", "_<wbr>")
        body.append(
            f'<tr data-name="{title}"><th scope="row" data-sort="{title}">{broken}{control}</th>{shown}'
            f'<td class="cost" data-sort="{cost:.6f}">{text}</td></tr>'
        )
    head = "".join(f'<th scope="col" tabindex="0">{text}</th>' for text in heads.values())
    return (
        f'<table><thead><tr><th scope="col" tabindex="0">method</th>{head}<th scope="col" tabindex="0">'
        f"cost<br>(retrainings)</th></tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _cell(row, link: str) -> str:
    if row is None or row.verdict in ("absent", "unsuited"):
        return '<td data-sort="99999">–</td>'
    verdict = VERDICTS[row.verdict]
    if row.verdict == "failed":
        text = f"{verdict.sign} {verdict.word}"
        return f'<td class="verdict" style="background:{verdict.background}" data-sort="99999">{text}</td>'
    several = f" ({row.agree} of {row.scenarios} scenarios)" if row.verdict == "mixed" else ""
    ends = f"({row.low:+.1f} to {row.high:+.1f})" if np.isfinite(row.low) else "(one seed)"
    numbers = f"forget {row.gap:+.1f} {ends}<br>kept {row.kept:+.1f}{several}"
    numbers += f"<br>failed in {row.failed} of {row.runs} runs" if row.failed else ""
    text = f'{verdict.sign} {verdict.word}<br><span class="small">{numbers}</span>'
    text = f'<a href="{html.escape(link, quote=True)}">{text}</a>' if link else text
    return f'<td class="verdict" style="background:{verdict.background}" data-sort="{abs(row.gap):.4f}">{text}</td>'


def _part(name: str, **values: str) -> str:
    """A file of the folder `answer` with {{name}} filled in."""
    text = (PARTS / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text


def _script() -> str:
    return f"<script>{_part('answer.js')}</script>"
