"""What a folder of results/reference holds: tables made from records, and where those came from.

python benchmarks/reference.py results/quick      (writes results/reference/quick after ./run_all.sh quick)
"""

import json
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import results  # noqa: E402

REFERENCE = REPOSITORY / "results" / "reference"
COLUMNS = [
    *("dataset", "model", "request", "draw", "seed", "method", "run", "attack", "metric", "value", "low", "high", "n"),
    *("status", "reason"),
]


def cell(rows: pd.DataFrame) -> str:
    """Mean and interval of one metric of `results.summary`; empty without a value."""
    if rows.empty or rows["mean"].isna().all():
        return ""
    one = rows.iloc[0]
    return f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})" if one["n"] > 1 else f"{one['mean']:.3f}"


def records_of(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The records behind a table of `results.load`."""
    return [results.read_record(Path(folder)) for folder in runs["folder"].unique()]


def provenance(command: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Command, commits, versions, data checksums and recipes of records."""
    return {
        "command": command,
        "commits": sorted({record["commit"] for record in records}),
        "versions": records[-1]["versions"],
        "data_checksums": {record["dataset"]: record["data_checksum"] for record in records},
        "recipes": {f"{record['dataset']}-{record['model']}": record["recipe"] for record in records},
    }


def write_reference(output: Path, runs: pd.DataFrame, metrics: Collection[str], page: str, command: str) -> None:
    """Writes runs.csv (rows of these metrics), table.md and provenance.json of a table of `results.load`."""
    records = records_of(runs)
    kept = runs[runs["metric"].isin([*metrics, ""])].drop(columns=["folder", "cost_seconds"], errors="ignore")
    output.mkdir(parents=True, exist_ok=True)
    kept.to_csv(output / "runs.csv", index=False, float_format="%.5g")
    (output / "table.md").write_text(page, encoding="utf-8")
    about = provenance(command, records) | {
        "draws_and_seeds": sorted({record["seed"] for record in records}),
        "settings": {
            f"{r['dataset']}-{r['model']} {r['request']} {r['method']}": r["settings"] for r in records if r["run"] == 0
        },
    }
    (output / "provenance.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def write_profile(root: Path, output: Path) -> None:
    """The tables and the headline figure of a whole run of a profile: summary.csv, runs.csv.gz, headline.png,
    provenance.json. Accuracies by class and the shared originals are left out of the runs."""
    runs = results.load(root)
    shared = runs["request"].str.match(r"all($|-)") | runs["metric"].str.startswith("test_accuracy_of_")
    output.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "tables" / "summary.csv", output / "summary.csv")
    shutil.copy(root / "figures" / "headline.png", output / "headline.png")
    packed = {"method": "gzip", "mtime": 0}  # the same bytes whenever it is written
    runs[~shared][COLUMNS].to_csv(output / "runs.csv.gz", index=False, compression=packed)
    records = records_of(runs)
    about = provenance(f"./run_all.sh {root.name}", records) | {"records": len(records)}
    (output / "provenance.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_profile(folder, REFERENCE / folder.name)
