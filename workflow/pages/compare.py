"""How a run stands against the committed reference of its profile: each headline number identical, within or outside.

Headline numbers: accuracy on the forget set and on what is kept of every model of every scenario, and the AUC of the
strong attacks. Within: inside the reference's 95 % interval over draws and seeds. A rerun of the same seeds on another
machine or with other versions is expected there, and not to give the same bits.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import RESULTS
from forget_lib.show.findings import kept_metric
from forget_lib.study import records

STRONG = ("rmia", "lira", "u_lira")
REFERENCE = RESULTS / "reference"
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
    scenarios = rows[(rows["kind"] == "") & ~rows["request"].str.match(r"all($|-)") & (rows["attack"] == "")]
    parts = [rows[rows["kind"].isin(["control", "method"]) & rows["attack"].isin(STRONG) & (rows["metric"] == "auc")]]
    for _, part in scenarios.groupby(["dataset", "model", "request"], sort=True):
        parts.append(part[part["metric"].isin(["forget_accuracy", kept_metric(part)])])
    return pd.concat(parts, ignore_index=True)


def compare(root: Path, reference: Path | None = None) -> Comparison | None:
    """The headline numbers of a results folder against a reference folder, by default results/reference/<its name>.

    Returns: None where there is no reference. Raises: ForgetError without records, and for tables of another form.
    """
    root = Path(root)
    folder = REFERENCE / root.resolve().name if reference is None else Path(reference)
    written = sorted(folder.glob("summary.csv*"))  # a large one is packed
    if not written:
        return None
    try:
        theirs, ours = headline(pd.read_csv(written[0])), headline(_summary_of(root))
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
    same = np.isclose(table["mean"], table["reference"], rtol=0, atol=SAME, equal_nan=True)
    unknown = table[["low", "high"]].isna().any(axis=1)
    inside = table["mean"].between(table["low"], table["high"])
    table["verdict"] = np.select([same, unknown, inside], [IDENTICAL, UNKNOWN, WITHIN], OUTSIDE)
    record = next(map(records.read_record, records.record_folders(root)), None) or {}
    versions = record.get("versions") or {}
    return Comparison(table, int(sides["right_only"]), int(sides["left_only"]), _manifest(folder), versions)


def _summary_of(root: Path) -> pd.DataFrame:
    """The run's summary: its table where no record is younger, else made from the records."""
    written = root / "tables" / "summary.csv"
    changed = max(((folder / "run.json").stat().st_mtime for folder in records.record_folders(root)), default=0)
    if written.is_file() and written.stat().st_mtime >= changed > 0:
        return pd.read_csv(written)
    return records.summary(records.load(root))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def sentences(found: Comparison, shown: int = SHOWN) -> list[str]:
    """What is to be said of a comparison: how many numbers stand where, and those outside, the farthest first."""
    table = found.table
    if table.empty:
        return ["No headline number of this run is in the reference: other scenarios or methods."]
    counted = {name: int((table["verdict"] == name).sum()) for name in (IDENTICAL, WITHIN, OUTSIDE, UNKNOWN)}
    text = ", ".join(f"{counted[name]} {name}" for name in (IDENTICAL, WITHIN, OUTSIDE))
    if counted[UNKNOWN]:
        text += f", {counted[UNKNOWN]} different, of one run each and {UNKNOWN}"
    notes = {
        "of them are means over another number of draws and seeds": (table["n"] != table["n_reference"]).sum(),
        "numbers of the reference are not in this run": found.missing,
        "numbers of this run are not in the reference": found.added,
    }
    lines = [f"{len(table)} headline numbers: {text}."]
    lines += [f"{number} {note}." for note, number in notes.items() if number]
    ours, told = found.versions, found.about.get("versions")
    theirs = told if isinstance(told, dict) else {}
    changed = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
    if changed:
        named = "; ".join(f"{name} {ours[name]}, reference {theirs[name]}" for name in changed)
        lines.append(f"Other versions: {named}.")
    outside = table[table["verdict"] == OUTSIDE]
    far = np.maximum(outside["low"] - outside["mean"], outside["mean"] - outside["high"])
    for row in outside.loc[far.sort_values(ascending=False, kind="stable").index].head(shown).itertuples():
        what = f"{row.metric} by {row.attack}" if row.attack else row.metric
        lines.append(
            f"Outside: {row.dataset} {row.model} {row.request}, {row.method}, {what}: {row.mean:.4f}; reference "
            f"{row.reference:.4f} ({row.low:.4f} to {row.high:.4f})."
        )
    return lines + ([f"Outside: {len(outside) - shown} more."] if len(outside) > shown else [])


def report(root: Path, reference: Path | None = None) -> list[str]:
    """The lines of `./run_all.sh`: a comparison, or that there is nothing to compare with."""
    folder = f"results/reference/{Path(root).resolve().name}" if reference is None else str(reference)
    found = compare(root, reference)
    if found is None:
        return [f"There is no reference to compare with: no {folder}/summary.csv."]
    commits = ", ".join(str(commit)[:12] for commit in found.about.get("commits", [])) or "unknown commit"
    first, *rest = sentences(found)
    return [f"Against {folder} ({commits}): {first}", *rest]


def lines_of_index(root: Path) -> list[str]:
    """The lines for the index of a profile, as text; none where there is nothing to compare."""
    try:
        return report(root) if records.record_folders(root) and compare(root) is not None else []
    except ForgetError as error:
        return [str(error)]
