"""What a method keeps at what cost: methods at 2 to 50 % of a retraining, beside a retraining cut short.

The records lie beside those of the study (`<results>/costs/…`, `share`: the budget), so that a scenario's table holds
each method once.
"""

import contextlib
import dataclasses
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forget_lib.statistics.intervals import t_interval
from forget_lib.statistics.rules import MARGINS, PAIRS_FOR_DIFFERENCE
from forget_lib.statistics.verdict import PAIR
from forget_lib.study import records
from forget_lib.study.run import run_method
from forget_lib.study.scenario import Scenario, make_scenario
from forget_lib.unlearning import get_method

FOLDER = "costs"
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of a retraining."""
SHORT = "short_retrain"
ATTACK = "loss_regression"
TOLD = {"forget_accuracy": MARGINS["accuracy"], "auc": MARGINS["auc"]}
"""Measures by which a method may be told from the retrained model, and their margins."""


def settings_at(name: str, budget: float, epochs: int) -> dict[str, Any] | None:
    """The setting of a method that costs about a share of a retraining of so many epochs: whole epochs, at least one.
    None for a method whose cost no setting rules. What it really costs is measured."""
    if name == SHORT:
        return {"share": budget}
    return {"epochs": max(1, int(budget * epochs + 0.5))} if "epochs" in get_method(name).settings else None


def cost_study(
    root: str | Path,
    *,
    methods: Sequence[str],
    draws: int,
    recipe: Mapping[str, Any],
    budgets: Sequence[float] = BUDGETS,
    **fields: Any,
) -> pd.DataFrame:
    """Each method and the short retrain at each budget, a record each, for so many draws, each with a seed of its own.

    fields: dataset, model, request, start, device. Budgets that come to the same setting are run once.
    Returns: the tidy table (see `records.load`).
    """
    for pair in range(draws):
        with contextlib.redirect_stdout(io.StringIO()):  # every original would print its epochs
            scenario = make_scenario(Path(root) / FOLDER, recipe, (ATTACK,), draw=pair, seed=pair, **fields)
            _take_original(dataclasses.replace(scenario, root=Path(root)), scenario)
            _run_pair(scenario, methods, budgets)
        print(f"pair {pair + 1} of {draws}: {len(methods) + 1} methods", flush=True)
    return records.scenarios_and_pools(records.load(Path(root) / FOLDER))[0]


def _take_original(study: Scenario, scenario: Scenario) -> None:
    """Copies the record of the study's original, where it has one: it is the same training."""
    source, target = (each.folder("original", request=each.parsed.original_name) for each in (study, scenario))
    if source.is_dir() and not target.is_dir():
        shutil.copytree(source, target)


def _run_pair(scenario: Scenario, methods: Sequence[str], budgets: Sequence[float]) -> None:
    for name in ("retrain", "original"):
        run_method(scenario, name, reference=None if name == "retrain" else scenario.folder("retrain"))
    for name in (SHORT, *methods):
        done: list[dict[str, Any] | None] = [None]
        for number, budget in enumerate(budgets):
            settings = settings_at(name, budget, scenario.recipe.epochs)
            if settings not in done:
                run_method(scenario, name, settings, number, reference=scenario.folder("retrain"), share=budget)
            done.append(settings)


def points(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair (draw, seed), method and budget: `cost`, the larger of sample passes and CPU seconds as
    shares of a retraining, and gaps to the retrained model: `kept` and those of `TOLD`."""
    kept = "test_accuracy_retained" if (table["metric"] == "test_accuracy_retained").any() else "test_accuracy"
    metrics = {"relative_cost", "seconds", kept, *TOLD}
    rows = table[table["metric"].isin(metrics) & table["attack"].isin(["", ATTACK])].fillna({"share": 1.0})
    wide = rows.pivot_table("value", [*PAIR, "method", "share"], "metric").reset_index()
    wide = wide.rename(columns={kept: "kept"})
    retrained = wide[wide["method"] == "retrain"].set_index(PAIR)
    found = wide[~wide["method"].isin(["retrain", "original"])].set_index(PAIR)
    of_pair = retrained.reindex(found.index)
    cost = np.maximum(found["relative_cost"], found["seconds"] / of_pair["seconds"])
    gaps = {name: found[name] - of_pair[name] for name in ("kept", *TOLD) if name in found}
    return found[["method", "share"]].assign(cost=cost, **gaps).reset_index()


def against_short(found: pd.DataFrame, budget: float = 0.2) -> pd.DataFrame:
    """By method, at the largest budget up to this one: what it keeps more than a retraining cut short at the same cost
    (`value`, `low`, `high`, `n` pairs), `cost`, and `told` by which measures. found: of `points`.

    The short retrain at exactly that cost lies on the line between its nearest budgets; a full retraining has gap 0.
    Told: the interval of a gap to the retrained model lies outside its margin.
    """
    rows = {}
    for name, part in found[(found["method"] != SHORT) & (found["share"] <= budget)].groupby("method"):
        here, more = part[part["share"] == part["share"].max()], []
        for row in here.itertuples():
            short = found[(found["method"] == SHORT) & (found["draw"] == row.draw) & (found["seed"] == row.seed)]
            line = pd.concat([short[["cost", "kept"]], pd.DataFrame({"cost": [1.0], "kept": [0.0]})]).sort_values(
                "cost"
            )
            more.append(row.kept - np.interp(row.cost, line["cost"], line["kept"]))
        if len(more) >= PAIRS_FOR_DIFFERENCE:
            told = []
            for metric, margin in TOLD.items():
                gap = t_interval(here[metric]) if metric in here and here[metric].notna().all() else None
                if gap is not None and (gap.low > margin or gap.high < -margin):
                    told.append(metric)
            rows[name] = {**t_interval(more)._asdict(), "cost": here["cost"].mean(), "told": ", ".join(told)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "n", "cost", "told"])


def sentence(compared: pd.DataFrame) -> str:
    """How many methods beat a shorter retraining at the same cost; empty where too few pairs were run."""
    if compared.empty:
        return ""
    better = compared[(compared["low"] > 0) & (compared["told"] == "")]
    names = f": {', '.join(better.index)}" if len(better) else ""
    return (
        f"{len(better)} of {len(compared)} methods beat a shorter retraining at the same cost{names}. To beat it is to "
        f"keep more, by the 95 % interval over {int(compared['n'].min())} pairs of draw and seed, while neither forget "
        "accuracy nor the loss attack distinguishes it from the retrained model."
    )
