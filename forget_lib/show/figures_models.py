"""Figures that set methods against the retrained model: gaps with their cost, and where the spread comes from. Each
takes a tidy table and nothing else."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from forget_lib.show.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    core,
    dots_with_intervals,
    label_models,
    method_order,
    scenario_of,
    seeds_of,
)
from forget_lib.show.findings import ENDS, gap_interval, kept_metric, paired_gap
from forget_lib.show.overview import is_method
from forget_lib.statistics.rules import MARGINS
from forget_lib.study.records import summary


def variance_bars(components: pd.DataFrame, title: str) -> Figure:
    """Where the spread of a gap comes from: SD by source, a bar each; see `variance.components_table`."""
    sources = {"draw": ("forget draw", ORANGE), "original": ("original within a draw", SKY)}
    sources |= {"run": ("seed of the method", PURPLE)}
    names = components["source"].map({source: name for source, (name, _) in sources.items()})
    rows = components.assign(source=names, points=100 * components["deviation"])
    options = {"col": "metric", "kind": "bar", "palette": dict(sources.values()), "errorbar": None}
    height = 0.62 * rows["method"].nunique() + 1.5
    grid = seaborn.catplot(rows, x="points", y="method", hue="source", height=height, aspect=3.1 / height, **options)
    grid.set_titles("{col_name}").set_axis_labels("SD of the gap (points)", "")
    grid.figure.suptitle(f"Where the spread comes from: {title}", fontsize=10, y=1.04)
    return grid.figure


def forest(table: pd.DataFrame) -> Figure:
    """Each model minus the retrained one, paired by seed, with 95 % intervals: forget accuracy, what is kept, the loss
    attack; a panel each, with the margin of equality as a band, and the cost in a panel of its own. Methods stand above
    a line, the nearest on the forget set on top; reference models and placebos stand below it, in grey."""
    shown = core(table)
    kept = kept_metric(shown)
    panels = [("forget_accuracy", "", "forget accuracy (points)"), (kept, "", "kept accuracy (points)")]
    if (shown["attack"] == "loss_regression").any():
        panels.append(("auc", "loss_regression", "AUC of the loss attack"))
    gaps = {panel: _gaps(shown, *panel[:2]) for panel in panels}
    first = gaps[panels[0]]["mean"].abs()
    known = [name for name in method_order(shown[shown["metric"] != ""]) if name != "retrain"]
    methods = sorted(filter(is_method, known), key=lambda name: first.get(name, 1e9))
    names = [*methods, *(name for name in known if not is_method(name))]
    costs = summary(shown[shown["metric"] == "relative_cost"]).set_index("method")[ENDS]
    columns = len(panels) + (not costs.empty)
    size = (2.15 * columns + 1.9, 0.28 * len(names) + 1.7)
    figure, axes = plt.subplots(1, columns, figsize=size, sharey=True, layout="constrained")
    for axis, (panel, rows) in zip(axes, gaps.items(), strict=False):
        margin = MARGINS["auc"] if panel[0] == "auc" else 100 * MARGINS["accuracy"]
        axis.axvspan(-margin, margin, color=GREEN, alpha=0.15, linewidth=0)
        axis.axvline(0, color=GREEN, linewidth=1)
        _dots(axis, names, methods, rows, panel[2])
    if not costs.empty:
        axes[-1].axvline(1, color=GREEN, linewidth=1)
        _dots(axes[-1], names, methods, costs[costs.index.isin(names)], "cost (retrainings)")
    label_models(axes[0], names)
    text = "0 is the retrained model; the green band is the margin, and no proof alone"
    figure.suptitle(f"{scenario_of(table)}\n{text}; {seeds_of(table)}", fontsize=10)
    return figure


def _gaps(table: pd.DataFrame, metric: str, attack: str) -> pd.DataFrame:
    """Mean and 95 % interval of the gap to the retrained model by method, accuracies in points; no ends for one run."""
    rows = {}
    for name in dict.fromkeys(table["method"]):
        values = paired_gap(table, name, metric, attack)
        if len(values) and name != "retrain":
            rows[name] = gap_interval(values, metric)
    return (1 if metric == "auc" else 100) * pd.DataFrame.from_dict(rows, orient="index", columns=ENDS)


def _dots(axis: plt.Axes, names: list[str], methods: list[str], rows: pd.DataFrame, title: str) -> None:
    dots_with_intervals(axis, names, rows[rows.index.isin(methods)], BLUE)
    dots_with_intervals(axis, names, rows[~rows.index.isin(methods)], GREY)
    axis.axhline(len(methods) - 0.5, color=BLACK, linewidth=0.8)
    axis.set_xlabel(title, fontsize=10)
    axis.tick_params(labelsize=9)
    axis.margins(x=0.12)
