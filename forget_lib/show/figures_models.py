"""Figures that set methods against the retrained model: gaps, what is won and what it costs, where the spread comes
from. Each takes a tidy table and nothing else."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from forget_lib.core.errors import ForgetError
from forget_lib.show.figures import (
    ACCURACIES,
    BLACK,
    BLUE,
    ORANGE,
    PURPLE,
    SKY,
    dots_with_intervals,
    label_models,
    method_order,
    open_around_zero,
    scenario_of,
    seeds_of,
)
from forget_lib.show.findings import ENDS, kept_metric, paired_gap
from forget_lib.statistics.intervals import mean_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.metrics import dominated
from forget_lib.statistics.rules import CONTROLS
from forget_lib.study.records import summary
from forget_lib.unlearning import METHODS


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


def trade_offs(table: pd.DataFrame) -> pd.DataFrame:
    """Three things to be small, by method: distance of forget accuracy from the retrained model's and utility lost
    against it (both in points), and cost relative to retraining. `front`: no other method is as good in all three and
    better in one. Controls of the study (do nothing, mask, over-forget) never stand in for a method.

    Raises: ForgetError without a retrained model.
    """
    kept = kept_metric(table)
    cost = summary(table[table["metric"] == "relative_cost"]).set_index("method")["mean"]
    rows = {}
    for name in method_order(table):
        forget, utility = (paired_gap(table, name, metric) for metric in ("forget_accuracy", kept))
        if name not in CONTROLS and len(forget) and name in cost.index:
            lost = max(0.0, -100 * utility.mean())
            rows[name] = {"forgetting": 100 * abs(forget.mean()), "utility": lost, "cost": float(cost[name])}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    if frame.empty:
        raise ForgetError("No method has a forget accuracy, a cost and a retrained model to be compared with.")
    frame["control"] = [name in METHODS and METHODS[name].control for name in frame.index]
    frame["front"] = False
    rivals = frame.loc[~frame["control"], ["forgetting", "utility", "cost"]]
    frame.loc[rivals.index, "front"] = ~dominated(rivals.to_numpy())
    return frame


def pareto(table: pd.DataFrame) -> Figure:
    """Forgetting against utility, forgetting against cost, utility against cost; ringed and named: on the front."""
    frame = trade_offs(table)
    titles = {"forgetting": "distance of forget accuracy (points)", "utility": "utility lost (points)"}
    titles["cost"] = "cost (retrainings, sample passes)"
    straight = {"forgetting": 1, "utility": 1, "cost": 0.01}
    front = frame[frame["front"]]
    others = frame[~frame["control"] & ~frame["front"]]
    groups = ((frame[frame["control"]], SKY, "x"), (front, BLUE, "o"), (others, ORANGE, "o"))
    pairs = (("forgetting", "utility"), ("cost", "forgetting"), ("cost", "utility"))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
    for axis, (x, y) in zip(axes, pairs, strict=True):
        for part, colour, marker in groups:
            axis.scatter(part[x], part[y], color=colour, marker=marker, s=34)
        axis.scatter(front[x], front[y], facecolors="none", edgecolors=BLACK, s=95)
        for name, row in front.iterrows():
            axis.annotate(name, (row[x], row[y]), (5, 4), textcoords="offset points", fontsize=7)
        open_around_zero(axis, straight[x], straight[y])
        axis.set(xlabel=titles[x], ylabel=titles[y])
    text = "best: bottom left; ringed: no method is better in all three; crosses: controls"
    figure.suptitle(f"What is won, and what it costs: {scenario_of(table)}\n{text}", fontsize=10)
    return figure


def forest(table: pd.DataFrame) -> Figure:
    """Gaps to the retrained model, paired by seed, with 95 % intervals: forget accuracy, what is kept, attack; a panel
    each. The second retrained model is the floor."""
    kept = kept_metric(table)
    panels = [("forget_accuracy", "", "forget accuracy (points)"), (kept, "", f"{ACCURACIES[kept][0]} (points)")]
    if (table["attack"] == "loss_regression").any():
        panels.append(("auc", "loss_regression", "AUC of the loss attack"))
    names = [name for name in method_order(table[table["metric"] != ""]) if name != "retrain"]
    size = (3.2 * len(panels) + 1.8, 0.27 * len(names) + 1.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained")
    for axis, (metric, attack, title) in zip(axes, panels, strict=True):
        gaps = {}
        for name in names:
            values = paired_gap(table, name, metric, attack)
            if len(values) > 1:
                gaps[name] = within(mean_interval(values), gap_range(metric))[:3]
            elif len(values):
                gaps[name] = (values[0], float("nan"), float("nan"))
        scale = 1 if metric == "auc" else 100
        dots_with_intervals(axis, names, scale * pd.DataFrame.from_dict(gaps, orient="index", columns=ENDS))
        axis.axvline(0, color=BLACK, linestyle="--", linewidth=1)
        axis.set_xlabel(title, fontsize=9)
    label_models(axes[0], names)
    figure.suptitle(f"Gaps to the retrained model (0 is right): {scenario_of(table)}\n{seeds_of(table)}", fontsize=10)
    return figure
