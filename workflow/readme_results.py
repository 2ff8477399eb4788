"""The result at the top of the README: a figure and three sentences, from the committed reference records alone."""

from pathlib import Path

import pandas as pd

from forget_lib.core.paths import RESULTS
from forget_lib.show import main_findings, overview
from forget_lib.show.membership_views import has_power
from forget_lib.study import pooled
from forget_lib.study.records import scenarios_and_pools

REFERENCE = RESULTS / "reference"
PROFILES = ("study", "quick")
"""Where the result is taken from: the first of these that is there."""
METRICS = ("forget_accuracy", "test_accuracy", "test_accuracy_retained", "relative_cost", "anamnesis_index")
METRICS += ("rank_1_forgotten", "auc", "auc_gap", "auc_null_error")
NUMBERS = ("value", "low", "high", "n")
ALT = "Forget accuracy minus the retrained model's, by method and kind of request; 0 is right"


def reference_runs(folder: Path) -> pd.DataFrame:
    """runs.csv.gz of a reference folder as `results.load` gives it, with the metrics of the result alone."""
    runs = pd.read_csv(folder / "runs.csv.gz", keep_default_na=False, na_values=dict.fromkeys(NUMBERS, ""))
    return runs[runs["metric"].isin(METRICS)].assign(unit="share")


def text(reference: Path = REFERENCE) -> str:
    """Figure, three sentences and what they are from, with paths as seen from the README; empty without a reference."""
    folders = [reference / name for name in PROFILES if (reference / name / "runs.csv.gz").is_file()]
    if not folders:
        return ""
    folder = folders[0]
    parts = {each: scenarios_and_pools(reference_runs(each)) for each in folders}
    table = parts[folder][0]
    found = overview.answers(table)
    # Not every profile was attacked: the first whose pool has power is taken, and named where it is another one.
    told = next(((each, line) for each in folders if (line := _attacked(pooled.tables_of(parts[each][1])))), None)
    attacked = "" if told is None else told[1] + ("" if told[0] == folder else f" (`{told[0].name}` profile)")
    place = f"results/reference/{folder.name}"
    figures = (path for path in ("figures/headline.png", "headline.png") if (folder / path).is_file())
    lines = [f"![{ALT}]({place}/{path})\n" for path in figures][:1]
    lines += [f"- {line}" for line in (_matching(found), attacked, _relearned(table, found)) if line]
    lines.append(
        f"\n*From the records of the `{folder.name}` profile in [{place}]({place}): {_draws(table)}, "
        "small nets, rendered faces, gaps in points of accuracy with 95 % intervals. Drawn by `00_overview`, written "
        "by `python -m workflow.readme`.*"
    )
    return "\n".join(lines)


def _draws(table: pd.DataFrame) -> str:
    """How many draws and seeds are behind how many scenarios."""
    units = table.drop_duplicates(["dataset", "model", "request", "draw", "seed"])
    counts = units.groupby(["dataset", "model", "request"]).size().value_counts().sort_index()
    text = ", ".join(f"{number} in {scenarios}" for number, scenarios in counts.items())
    return f"{counts.sum()} scenarios (draws and seeds: {text})"


def _matching(found: pd.DataFrame) -> str:
    """How many methods do as retraining does, by kind of request."""
    parts = []
    for kind, part in found[~found["control"].astype(bool)].groupby("kind", sort=False):
        part = part[~part["verdict"].isin(["failed", "unknown"])]  # unknown: accuracy cannot tell
        good = overview.right(part)
        told = f"{len(good)} of {len(part)}" if len(part) else "accuracy cannot tell"
        if len(good):
            best = good.iloc[0]
            told += f" (first: {best['method']}, {overview.in_points(best['gap'], best['low'], best['high'])})"
        parts.append(f"{overview.KINDS.get(kind, kind)}: {told}")
    first = "most scenarios, then lowest cost"
    text = f"**Methods that do as retraining does**, by what is to be forgotten (first: {first}): {'; '.join(parts)}."
    return text if parts else ""


def _attacked(pools: dict[tuple[str, str, str], pd.DataFrame]) -> str:
    """What the usual test and the strong attacks say, on the pool of random samples that tells the most."""
    chosen = [(names, table) for names, table in pools.items() if names[2].startswith("pool-random-0")]
    chosen = [(names, table) for names, table in chosen if has_power(table)]
    if not chosen:
        return ""
    names, table = max(chosen, key=lambda pair: pair[1].loc[pair[1]["kind"] == "method", "method"].nunique())
    told, clean = overview.told_by_strong(table)
    (line,) = main_findings.weak_and_strong({names: table}, lambda _: "Usual test and strong attack")
    total = len(told) + len(clean)
    return f"{line[:-1]}; in all, the AUC of a strong attack leaves 0.5 after {len(told)} of {total}."


def _relearned(table: pd.DataFrame, found: pd.DataFrame) -> str:
    """How many of the methods that are right by accuracy for a class relearn it sooner than a retrained model."""
    sets = main_findings.relearned_sooner(table).get("class", [])
    good = found[(found["kind"] == "class") & (found["verdict"] == "good") & ~found["control"].astype(bool)]["method"]
    if not sets or good.empty:
        return ""
    sooner = [name for name in good if any(name in each for each in sets)]
    text = f"**Hidden or forgotten?** Of the {len(good)} methods that are right for a whole class by accuracy, "
    text += f"{len(sooner)} relearn it sooner than a retrained model does (95 % interval of the ratio under 1, in at "
    return f"{text}least one of {len(sets)} scenarios){': ' if sooner else ''}{', '.join(sooner)}."
