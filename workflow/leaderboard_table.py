"""The table of the leaderboard: made from records alone, with a rank and its interval for each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.paths import RESULTS

REFERENCE = RESULTS / "reference" / "leaderboard"
SCHEMA = 1
DRAWS = 2000
"""Bootstrap draws behind a rank's interval."""
Record = Mapping[str, Any]


def read_entry(path: Path) -> dict[str, Any]:
    """A record of the leaderboard.

    Raises: DataError if it cannot be read, or its gaps are not those of what it measured.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}")
        for problem in record["problems"].values():
            for run in problem["runs"]:
                wrong = run["gaps"] != gaps_of(run["measured"], run["reference"], run["status"])
                if wrong:
                    raise ValueError("its gaps are not those of what it measured; it was changed by hand")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{Path(path).name} is no record of the leaderboard: {error}. Make it again with submit."
        ) from error
    return record


def read_entries(folder: Path = REFERENCE / "records") -> list[dict[str, Any]]:
    """All records of a folder, by name."""
    return [read_entry(path) for path in sorted(Path(folder).glob("*.json"))]


def gaps_of(measured: Mapping[str, Any], references: Sequence[Mapping[str, Any]], status: str) -> dict[str, float]:
    """How far a model is from the retrained ones, by respect, each in [0, 1], 0 being as retrained.

    measured, references: what `leaderboard.measures` gave; attack and curve gaps are the largest over the attacks, and
    the mean over the steps. A method that failed has the gap 1.
    """
    if status == "failed":
        return {"failed": 1.0}
    found = {}
    for name in measured:
        target = np.mean([np.asarray(each[name], dtype=np.float64) for each in references], axis=0)
        apart = np.abs(np.asarray(measured[name], dtype=np.float64) - target)
        found[name] = round(float(apart.max() if name == "attacks" else apart.mean()), 6)
    return found


def worst_gaps(record: Record, problem: str) -> np.ndarray:
    """The largest gap of each run, float64 [runs]: a method is as far from retraining as in its worst respect."""
    return np.array([max(run["gaps"].values()) for run in record["problems"][problem]["runs"]])


def score_of(record: Record, rows: Mapping[str, np.ndarray] | None = None) -> float:
    """Mean over the problems of the mean worst gap; rows: runs by problem, for the bootstrap."""
    parts = [worst_gaps(record, problem) for problem in record["problems"]]
    chosen = [part if rows is None else part[rows[name]] for name, part in zip(record["problems"], parts, strict=True)]
    return float(np.mean([part.mean() for part in chosen]))


def ranks(records: Sequence[Record], draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Rank (1 is nearest to retraining) with its 95 % interval, by name.

    The interval redraws the seeds of each problem, the same for all methods: runs are paired.
    Raises: ForgetError for records of other problems or seeds.
    """
    if not records:
        raise ForgetError("There are no records of the leaderboard.")
    sizes = {problem: len(entry["runs"]) for problem, entry in records[0]["problems"].items()}
    for record in records:
        if {problem: len(entry["runs"]) for problem, entry in record["problems"].items()} != sizes:
            raise ForgetError(
                f"{record['method']} was run on other problems or seeds; it cannot be ranked with the others."
            )
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = {problem: generator.integers(size, size=size) for problem, size in sizes.items()}
        drawn.append([score_of(record, rows) for record in records])
    places = np.argsort(np.argsort(drawn, axis=1, kind="stable"), axis=1) + 1
    scores = np.array([score_of(record) for record in records])
    table = pd.DataFrame({"method": [record["method"] for record in records], "score": scores})
    table["rank"] = np.argsort(np.argsort(scores, kind="stable")) + 1
    table["low"], table["high"] = np.percentile(places, [2.5, 97.5], axis=0).round().astype(int)
    return table.set_index("method")


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """The table: rank with interval, score, the worst gap by problem, the mean gap, and the cost in retrainings."""
    table = ranks(records)
    rows = []
    for record in records:
        row: dict[str, Any] = {"method": record["method"], "title": record["title"]}
        for name, problem in record["problems"].items():
            row[name] = worst_gaps(record, name).mean()
            status = {run["status"] for run in problem["runs"]} - {"done"}
            row[f"{name}_note"] = ", ".join(sorted(status))
        every = [gap for p in record["problems"].values() for run in p["runs"] for gap in run["gaps"].values()]
        costs = [run["cost"] for p in record["problems"].values() for run in p["runs"] if run["cost"] is not None]
        rows.append(row | {"mean_gap": np.mean(every), "cost": np.mean(costs) if costs else np.nan})
    return table.join(pd.DataFrame(rows).set_index("method")).sort_values("rank")


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers as text, for people; an asterisk where a method did not apply and counts as doing nothing,
    two where it failed."""
    marks = {"": "", "not applicable": "*", "failed": "**"}
    problems = [name.removesuffix("_note") for name in table.columns if name.endswith("_note")]
    rows = pd.DataFrame(index=table.index)
    rows["rank"] = [f"{row['rank']} ({row['low']} to {row['high']})" for _, row in table.iterrows()]
    rows["title"] = table["title"]
    rows["score"] = table["score"].map("{:.3f}".format)
    for name in problems:
        notes = table[f"{name}_note"].map(lambda note: marks.get(note, "**"))
        rows[name] = table[name].map("{:.3f}".format) + notes
    rows["mean gap"] = table["mean_gap"].map("{:.3f}".format)
    rows["cost"] = table["cost"].map(lambda cost: "–" if np.isnan(cost) else f"{cost:.2f}")
    return rows


def write_leaderboard(records: Sequence[Record], folder: Path) -> pd.DataFrame:
    """Writes leaderboard.csv and leaderboard.tex; returns the table."""
    table = leaderboard(records)
    folder.mkdir(parents=True, exist_ok=True)
    table.round(6).to_csv(folder / "leaderboard.csv")
    write_text(folder / "leaderboard.tex", as_latex(shown(table)))
    return table


def as_latex(rows: pd.DataFrame) -> str:
    """A tabular with booktabs' rules; names are escaped."""
    plain = str.maketrans({each: f"\\{each}" for each in "&%$#_{}"} | {"–": "--", "~": r"\textasciitilde{}"})
    lines = [r"\begin{tabular}{ll" + "r" * (rows.shape[1] - 1) + "}", r"\toprule"]
    header = ["method", *rows.columns]
    for cells in [header, *([name, *row] for name, row in zip(rows.index, rows.to_numpy(), strict=True))]:
        lines.append(" & ".join(str(cell).translate(plain) for cell in cells) + r" \\")
        if cells is header:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
