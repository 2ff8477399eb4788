"""Where the spread of a result comes from: forget draw, seed of the original, seed of the method; crossed, on disk.

The records lie beside those of the study (`<results>/variance/…`), so that means over seeds are not mixed with them.
"""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forget_lib.core.errors import TooFewError
from forget_lib.statistics.intervals import crossed_variance_components
from forget_lib.study import records
from forget_lib.study.run import run_method
from forget_lib.study.scenario import make_scenario

FOLDER = "variance"
METRICS = ("forget_accuracy", "test_accuracy", "auc")
ATTACK = "loss_regression"


def crossed_study(
    root: str | Path,
    *,
    methods: Mapping[str, Mapping[str, Any] | None],
    draws: int,
    seeds: int,
    runs: int,
    recipe: Mapping[str, Any],
    **fields: Any,
) -> pd.DataFrame:
    """Every method with every draw, seed of the original and seed of the method: a record each, resumable.

    draws, seeds, runs: how many (>= 2, >= 2, >= 1). fields: dataset, model, request, start, device.
    Returns: the tidy table (see `records.load`).
    """
    if min(draws, seeds) < 2 or runs < 1:
        raise TooFewError(f"A crossed study needs at least 2 draws and 2 seeds, got {draws} and {seeds}.")
    folder = Path(root) / FOLDER
    for draw in range(draws):
        for seed in range(seeds):
            with contextlib.redirect_stdout(io.StringIO()):  # every original would print its epochs
                scenario = make_scenario(folder, recipe, (ATTACK,), draw=draw, seed=seed, **fields)
                for name, settings in methods.items():
                    for run in range(runs):
                        run_method(scenario, name, settings, run)
            print(f"draw {draw}, seed {seed}: {len(methods) * runs} records", flush=True)
    return records.scenarios_and_pools(records.load(folder))[0]


def components_table(table: pd.DataFrame) -> pd.DataFrame:
    """Random-effects split by method and metric: columns method, metric, source, variance, deviation, share.

    source: "draw", "seed", "draw x seed" and "run" (NaN where each method ran once: then the third holds it too).
    table: of `crossed_study`. A method whose table has holes (it failed somewhere) is left out.
    """
    rows = []
    chosen = table[table["metric"].isin(METRICS) & table["attack"].isin(["", ATTACK])]
    for (method, metric), part in chosen.groupby(["method", "metric"], sort=False):
        wide = part.pivot_table(index=["draw", "seed"], columns="run", values="value")
        draws, seeds = part["draw"].nunique(), part["seed"].nunique()
        if len(wide) != draws * seeds or wide.isna().any(axis=None):
            continue
        split = crossed_variance_components(wide.to_numpy().reshape(draws, seeds, -1))
        total = np.nansum(list(split.values()))
        rows += [
            [method, metric, source, value, np.sqrt(value), value / total if total > 0 else np.nan]
            for source, value in split.items()
        ]
    return pd.DataFrame(rows, columns=["method", "metric", "source", "variance", "deviation", "share"])


def sentences(components: pd.DataFrame) -> list[str]:
    """Shares of the variance by metric, mean over methods (least to most of a method): no method weighs more."""
    names = {"draw": "forget draw", "seed": "seed of the original", "run": "seed of the method"}
    names["draw x seed"] = "interaction of draw and seed"
    found = []
    for metric, part in components.groupby("metric", sort=False):
        shares = part.groupby("source")["share"].agg(["mean", "min", "max"]).sort_values("mean", ascending=False)
        if not shares["mean"].sum() > 0:
            continue
        rows = shares.dropna().itertuples()
        split = "; ".join(f"{names[row.Index]} {row.mean:.0%} ({row.min:.0%} to {row.max:.0%})" for row in rows)
        text = (
            f"**{metric}**: most of the spread comes from the {names[shares.index[0]]}. Shares of the variance, mean "
        )
        found.append(f"{text}over {part['method'].nunique()} methods (least to most of a method): {split}.")
    return found
