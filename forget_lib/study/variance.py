"""Where the spread of a result comes from: forget draw, original within a draw, seed of the method; on disk.

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
from forget_lib.statistics.intervals import nested_variance_components
from forget_lib.study import records
from forget_lib.study.run import run_method
from forget_lib.study.scenario import make_scenario

FOLDER = "variance"
METRICS = ("forget_accuracy", "test_accuracy", "auc")
ATTACK = "loss_regression"
WORKING = 0.1
"""A method that loses more test accuracy than this leaves no working model."""


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
    """The retrained model, and every method with every draw, original and seed of the method: a record each,
    resumable.

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
                run_method(scenario, "retrain")
                for name, settings in methods.items():
                    for run in range(runs):
                        run_method(scenario, name, settings, run)
            print(f"draw {draw}, seed {seed}: {len(methods) * runs + 1} records", flush=True)
    return records.scenarios_and_pools(records.load(folder))[0]


def components_table(table: pd.DataFrame) -> pd.DataFrame:
    """Random-effects split of each method's gap to the retrained model of the same draw and seed.

    Returns: columns method, metric, source ("draw", "original", "run"), deviation (SD), low, high (95 %), share (of the
        variance). table: of `crossed_study`. Left out: a method that failed somewhere, and one that leaves no working
        model (test accuracy `WORKING` below the retrained model's on average): its spread says nothing about others.
    """
    columns = ["method", "metric", "source", "deviation", "low", "high", "share"]
    chosen = table[table["metric"].isin(METRICS) & table["attack"].isin(["", ATTACK])]
    cells = chosen.pivot_table(index=["draw", "seed"], columns=["method", "metric", "run"], values="value")
    names, draws = dict.fromkeys(chosen["method"]), chosen["draw"].nunique()
    if "retrain" not in names or len(cells) != draws * chosen["seed"].nunique():
        return pd.DataFrame(columns=columns)
    retrained = cells["retrain"].T.groupby(level="metric").mean().T
    rows = []
    for method in [name for name in names if name != "retrain"]:
        gaps = cells[method].sub(retrained, level="metric")
        if gaps.isna().any(axis=None) or -gaps["test_accuracy"].mean(axis=None) > WORKING:
            continue
        for metric in METRICS:
            split = nested_variance_components(gaps[metric].to_numpy().reshape(draws, -1, gaps[metric].shape[1]))
            total = sum(each.value for each in split.values())
            for source, each in split.items():
                ends = np.sqrt([each.value, each.low, each.high])
                rows.append([method, metric, source, *ends, each.value / total if total > 0 else np.nan])
    return pd.DataFrame(rows, columns=columns)


def sentences(components: pd.DataFrame) -> list[str]:
    """Standard deviations by metric, median over methods (least to most of a method); shown as found, for one data set
    and model alone."""
    names = {"draw": "forget draw", "original": "original within a draw", "run": "seed of the method"}
    found = []
    for metric, part in components.groupby("metric", sort=False):
        spread = part.groupby("source")["deviation"].agg(["median", "min", "max"])
        rows = spread.reindex([name for name in names if name in spread.index]).itertuples()
        split = "; ".join(f"{names[row.Index]} {row.median:.3f} ({row.min:.3f} to {row.max:.3f})" for row in rows)
        found.append(
            f"**{metric}**: standard deviation of the gap to the retrained model, median over "
            f"{part['method'].nunique()} methods (least to most of a method): {split}. One data set and one model: no "
            "general advice follows."
        )
    return found
