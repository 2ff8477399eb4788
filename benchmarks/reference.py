"""What a folder of results/reference holds: tables made from records, the records themselves, and where they came from.

    python benchmarks/reference.py results/study [--parts mnist faces] [--runs 3]

writes results/reference/study: summary.csv and runs.csv.gz (DESIGN's columns), records.jsonl.gz (every run.json),
figures (`reference_figures`), a choice of the pages (`reference_pages`), MANIFEST.json, README.md and index.html. A run
not at its end gives what is there, and the manifest names what is missing; the same records give the same bytes.
"""

import argparse
import gzip
import hashlib
import json
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks import reference_pages as pages  # noqa: E402
from benchmarks.reference_figures import write_figures  # noqa: E402
from forget_lib.core.errors import (  # noqa: E402
    ForgetError,
    unknown,
)
from forget_lib.core.files import read_notebook  # noqa: E402
from forget_lib.datasets.requests import parse_request  # noqa: E402
from forget_lib.statistics import measurement  # noqa: E402
from forget_lib.study import records as results  # noqa: E402
from forget_lib.study import variance  # noqa: E402
from workflow.config_check import read_config  # noqa: E402
from workflow.plan import Job, first_runs, planned  # noqa: E402

REFERENCE = REPOSITORY / "results" / "reference"
COLUMNS = [
    *("dataset", "model", "request", "draw", "seed", "method", "run"),
    *("attack", "metric", "item", "value", "low", "high", "n", "status", "reason"),
    *("kind", "share", "drawn", "forgotten", "error", "null_error", "tuned"),
]
RECORDS, RUNS, MANIFEST = "records.jsonl.gz", "runs.csv.gz", "MANIFEST.json"
LARGE = 2_000_000
"""Bytes from which summary.csv is packed."""
DROPPED = ("files", "digest")
"""Of a record: checksums of files that do not come along, and that of the whole, which then no longer fits."""


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
    kept = runs[runs["metric"].isin([*metrics, ""])].drop(
        columns=["folder", "cost_seconds", "cost_wall_seconds"], errors="ignore"
    )
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


# --- records ----------------------------------------------------------------------------------------------------------


def collect(root: Path) -> list[dict[str, Any]]:
    """Every record of a profile without `DROPPED` and without the folders of this machine, which a reason may name;
    `place` is "variance" for those of the crossed study, else empty."""
    found = []
    for place in ("", variance.FOLDER):
        for folder in results.record_folders(root / place):
            run = results.read_record(folder)
            if run is not None:
                kept = {key: value for key, value in run.items() if key not in DROPPED}
                found.append({"place": place} | json.loads(pages.without_folders(json.dumps(kept), root)))
    return found


def packed(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Records as lines of JSON, gzip; the same bytes whenever they are written."""
    lines = [json.dumps(record, sort_keys=True, separators=(",", ":")) for record in records]
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a records.jsonl.gz."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def tables(records: Iterable[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """`summary` and `runs` of records, as the library makes them; accuracies by class and the shared originals are
    left out of the runs, records of the crossed study of both."""
    table = results.tidy(("", record) for record in records if not record["place"])
    shared = table["request"].str.match(r"all($|-)") | (table["metric"] == "class_accuracy")
    return {"summary": results.summary(table), "runs": table[~shared].reindex(columns=COLUMNS).reset_index(drop=True)}


def _with_old_ends(made: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """A summary made anew, with the ends as written where those cannot be or were cut at what can be: tables written
    before such ends were moved inside (`statistics.possible_ends`) stay as they are."""
    if "oracle" not in made or len(made) != len(written):
        return made
    ranges = np.array(
        [measurement.range_of(*pair) for pair in zip(made["metric"], made["unit"].fillna(""), strict=True)]
    )
    low, high = written["low"] <= ranges[:, 0], written["high"] >= ranges[:, 1]
    return made.assign(low=made["low"].mask(low, written["low"]), high=made["high"].mask(high, written["high"]))


def differences(folder: Path) -> list[str]:
    """What in a folder of the reference is not as its manifest and its records say; empty for a whole one."""
    told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = [f"{name} is not in the manifest" for name in sorted(set(there) - set(told) - {MANIFEST})]
    found += [f"{name} is missing" for name in sorted(set(told) - set(there))]
    found += [f"{name} is not the file of the manifest" for name in sorted(set(told) & set(there))
              if _sha256(there[name]) != told[name]["sha256"]]  # fmt: skip
    for name, made in tables(read_records(folder / RECORDS)).items():
        written = pd.read_csv(next(folder.glob(f"{name}.csv*")), dtype={"item": str}, low_memory=False)
        made = made[written.columns]  # tables written before a column was added lack it
        again = _with_old_ends(made.replace({"": float("nan"), None: float("nan")}), written)
        try:
            pd.testing.assert_frame_equal(written, again, check_dtype=False, rtol=1e-9, atol=1e-12)
        except AssertionError as error:
            found.append(f"{name} does not follow from the records: {error}")
    return found


# --- parts of a profile -----------------------------------------------------------------------------------------------


def config_of(root: Path) -> Path | None:
    """The config of a results folder: of the checkout that it lies in, else of this one; None for no profile."""
    places = (root.resolve().parent.parent, REPOSITORY)
    paths = [place / "workflow" / "config" / f"{root.resolve().name}.yaml" for place in places]
    return next((path for path in paths if path.is_file()), None)


def of_parts(records: Iterable[dict[str, Any]], jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """The records that jobs of the parts asked for make or read: by data set, model, and request or pool."""
    requests: set[tuple[str, str, str]] = set()
    pools, crossed = [], set()
    for given in (job.parameters for job in jobs if "dataset" in job.parameters and "model" in job.parameters):
        net = (given["dataset"], given["model"])
        if given.get("request"):
            requests.add((*net, parse_request(given["request"]).name))
        if given.get("pool"):
            pools.append((net, given["pool"]))
        if given.get("variance"):
            crossed.add(net)
    nets = {name[:2] for name in requests}

    def wanted(record: Mapping[str, Any]) -> bool:
        net = (record["dataset"], record["model"])
        if record["place"]:
            return net in crossed
        if record.get("kind"):
            return (net, record.get("pool")) in pools
        return (*net, record["request"]) in requests or (net in nets and record["request"].split("-")[0] == "all")

    return [record for record in records if wanted(record)]


def coverage(root: Path, jobs: Mapping[str, Job], parts: Collection[str]) -> dict[str, Any]:
    """By scenario of the config: pages planned and done, the names of those missing, and whether it is in here."""
    found: dict[str, Any] = {}
    for key, job in jobs.items():
        if not job.part:
            continue
        one = found.setdefault(job.part, {"planned": 0, "done": 0, "missing": []})
        one["planned"] += 1
        if (root / "notebooks" / f"{key}.ipynb").is_file():
            one["done"] += 1
        else:
            one["missing"].append(key)
    return {part: {"included": not parts or part in parts} | one for part, one in found.items()}


def notebook_seconds(root: Path, jobs: Iterable[str]) -> float:
    """Wall seconds of the executed notebooks of these jobs together: training, evaluation, attacks and figures."""
    executed = [path for key in jobs if (path := root / "notebooks" / f"{key}.ipynb").is_file()]
    told = [read_notebook(path)["metadata"].get("papermill", {}).get("duration") for path in executed]
    return round(sum(seconds for seconds in told if isinstance(seconds, int | float)), 1)


# --- the folder -------------------------------------------------------------------------------------------------------


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _one_or_all(values: Iterable[Any]) -> Any:
    """The value that all share, or the sorted list of different ones."""
    several = sorted({json.dumps(value, sort_keys=True) for value in values})
    return json.loads(several[0]) if len(several) == 1 else [json.loads(value) for value in several]


def manifest(records: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    """What MANIFEST.json says of records; about: what is known beside them.

    commits: records by commit; changed: how many were made with changes that were not committed. Where a run goes on
    after a commit that a record does not depend on, the record stays, with the older one.
    """
    commits = Counter(record["commit"].removesuffix("+changed") for record in records)
    written = sorted(record["written"] for record in records if "written" in record)
    counted = Counter(record["status"] for record in records)
    units: dict[str, set[tuple[int, int]]] = {}
    for record in records:
        if not record["place"] and record["request"].split("-")[0] != "all":
            name = f"{record['dataset']}-{record['model']}/{record['request']}"
            units.setdefault(name, set()).add((record["draw"], record["seed"]))
    seconds, passes = (
        sum((record.get("cost") or {}).get(key, 0) for record in records) for key in ("seconds", "sample_passes")
    )
    return {
        **about,
        "commits": dict(sorted(commits.items())),
        "changed": sum(record["commit"].endswith("+changed") for record in records),
        "versions": _one_or_all(record["versions"] for record in records),
        "written": {"first": written[0], "last": written[-1]} if written else {},
        "training_seconds": round(seconds, 1),
        "sample_passes": passes,
        "records": {"all": len(records), **dict(sorted(counted.items()))},
        "draws_and_seeds": {name: len(pairs) for name, pairs in sorted(units.items())},
        "data": {
            name: _one_or_all(
                {key: record.get(key) for key in ("source", "data_checksum", "synthetic", "sampled")}
                for record in records
                if record["dataset"] == name
            )
            for name in sorted({record["dataset"] for record in records})
        },
        "recipes": {
            name: _one_or_all(r["recipe"] for r in records if f"{r['dataset']}-{r['model']}" == name)
            for name in sorted({f"{record['dataset']}-{record['model']}" for record in records})
        },
    }


def write_profile(
    root: Path, output: Path, parts: Collection[str] = (), runs: int | None = None, megabytes: float = 30
) -> None:
    """The reference of a run of a profile, whole or not at its end: everything that the text above names.

    Args: parts: scenarios of the config, all of them by default. runs: the number that the run was started with.
        megabytes: limit of the pages; what is left out stands in the manifest.
    Raises: ForgetError where there is nothing, or for a part that the config does not have.
    """
    config = config_of(root)
    jobs = planned(config, runs=runs) if config else {}
    for part in parts:
        if part not in {job.part for job in jobs.values()} - {""}:
            raise unknown("part of the study", part, {job.part for job in jobs.values()} - {""})
    asked = {key: job for key, job in jobs.items() if not parts or job.part in parts or not job.part}
    records = collect(root)
    records = of_parts(records, asked.values()) if parts else records
    if not records:
        raise ForgetError(f"No records under {root}{' of these parts' if parts else ''}. Run the study first.")
    partial = output.with_name(f".{output.name}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / RECORDS).write_bytes(packed(records))
    made = tables(records)
    text = made["summary"].to_csv(index=False).encode()
    name, text = ("summary.csv.gz", gzip.compress(text, mtime=0)) if len(text) > LARGE else ("summary.csv", text)
    (partial / name).write_bytes(text)
    (partial / RUNS).write_bytes(gzip.compress(made["runs"].to_csv(index=False).encode(), mtime=0))
    crossed = results.tidy(("", record) for record in records if record["place"])
    write_figures(root, partial, results.tidy(("", record) for record in records if not record["place"]), crossed)
    told = pages.copy_pages(root, partial, asked, int(megabytes * 1e6))
    command = " ".join(["./run_all.sh", root.resolve().name, *parts, *(["--runs", str(runs)] if runs else [])])
    given = first_runs(read_config(config, runs)).model_dump(exclude_unset=True) if config else {}
    about = {"profile": root.resolve().name, "command": command, "scenarios": coverage(root, jobs, parts)}
    about["notebook_seconds"] = notebook_seconds(root, asked)
    machine = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()}
    about = manifest(records, about) | told | {"machine": machine, "config": given}
    pages.write_readme(partial, about)
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    about["files"] = {
        path.relative_to(partial).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files
    }
    (partial / MANIFEST).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="results/PROFILE")
    parser.add_argument("--output", type=Path, help="default: results/reference/PROFILE")
    parser.add_argument("--parts", nargs="+", default=[], help="scenarios of the config; default: all that is there")
    parser.add_argument("--runs", type=int, help="as given to ./run_all.sh")
    parser.add_argument("--megabytes", type=float, default=30, help="limit of the pages, all of them together")
    given = parser.parse_args(arguments)
    output = given.output or REFERENCE / given.root.resolve().name
    write_profile(given.root, output, given.parts, given.runs, given.megabytes)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except ForgetError as mistake:
        sys.exit(str(mistake))
