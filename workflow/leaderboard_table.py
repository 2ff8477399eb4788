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
from forget_lib.statistics import verdict

REFERENCE = RESULTS / "reference" / "leaderboard"
SCHEMA = 1
DRAWS = 2000
"""Bootstrap draws behind a rank's interval."""
MARKS = {"": "", "not applicable": "*"}
MEASURES = {"forget": verdict.FORGET, "test": verdict.KEPT, "attacks": verdict.MEASURES[1]}
"""What the verdict goes by; the other respects have no margin that was fixed before looking."""
Record = Mapping[str, Any]


def read_entry(path: Path) -> dict[str, Any]:
    """A record of the leaderboard.

    Raises: DataError if it cannot be read, or its gaps are not those of what it measured.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}")
        runs = [run for problem in record["problems"].values() for run in problem["runs"]]
        if any(run["gaps"] != gaps_of(run["measured"], run["reference"], run["status"]) for run in runs):
            raise ValueError("its gaps are not those of what it measured; it was changed by hand")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        words = f"{Path(path).name} is no record of the leaderboard: {error}. Make it again with submit."
        raise DataError(words) from error
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


def worst_gaps(record: Record) -> dict[str, np.ndarray]:
    """The largest gap of each run, float64 [runs], by problem: a method is as far from retraining as in its worst
    respect."""
    problems = record["problems"].items()
    return {name: np.array([max(run["gaps"].values()) for run in problem["runs"]]) for name, problem in problems}


def score_of(worst: Mapping[str, np.ndarray]) -> float:
    """Mean over the problems of the mean worst gap."""
    return float(np.mean([part.mean() for part in worst.values()]))


def ranks(records: Sequence[Record], draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Score, and rank (1 is nearest to retraining) with its 95 % interval, by method.

    The interval redraws the seeds of each problem, the same for all methods: runs are paired.
    Raises: ForgetError for records of other problems or seeds.
    """
    worst = {record["method"]: worst_gaps(record) for record in records}
    if not worst:
        raise ForgetError("There are no records of the leaderboard.")
    sizes = [{problem: len(gaps) for problem, gaps in each.items()} for each in worst.values()]
    for name, given in zip(worst, sizes, strict=True):
        if given != sizes[0]:
            raise ForgetError(f"{name} was run on other problems or seeds; it cannot be ranked with the others.")
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = {problem: generator.integers(size, size=size) for problem, size in sizes[0].items()}
        again = [{problem: gaps[rows[problem]] for problem, gaps in each.items()} for each in worst.values()]
        drawn.append(list(map(score_of, again)))
    table = pd.DataFrame({"score": {name: score_of(each) for name, each in worst.items()}}).rename_axis("method")
    table["rank"] = table["score"].rank(method="first").astype(int)
    places = pd.DataFrame(drawn).rank(axis=1, method="first")
    table["low"], table["high"] = np.percentile(places, [2.5, 97.5], axis=0).round().astype(int)
    return table


def verdicts(records: Sequence[Record], problem: str) -> pd.Series:
    """The verdict (key of `verdict.STATES`) on each method of one problem, by the rule of the whole study: the first
    reference is the retrained model, and `retrain` itself, trained with a third seed, is the second one."""
    rows = []
    for record in records:
        name = "second_retrain" if record["method"] == "retrain" else record["method"]
        for run in record["problems"][problem]["runs"]:
            rows += _values(name, run["measured"], run)
            rows += _values("retrain", run["reference"][0], run | {"status": "done"})
    part = pd.DataFrame(rows).drop_duplicates().assign(request=record["problems"][problem]["request"])
    return verdict.verdicts(part)["verdict"].rename({"second_retrain": "retrain"})


def _values(method: str, measured: Mapping[str, Any], run: Mapping[str, Any]) -> list[dict[str, Any]]:
    same = {"method": method, "draw": run["draw"], "seed": run["seed"], "status": run["status"], "n": np.nan}
    values = {name: np.atleast_1d(measured.get(name, np.nan))[0] for name in MEASURES}
    return [
        same | {"metric": MEASURES[name].metric, "attack": MEASURES[name].attack, "value": float(value)}
        for name, value in values.items()
    ]


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """The table: rank with interval, score, the worst gap and the verdict by problem, the mean gap, and the cost in
    retrainings."""
    rows = {}
    judged = {name: verdicts(records, name) for name in worst_gaps(records[0])} if records else {}
    for record in records:
        row: dict[str, Any] = {"title": record["title"]}
        for name, gaps in worst_gaps(record).items():
            row[name] = gaps.mean()
            status = {run["status"] for run in record["problems"][name]["runs"]} - {"done"}
            row[f"{name}_note"] = ", ".join(sorted(status))
            row[f"{name}_verdict"] = judged[name][record["method"]]
        runs = [run for problem in record["problems"].values() for run in problem["runs"]]
        row["mean_gap"] = np.mean([gap for run in runs for gap in run["gaps"].values()])
        costs = [run["cost"] for run in runs if run["cost"] is not None]
        row["cost"] = np.mean(costs) if costs else np.nan
        rows[record["method"]] = row
    return ranks(records).join(pd.DataFrame.from_dict(rows, orient="index")).sort_values("rank")


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers as text, for people; an asterisk where a method did not apply and counts as doing nothing,
    two where it failed."""
    places = [f"{row.rank} ({row.low} to {row.high})" for row in table.itertuples()]
    rows = pd.DataFrame({"rank": places, "title": table["title"], "score": table["score"].map("{:.3f}".format)})
    for notes in table.columns[table.columns.str.endswith("_note")]:
        name = notes.removesuffix("_note")
        rows[name] = table[name].map("{:.3f}".format) + table[notes].map(lambda note: MARKS.get(note, "**"))
        rows[f"{name}: verdict"] = [verdict.STATES[key].word for key in table[f"{name}_verdict"]]
    rows["mean gap"] = table["mean_gap"].map("{:.3f}".format)
    rows["cost"] = table["cost"].map("{:.2f}".format).replace("nan", "–")
    return rows


def write_leaderboard(records: Sequence[Record], folder: Path) -> pd.DataFrame:
    """Writes leaderboard.csv and leaderboard.tex; returns the table."""
    table = leaderboard(records)
    rows = shown(table).replace("–", "--").reset_index()
    left = ("method", "rank")
    columns = "".join("l" if name in left or name.endswith("verdict") else "r" for name in rows.columns)
    write_text(folder / "leaderboard.csv", table.round(6).to_csv())
    write_text(folder / "leaderboard.tex", rows.to_latex(index=False, escape=True, column_format=columns))
    return table
