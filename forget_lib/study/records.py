"""The record of a run on disk: written atomically, read as one tidy table.

<root>/<dataset>-<model>/<request>/draw<d>/seed<i>/<method>/run<j>/{run.json, history.csv, predictions.npz,
model.safetensors}
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor

from forget_lib.core.cell_code import cell_digest, is_of_a_cell
from forget_lib.core.errors import ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.names import short_name
from forget_lib.core.paths import REPOSITORY, RESULTS
from forget_lib.core.user_code import source_hash
from forget_lib.statistics.intervals import possible_ends
from forget_lib.statistics.measurement import Measurement, range_of
from forget_lib.study.chosen import NOT_TUNED, NOTHING_TO_TUNE

SCHEMA = 2
LIBRARY = __name__.split(".")[0]
RUN = ["dataset", "model", "request", "draw", "seed"]
"""Columns that say which run of which scenario a row is of."""
KEYS = [*RUN, "method", "run"]
OF_POOLS: dict[str, Any] = {"kind": "", "share": np.nan, "drawn": "", "forgotten": np.nan}
"""What only records of a pooled study say of themselves, and what stands in the table for the others."""
FIELDS: Mapping[str, type] = {"measurements": list, "cost": dict, "facts": dict, "files": dict}
"""What run.json holds under these keys, where it has them; the rest is the writer's own."""
MADE_AGAIN = "delete the folder and run again"


def key_of(**parts: Any) -> str:
    """SHA-256 (hex) of named parts: a record is up to date if its key is the same."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def code_of(entry: Any) -> int | str:
    """What stands for the code of a registered method or attack in a key: the `version` that it states, so that moving
    or rewording it makes no record stale; for the user's own a digest of their files, or of the notebook's cell."""
    function = entry.function
    if is_of_a_cell(function):
        return cell_digest(function)
    if function.__module__.split(".")[0] == LIBRARY:
        return entry.version
    return source_hash(function.__module__)


def up_to_date(folder: Path, key: str) -> dict[str, Any] | None:
    """run.json of a record that was made with this key, or None."""
    run = read_record(folder)
    return run if run is not None and run["key"] == key else None


def record_folder(root: Path, **keys: Any) -> Path:
    """Folder of one record under `root`; keys: dataset, model, request, draw, seed, method, run."""
    base = Path(root) / f"{short_name(keys['dataset'])}-{short_name(keys['model'])}" / keys["request"]
    return base / f"draw{keys['draw']}" / f"seed{keys['seed']}" / keys["method"] / f"run{keys['run']}"


def write_record(
    folder: Path,
    run: Mapping[str, Any],
    *,
    history: pd.DataFrame | None = None,
    predictions: Mapping[str, np.ndarray] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes a record (`run` into run.json) so that a reader finds either all of it or none of it.

    Raises: TypeError for content that `read_record` would not take; ForgetError if the folder cannot be written. An
        older record stays as it was.
    """
    wrong = _wrong_fields(run)
    if wrong:
        raise TypeError(f"A record cannot hold {wrong}.")
    folder = Path(folder)
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        if history is not None:
            history.to_csv(partial / "history.csv", index=False)
        if predictions is not None:
            np.savez_compressed(partial / "predictions.npz", **predictions)  # type: ignore[arg-type]  # names are ours
        if state is not None:
            save_file({name: _apart(tensor) for name, tensor in state.items()}, partial / "model.safetensors")
        files = {path.name: _file_digest(path) for path in sorted(partial.iterdir())}
        content = {"schema": SCHEMA, **run, "files": files}
        content["digest"] = _digest(content)
        (partial / "run.json").write_text(json.dumps(content, indent=1, allow_nan=True))
        partial.chmod(0o755)
        _swap(partial, folder)
    except OSError as error:
        raise ForgetError(
            f"Cannot write the record {folder}: {error.strerror}. Free some space or mend the rights."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _apart(tensor: Tensor) -> Tensor:
    """A copy on the CPU: tied weights share memory, which the format does not allow."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _swap(partial: Path, folder: Path) -> None:
    old = folder.parent / f".old-{folder.name}-{os.getpid()}"
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _wrong_fields(run: Mapping[str, Any]) -> str:
    """The keys of `FIELDS` whose content is of another kind, with what is expected; empty where all fit."""
    wrong = [(key, kind) for key, kind in FIELDS.items() if not isinstance(run.get(key), kind | None)]
    return ", ".join(f"{key} = {run[key]!r} (expected a {kind.__name__})" for key, kind in wrong)


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a record's content without its digest, as it comes back from JSON."""
    text = json.dumps({key: value for key, value in content.items() if key != "digest"})
    return hashlib.sha256(json.dumps(json.loads(text), sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_record(folder: Path) -> dict[str, Any] | None:
    """run.json of a record, or None where there is none, another version wrote it, or it is damaged, which is said on
    stderr: it will then be made again."""
    path = Path(folder) / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(run, dict):
            raise ValueError("its content is no record's")
        if "digest" in run and run["digest"] != _digest(run):
            raise ValueError("its content does not fit its digest")
        wrong = _wrong_fields(run)
        if wrong and "digest" not in run:
            raise ValueError(f"it holds {wrong}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        print(f"{path} is damaged ({error}): it is left out, and made again by the next run.", file=sys.stderr)
        return None
    return None if wrong or run.get("schema") != SCHEMA else run


def _checked(folder: Path, name: str) -> Path:
    """The path of a record's file. Raises: ForgetError where it is not the one that was written with the record."""
    digests = (read_record(folder) or {}).get("files") or {}
    path = Path(folder) / name
    if name in digests and path.is_file() and _file_digest(path) != digests[name]:
        raise ForgetError(f"{folder}: {name} is damaged: it is not what was written; {MADE_AGAIN}.")
    return path


def read_predictions(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of predictions.npz by name (never pickled). Raises: ForgetError if the file is missing or damaged."""
    path = _checked(folder, "predictions.npz")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zip, header, dtype, memory: NumPy raises many kinds
        raise ForgetError(f"{folder}: {path.name} is missing or damaged; {MADE_AGAIN}.") from error


def read_state(folder: Path) -> dict[str, Tensor]:
    """Weights of a record, tensors by name. Raises: ForgetError if the file is missing or damaged."""
    path = _checked(folder, "model.safetensors")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ForgetError(f"{folder}: {path.name} is missing or damaged; {MADE_AGAIN}.") from error


def record_folders(root: Path) -> list[Path]:
    """All folders under `root` that hold a record, sorted."""
    return sorted(path.parent for path in Path(root).glob("*/*/draw*/seed*/*/run*/run.json"))


def load(profile: str | Path) -> pd.DataFrame:
    """All records of a profile as one tidy table, a row for each record and metric.

    profile: a name ("quick") or the path of a results folder, or of any folder of records below one.
    Returns: columns dataset, model, request, draw, seed, method, run, kind, share, attack, metric, item, unit, value,
        low, high, n, null, source, synthetic, sampled, status, reason, cost_seconds, cost_sample_passes, tuned (see
        `chosen.TUNED`), folder, and fact_… for each fact that a method states (see `UnlearningTask`). A
        record that failed or did not apply has one row with an empty metric.
    Raises: ForgetError where there are no records.
    """
    root = Path(profile) if os.sep in str(profile) or Path(profile).is_dir() else RESULTS / str(profile)
    folders = record_folders(root) or sorted(path.parent for path in root.rglob("run.json"))
    table = tidy((str(folder), run) for folder in folders if (run := read_record(folder)) is not None)
    if table.empty:
        raise ForgetError(f"No records under {root}. Run the study first, for example: ./run_all.sh quick")
    return table


def read_runs(path: Path) -> pd.DataFrame:
    """The table of `load` from runs.csv.gz of a folder of results/reference. Raises: ForgetError if it is missing."""
    numbers = ("value", "low", "high", "n", "share", "forgotten", "error", "null_error")
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(numbers, ""), low_memory=False)
    except OSError as error:
        raise ForgetError(f"{path} cannot be read ({error.strerror}); it comes with the project.") from error


def tidy(records: Iterable[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """The table of `load` for records, each with what is to stand in the column `folder`; empty without any. What is no
    record is named on stderr and left out."""
    rows = []
    for folder, run in records:
        numbers = ("draw", "seed", "run")
        wrong = [key for key in KEYS if not isinstance(run.get(key), int if key in numbers else str)]
        if wrong or not all(isinstance(each, dict) for each in run.get("measurements") or []):
            print(f"{folder} is no record ({', '.join(wrong) or 'measurements'}): left out.", file=sys.stderr)
            continue
        common = {key: run[key] for key in KEYS}
        common |= {key: run.get(key, default) for key, default in OF_POOLS.items()}
        common |= {key: run.get(key) for key in ("source", "synthetic", "sampled", "status", "reason")}
        common |= {f"cost_{key}": value for key, value in (run.get("cost") or {}).items()}
        common |= {f"fact_{key}": value for key, value in (run.get("facts") or {}).items()}
        common["tuned"] = run.get("tuned", "" if run["method"] in NOTHING_TO_TUNE else NOT_TUNED)
        common["folder"] = folder
        empty = Measurement("", float("nan"))._asdict()
        rows += [common | measurement for measurement in run.get("measurements") or [empty]]
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows).sort_values(KEYS, kind="stable", ignore_index=True)
    # A column that holds None is one of Python objects, over which pandas goes value by value: minutes for a big study.
    return table.astype(dict.fromkeys(["value", "low", "high", "null", "share", "forgotten"], float))


def scenarios_and_pools(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of scenarios, and those of pooled studies; the shared originals (request `all`) are left out."""
    pooled = runs["kind"] != ""
    shared = runs["request"].str.match(r"all($|-)")
    return runs[~pooled & ~shared].reset_index(drop=True), runs[pooled].reset_index(drop=True)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over draws and seeds with 95 % t-intervals; `oracle` holds the retrained model's mean of the same metric.

    runs: the table of `load`. Method seeds (run) of one draw and seed are averaged first: the unit is the original.
    Returns: columns dataset, model, request, method, kind, share, attack, metric, item, unit, mean, low, high, n,
        tuned, oracle. Under two seeds low and high are those within the run, such as an attack's interval over
        samples, or empty. Ends that the metric cannot reach are moved, see `possible_ends`: a t-interval at three seeds
        may reach beyond, a share does not.
    """
    runs = runs[runs["metric"] != ""]
    left_out = OF_POOLS | {"item": "", "tuned": NOT_TUNED}
    runs = runs.assign(**{key: default for key, default in left_out.items() if key not in runs})
    keys = ["dataset", "model", "request", "method", "kind", "share", "attack", "metric", "item", "unit"]
    rows = runs.groupby([*keys, "draw", "seed"], sort=False, dropna=False)
    units = rows[["value", "low", "high"]].mean().reset_index()
    units["tuned"] = rows["tuned"].min().to_numpy()
    groups = units.groupby(keys, sort=False, dropna=False)
    table = groups.agg(mean=("value", "mean"), low=("low", "first"), high=("high", "first"), n=("value", "size"))
    table["tuned"] = units.groupby(keys, sort=False, dropna=False)["tuned"].min()  # in the alphabet the worst is first
    many = table["n"] > 1  # one original: only the interval within its run, if it has one
    if not np.isfinite(units["value"][groups["value"].transform("size") > 1]).all():
        raise ForgetError("A metric of the records is not finite, so that it has no interval; run its record again.")
    # `statistics.t_interval` of all groups at once: one by one, a big study takes a minute.
    half = stats.t.ppf(0.975, table["n"] - 1) * groups["value"].std() / np.sqrt(table["n"])
    table.loc[many, "low"], table.loc[many, "high"] = table["mean"] - half, table["mean"] + half
    table = table.reset_index()
    ranges = np.array([range_of(*pair) for pair in zip(table["metric"], table["unit"], strict=True)]).reshape(-1, 2)
    table["low"], table["high"] = possible_ends(table["mean"], table["low"], table["high"], *ranges.T)
    same = ["dataset", "model", "request", "attack", "metric", "item"]
    retrained = table[(table["method"] == "retrain") & table["kind"].isin(["", "control"])]
    return table.merge(retrained[[*same, "mean"]].rename(columns={"mean": "oracle"}), on=same, how="left")


def write_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes tables/runs.csv and tables/summary.csv of a results folder; returns both tables."""
    runs = load(root)
    table = summary(runs)
    folder = Path(root) / "tables"
    relative = runs.assign(folder=[str(Path(path).relative_to(root)) for path in runs["folder"]])
    for name, frame in {"runs": relative, "summary": table}.items():
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))
    return runs, table


def commit() -> str:
    """The commit of this copy of the project, with "+changed" if the work tree differs; "unknown" where it is none:
    neither a repository that the environment names (GIT_DIR) nor one that the copy lies in is asked."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    here["GIT_CEILING_DIRECTORIES"] = str(REPOSITORY.parent)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, env=here, capture_output=True, text=True, check=False).stdout.strip()

    try:
        head = git("rev-parse", "--verify", "--quiet", "HEAD")
        changed = "+changed" if git("status", "--porcelain", "--untracked-files=no") else ""
    except OSError:
        return "unknown"
    return head + changed if head else "unknown"


@lru_cache
def provenance() -> dict[str, Any]:
    """The `commit`, versions and platform; no path, user or host name."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"numpy": np.__version__, "pandas": pd.__version__}
    return {"commit": commit(), "versions": versions, "system": platform.system(), "machine": platform.machine()}


def root_of(profile: str, folder: str = "") -> Path:
    """The results folder of a profile; `folder` overrides it where it is not empty."""
    return Path(folder) if folder else RESULTS / profile
