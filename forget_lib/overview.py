"""The answer on one screen: which method does what retraining does, by kind of request, and which one to use.

A verdict is a word, a sign and a colour, so that none of the three is needed alone. It follows from the records.
"""

from __future__ import annotations

import html
from typing import NamedTuple

import numpy as np
import pandas as pd

from forget_lib.findings import CONTROLS, MARGIN, has_power, is_near, kept_metric, paired_gap, relearning_sentences
from forget_lib.results import summary
from forget_lib.statistics import t_interval
from forget_lib.unlearning import METHODS

KINDS = {
    "class": "a whole class", "random": "random samples", "mislabelled": "wrong labels", "person": "a person",
    "family": "a family", "indices": "chosen samples", "recogniser": "a person in a face recogniser",
}  # fmt: skip
STRONG = ("rmia", "lira", "u_lira")


class Verdict(NamedTuple):
    """sign, word, colours of cell and text (contrast over 4.5), rank (0: best)."""

    sign: str
    word: str
    background: str
    rank: int


VERDICTS = {
    "good": Verdict("●", "as retrained", "#9ad1f5", 0),
    "utility": Verdict("▼", "loses utility", "#f6d78b", 1),
    "much": Verdict("◆", "forgets too much", "#f6d78b", 2),
    "little": Verdict("▲", "still knows it", "#f3b08a", 3),
    "unknown": Verdict("○", "accuracy cannot tell", "#dddddd", 4),
    "failed": Verdict("–", "not measured", "#eeeeee", 5),
}


def kind_of(part: pd.DataFrame) -> str:
    """Kind of request of one scenario: a key of `KINDS`; the classes of a face recogniser are people."""
    kind = str(part["request"].iloc[0]).split("-")[0]
    return "recogniser" if kind == "class" and (part["attack"] == "reidentification").any() else kind


def answers(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method and kind of request: method, kind, verdict (key of `VERDICTS`), gap, low, high (of forget
    accuracy, points), kept (points, gap of what is kept), cost, n (seeds), control, scenarios.

    Gaps are averaged over the scenarios of a kind draw by draw and seed by seed, then over those, with a t-interval.
    """
    rows = []
    parts = [part for _, part in table.groupby(["dataset", "model", "request"], sort=True)]
    parts = [part for part in parts if {"retrain", "original"} <= set(part["method"])]
    for kind in dict.fromkeys(kind_of(part) for part in parts):
        chosen = [part for part in parts if kind_of(part) == kind]
        blind = all(is_near(part, "original")[0] for part in chosen)
        methods = dict.fromkeys(name for part in chosen for name in part["method"])
        for name in methods:
            if name in CONTROLS and name != "original":
                continue
            there = [part for part in chosen if name in set(part.loc[part["metric"] != "", "method"])]
            forget = _by_seed(there, name, "forget_accuracy")
            kept = _by_seed(there, name, None)
            rows.append({"method": name, "kind": kind, **_row(forget, kept, blind, there, name)})
    return pd.DataFrame(rows)


def _by_seed(parts: list[pd.DataFrame], method: str, metric: str | None) -> np.ndarray:
    """Gaps in points, averaged over scenarios position by position (draw and seed in order)."""
    gaps = [100 * paired_gap(part, method, metric or kept_metric(part)) for part in parts]
    shortest = min((len(gap) for gap in gaps), default=0)
    return np.mean([gap[:shortest] for gap in gaps], axis=0) if shortest else np.array([])


def _row(forget: np.ndarray, kept: np.ndarray, blind: bool, parts: list[pd.DataFrame], name: str) -> dict[str, object]:
    found: dict[str, object] = {"control": name == "original" or (name in METHODS and METHODS[name].control)}
    found |= {"n": len(forget), "scenarios": len(parts), "cost": _cost(parts, name)}
    if not len(forget):
        return found | {"verdict": "failed", "gap": np.nan, "low": np.nan, "high": np.nan, "kept": np.nan}
    interval = t_interval(forget) if len(forget) > 1 else None
    low, high = (interval.low, interval.high) if interval else (np.nan, np.nan)
    gap, lost, margin = float(forget.mean()), -float(kept.mean()), 100 * MARGIN
    verdict = "little" if gap > margin else "much" if gap < -margin else "utility" if lost > margin else "good"
    if blind and verdict == "good":
        verdict = "unknown"
    return found | {"verdict": verdict, "gap": gap, "low": low, "high": high, "kept": -lost}


def _cost(parts: list[pd.DataFrame], name: str) -> float:
    values = [part.loc[(part["method"] == name) & (part["metric"] == "relative_cost"), "value"] for part in parts]
    return float(pd.concat(values).mean()) if values and len(pd.concat(values)) else np.nan


def answer_page(found: pd.DataFrame) -> str:
    """The answers as one HTML table with a filter and columns that sort, by a short script; nothing is fetched."""
    kinds = list(dict.fromkeys(found["kind"]))
    methods = sorted(dict.fromkeys(found["method"]), key=lambda name: (name != "original", _rank(found, name)))
    head = "".join(f"<th tabindex=0>{html.escape(KINDS.get(kind, kind))}</th>" for kind in kinds)
    cells = found.set_index(["method", "kind"])
    body = []
    for name in methods:
        row = "".join(_cell(cells.loc[(name, kind)] if (name, kind) in cells.index else None) for kind in kinds)
        control = " (control)" if bool(found.loc[found["method"] == name, "control"].iloc[0]) else ""
        costs = found.loc[found["method"] == name, "cost"].dropna()
        cost = (costs.mean(), f"{costs.mean():.2f}") if len(costs) else (9e9, "–")
        body.append(
            f'<tr data-name="{html.escape(name)}"><th scope=row data-sort="{html.escape(name)}">{html.escape(name)}'
            f'{control}</th>{row}<td data-sort="{cost[0]:.6f}">{cost[1]}</td></tr>'
        )
    legend = " ".join(
        f'<span style="background:{v.background};color:#111;padding:1px 6px">{v.sign} {v.word}</span>'
        for v in VERDICTS.values()
        if v.word in {VERDICTS[key].word for key in found["verdict"]}
    )
    options = "".join(f"<option>{VERDICTS[key].word}</option>" for key in VERDICTS if key in set(found["verdict"]))
    return PAGE.format(head=head, body="".join(body), legend=legend, options=options)


def _rank(found: pd.DataFrame, name: str) -> float:
    return float(found.loc[found["method"] == name, "verdict"].map(lambda key: VERDICTS[key].rank).mean())


def _cell(row: pd.Series | None) -> str:
    if row is None or row["verdict"] == "failed":
        return '<td data-sort="99999">–</td>'
    verdict = VERDICTS[row["verdict"]]
    ends = f" ({row['low']:+.1f} to {row['high']:+.1f})" if np.isfinite(row["low"]) else " (one seed)"
    text = f"{verdict.sign} {verdict.word}<br><small>forget {row['gap']:+.1f}{ends}; kept {row['kept']:+.1f}</small>"
    return f'<td style="background:{verdict.background};color:#111" data-sort="{abs(row["gap"]):.4f}">{text}</td>'


PAGE = """<div class="forget-answer"><p>{legend}</p>
<p><label>Method <input type="search" placeholder="part of a name"></label>
<label>Verdict <select><option value="">any</option>{options}</select></label> Click a heading to sort.</p>
<div style="overflow-x:auto"><table><thead>
<tr><th tabindex=0>method</th>{head}<th tabindex=0>cost (retrainings)</th></tr>
</thead><tbody>{body}</tbody></table></div></div>
<script>
document.querySelectorAll(".forget-answer").forEach(function (box) {{
  var table = box.querySelector("tbody"), name = box.querySelector("input"), verdict = box.querySelector("select");
  function filter() {{
    for (var row of table.rows) {{
      row.hidden = row.dataset.name.indexOf(name.value.trim().toLowerCase()) < 0 ||
        row.textContent.indexOf(verdict.value) < 0;
    }}
  }}
  name.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
  box.querySelectorAll("thead th").forEach(function (head, column) {{
    var down = true;
    head.style.cursor = "pointer";
    function sort() {{
      var rows = Array.from(table.rows), key = function (row) {{ return row.cells[column].dataset.sort; }};
      rows.sort(function (a, b) {{ return column ? key(a) - key(b) : key(a).localeCompare(key(b)); }});
      if (!down) {{ rows.reverse(); }}
      down = !down;
      rows.forEach(function (row) {{ table.appendChild(row); }});
    }}
    head.addEventListener("click", sort);
    head.addEventListener("keydown", function (event) {{ if (event.key === "Enter") {{ sort(); }} }});
  }});
}});
</script>"""


def advice(table: pd.DataFrame, pooled: pd.DataFrame | None = None) -> list[str]:
    """Which method to use for each kind of request: the cheapest that does as retraining does, or that none does.

    pooled: rows of strong attacks (`pooled.table_of`), where there are any with power: methods that they find are
    named, since accuracy does not show it. Controls are never advised.
    """
    found = answers(table)
    lines = []
    for kind in dict.fromkeys(found["kind"]):
        part = found[(found["kind"] == kind) & ~found["control"]]
        good = part[part["verdict"] == "good"].sort_values("cost")
        title = KINDS.get(kind, kind)
        if len(good):
            best = good.iloc[0]
            rest = ", ".join(good["method"].iloc[1:4])
            text = f"**{title}**: {best['method']}, at {best['cost']:.2f} retrainings, the cheapest that does as "
            text += f"retraining does (kept: {best['kept']:+.1f} points)"
            lines.append(f"{text}{f'; also {rest}' if rest else ''}.")
        elif (part["verdict"] == "unknown").any():
            lines.append(
                f"**{title}**: accuracy cannot tell, since the untouched original is near the retrained model too."
            )
        else:
            lines.append(f"**{title}**: no method here does as retraining does; retrain.")
    told = _told(pooled) if pooled is not None and len(pooled) else None
    if told is not None:
        names, clean = told
        text = "**Where an attacker with reference models is feared** (single samples, a net that memorises): "
        text += f"told from a net that never saw the data: {', '.join(names) or 'none'}; "
        lines.append(f"{text}not told: {', '.join(clean) or 'none'}.")
    return lines


def _told(pooled: pd.DataFrame) -> tuple[list[str], list[str]] | None:
    """Methods that a strong attack tells (Holm over methods and attacks), and those that none does; None: no power."""
    from forget_lib.membership_views import ALPHA, adjusted
    from forget_lib.membership_views import has_power as attack_has_power

    if not attack_has_power(pooled):
        return None
    areas = adjusted(pooled)
    strong = areas[areas["attack"].isin(STRONG)]
    strong = strong[[name in METHODS and not METHODS[name].control for name in strong["method"]]]
    outside = ((strong["low"] > 0.5) | (strong["high"] < 0.5)) & (strong["p_holm"] <= ALPHA)
    names = list(dict.fromkeys(strong.loc[outside, "method"]))
    return names, [name for name in dict.fromkeys(strong["method"]) if name not in names]


def relearning_notes(table: pd.DataFrame) -> list[str]:
    """For each scenario with the relearning attack: who relearns sooner than a retrained model; accuracy hides it."""
    found = []
    for names, part in table.groupby(["dataset", "model", "request"], sort=True):
        lines = relearning_sentences(part)
        found += [f"**{', '.join(names)}**: {lines[0]}"] if lines else []
    return found


def power_notes(table: pd.DataFrame) -> list[str]:
    """Scenarios in which the attack cannot find even the original, so that no ranking by it can be read."""
    found = []
    for names, part in table.groupby(["dataset", "model", "request"], sort=True):
        if has_power(part) is False:
            means = summary(part[(part["attack"] == "loss_regression") & (part["metric"] == "auc")])
            value = means.set_index("method")["mean"]["original"]
            found.append(
                f"**{', '.join(names)}**: the original's AUC is {value:.3f}: **no ranking can be read** there."
            )
    return found
