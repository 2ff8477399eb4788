"""How a run stands against the committed reference of its profile: each headline number identical, within or outside.

Headline numbers: accuracy on the forget set and on what is kept of every model of every scenario, and the AUC of the
strong attacks. Within: inside the reference's 95 % interval over draws and seeds. A rerun of the same seeds on another
machine or with other versions is expected there, and not to give the same bits.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from forget_lib.core import paths as paths_module
from forget_lib.core.errors import ForgetError
from forget_lib.show.findings import kept_metric
from forget_lib.study import records

STRONG = ("rmia", "lira", "u_lira")
REFERENCE = paths_module.RESULTS / "reference"
KEYS = ["dataset", "model", "request", "method", "attack", "metric"]
SAME = 1e-9
"""Means this close are called identical."""
SHOWN = 20
IDENTICAL, WITHIN, OUTSIDE, UNKNOWN = "identical", "within the reference's interval", "outside", "without an interval"


class Comparison(NamedTuple):
    """table: one row a headline number of both: `KEYS`, mean, n, reference, low, high, n_reference, verdict. missing,
    added: how many are only in the reference, only in the run. about: the reference's manifest. versions: the run's."""

    table: pd.DataFrame
    missing: int
    added: int
    about: dict[str, Any]
    versions: dict[str, str]


def headline(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results.summary` that are headline numbers."""
    rows = summary.fillna({"attack": "", "kind": ""})
    pooled = rows["kind"] != ""
    shared = rows["request"].str.match(r"all($|-)")
    strong = rows[rows["kind"].isin(["control", "method"]) & rows["attack"].isin(STRONG) & (rows["metric"] == "auc")]
    parts = [strong]
    for _, part in rows[~pooled & ~shared & (rows["attack"] == "")].groupby(["dataset", "model", "request"], sort=True):
        parts.append(part[part["metric"].isin(["forget_accuracy", kept_metric(part)])])
    return pd.concat(parts, ignore_index=True)


def _read(folder: Path) -> pd.DataFrame | None:
    """The summary of a reference folder, or None where there is none."""
    paths = [path for path in (folder / "summary.csv", folder / "summary.csv.gz") if path.is_file()]
    return pd.read_csv(paths[0]) if paths else None


def _summary_of(root: Path) -> pd.DataFrame:
    """The run's summary: its table where no record is younger, else made from the records."""
    written = root / "tables" / "summary.csv"
    changed = max(((folder / "run.json").stat().st_mtime for folder in records.record_folders(root)), default=0)
    if written.is_file() and written.stat().st_mtime >= changed > 0:
        return pd.read_csv(written)
    return records.summary(records.load(root))


def compare(root: Path, reference: Path | None = None) -> Comparison | None:
    """The headline numbers of a results folder against a reference folder, by default results/reference/<its name>.

    Returns: None where there is no reference. Raises: ForgetError without records, and for tables of another form.
    """
    root = Path(root)
    folder = REFERENCE / root.resolve().name if reference is None else Path(reference)
    try:
        there = _read(folder)
        if there is None:
            return None
        theirs, ours = headline(there), headline(_summary_of(root))
        names = {"mean": "reference", "n": "n_reference"}
        theirs = theirs[[*KEYS, "mean", "low", "high", "n"]].rename(columns=names)
        both = ours[[*KEYS, "mean", "n"]].merge(theirs, on=KEYS, how="outer", indicator="side")
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ForgetError(
            f"The summary of {root} or of {folder} is not one of this version: {error}. Run the study again, or bring "
            f"the reference back: git checkout {folder}"
        ) from error
    sides = both["side"].value_counts()
    table = both[both["side"] == "both"].drop(columns="side").reset_index(drop=True)
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    try:
        about = dict(json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        about = {}
    record = next(map(records.read_record, records.record_folders(root)), None) or {}
    return Comparison(table, int(sides["right_only"]), int(sides["left_only"]), about, record.get("versions") or {})


def _verdict(row: Any) -> str:
    if abs(row.mean - row.reference) <= SAME or (pd.isna(row.mean) and pd.isna(row.reference)):
        return IDENTICAL
    if pd.isna(row.low) or pd.isna(row.high):
        return UNKNOWN
    return WITHIN if row.low <= row.mean <= row.high else OUTSIDE


def sentences(found: Comparison, shown: int = SHOWN) -> list[str]:
    """What is to be said of a comparison: how many numbers stand where, and those outside, the farthest first."""
    table = found.table
    if table.empty:
        return ["No headline number of this run is in the reference: other scenarios or methods."]
    counted = Counter(table["verdict"])
    text = ", ".join(f"{counted[name]} {name}" for name in (IDENTICAL, WITHIN, OUTSIDE))
    text += f", {counted[UNKNOWN]} different, of one run each and {UNKNOWN}" if counted[UNKNOWN] else ""
    lines = [f"{len(table)} headline numbers: {text}."]
    others = int((table["n"] != table["n_reference"]).sum())
    lines += [f"{others} of them are means over another number of draws and seeds."] if others else []
    lines += [f"{found.missing} numbers of the reference are not in this run."] if found.missing else []
    lines += [f"{found.added} numbers of this run are not in the reference."] if found.added else []
    lines += _versions(found.versions, found.about.get("versions"))
    outside = table[table["verdict"] == OUTSIDE]
    far = pd.concat([outside["low"] - outside["mean"], outside["mean"] - outside["high"]], axis=1).max(axis=1)
    ordered = outside.loc[far.sort_values(ascending=False, kind="stable").index]
    for row in ordered.head(shown).itertuples():
        what = f"{row.metric} by {row.attack}" if row.attack else row.metric
        lines.append(
            f"Outside: {row.dataset} {row.model} {row.request}, {row.method}, {what}: {row.mean:.4f}; reference "
            f"{row.reference:.4f} ({row.low:.4f} to {row.high:.4f})."
        )
    return lines + ([f"Outside: {len(outside) - shown} more."] if len(outside) > shown else [])


def _versions(ours: dict[str, str], theirs: Any) -> list[str]:
    """Which versions of packages the run and the reference do not share."""
    if not isinstance(theirs, dict):
        return []
    changed = [
        f"{name} {ours[name]}, reference {theirs[name]}"
        for name in ours
        if name in theirs and theirs[name] != ours[name]
    ]
    return [f"Other versions: {'; '.join(changed)}."] if changed else []


def report(root: Path, reference: Path | None = None) -> list[str]:
    """The lines of `./run_all.sh`: a comparison, or that there is nothing to compare with."""
    folder = _name_of(root) if reference is None else str(reference)
    found = compare(root, reference)
    return (
        [f"There is no reference to compare with: no {folder}/summary.csv."] if found is None else _told(found, folder)
    )


def _name_of(root: Path) -> str:
    return f"results/reference/{Path(root).resolve().name}"


def _told(found: Comparison, folder: str) -> list[str]:
    commits = ", ".join(str(commit)[:12] for commit in found.about.get("commits", [])) or "unknown commit"
    first, *rest = sentences(found)
    return [f"Against {folder} ({commits}): {first}", *rest]


def section(root: Path) -> str:
    """The comparison as a part of an HTML page; empty where there is nothing to compare."""
    try:
        found = compare(root) if records.record_folders(root) else None
        lines = _told(found, _name_of(root)) if found is not None else []
    except ForgetError as error:
        lines = [str(error)]
    if not lines:
        return ""
    first, *rest = (html.escape(line) for line in lines)
    items = "".join(f"<li>{line}</li>" for line in rest)
    return f"<section><h2>Against the reference</h2><p>{first}</p>{f'<ul>{items}</ul>' if items else ''}</section>"
