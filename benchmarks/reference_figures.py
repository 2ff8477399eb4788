"""The charts of a folder of results/reference, as PNG and SVG, drawn from its records by the study's own functions.

What the pages of the run wrote as files is kept; here is drawn what they did not: the headline, gaps and costs of
each scenario, weak against strong attacks and dose-response of each pool, and where the spread comes from.
"""

import io
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from PIL import Image

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from forget_lib.show import figures, figures_attacks, figures_models, overview
from forget_lib.statistics.rules import PAIRS_FOR_EQUALITY
from forget_lib.study import membership, records, variance

AS_TEXT = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"]}
"""Text of an SVG as text: it can be searched and edited, and makes the file half as large."""
Drawing = tuple[str, Callable[[], Figure]]


def drawings(table: pd.DataFrame, crossed: pd.DataFrame) -> Iterator[Drawing]:
    """Name and function of each chart. table: as `results.load`; crossed: records of the crossed study, or empty."""
    scenarios, strong = records.scenarios_and_pools(table)
    if {"retrain", "original"} <= set(scenarios["method"]):
        found = overview.answers(scenarios)
        if (found["n"] >= PAIRS_FOR_EQUALITY).any():
            yield "headline", partial(figures.headline, found, figures.marks(scenarios))
    for names, part in scenarios.groupby(["dataset", "model", "request"], sort=True):
        if {"retrain", "original"} <= set(part["method"]):
            yield "gaps-" + "-".join(names), partial(figures_models.forest, part)
    for names, part in strong.groupby(["dataset", "model", "request"], sort=True):
        again, title = membership.table_of(part), ", ".join(names)
        yield "attacks-" + "-".join(names), partial(figures_attacks.weak_against_strong, again, title)
        if again["kind"].eq("dose").any():
            yield "doses-" + "-".join(names), partial(figures_attacks.dose_response_curves, again, title)
    if len(crossed) and crossed[["draw", "seed"]].nunique().min() > 1:  # else it is at its beginning
        split = variance.components_table(records.scenarios_and_pools(crossed)[0])
        title = ", ".join(crossed[["dataset", "model", "request"]].iloc[-1])
        if len(split):
            yield "spread", partial(figures_models.variance_bars, split, title)


def write_figures(root: Path, output: Path, table: pd.DataFrame, crossed: pd.DataFrame) -> None:
    """Copies the charts that the run wrote, and draws the others; the same bytes for the same records and versions."""
    figures.use_style()
    folder = output / "figures"
    folder.mkdir(parents=True)
    for path in sorted([*(root / "figures").glob("*.png"), *(root / "figures").glob("*.svg")]):
        shutil.copyfile(path, folder / path.name)
    for name, draw in drawings(table, crossed):
        if (folder / f"{name}.svg").is_file() and (folder / f"{name}.png").is_file():
            continue
        figure = draw()
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150)
        with_palette = Image.open(stream).convert("RGB").quantize(256, dither=0)
        with_palette.save(folder / f"{name}.png", optimize=True)
        with mpl.rc_context(AS_TEXT):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
