"""Figures of what happens inside models (layers, embeddings, predictions, relearning, spread), and of what is won and
what it costs. Each takes a tidy table and nothing else; see `record_views` for those that are not of `results.load`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forget_lib.core.errors import ForgetError
from forget_lib.show.figures import (
    ACCURACIES,
    BLACK,
    BLUE,
    CONTROL_COLOURS,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    colour_of,
    heat_map,
    label_models,
    method_order,
    seeds_of,
)
from forget_lib.show.figures import _scenario as scenario_of
from forget_lib.show.findings import kept_metric, paired_gap
from forget_lib.statistics.intervals import mean_interval, within
from forget_lib.statistics.measurement import gap_range
from forget_lib.statistics.metrics import dominated
from forget_lib.statistics.rules import CONTROLS
from forget_lib.study.records import summary
from forget_lib.unlearning import METHODS

STYLES = ["-", "--", "-.", ":"]
WHEEL = [BLUE, ORANGE, PURPLE, SKY, YELLOW, BLACK]


def style_of(name: str, number: int) -> dict[str, object]:
    """Colour, line and marker of a method's curve; controls keep their colours."""
    colour = CONTROL_COLOURS.get(name, WHEEL[number % len(WHEEL)])
    return {"color": colour, "linestyle": STYLES[number // len(WHEEL) % 4], "marker": MARKERS[number % len(MARKERS)]}


def layer_likeness(table: pd.DataFrame) -> Figure:
    """Linear CKA by layer: how alike each model's layers are to the retrained model's, and to the original's."""
    means = summary(table[table["metric"].isin(["cka_to_retrain", "cka_to_original"])])
    if means.empty:
        raise ForgetError("The table holds no CKA; run the scenario again to measure it.")
    layers = list(dict.fromkeys(means["item"]))
    names = [name for name in method_order(means) if name in set(means["method"])]
    size = (1.6 * len(layers) + 3.6, 0.3 * len(names) + 1.7)
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for axis, other, title in zip(axes, ("retrain", "original"), ("to the retrained", "to the original"), strict=True):
        wide = means[means["metric"] == f"cka_to_{other}"].pivot(index="method", columns="item", values="mean")
        image = heat_map(axis, wide.reindex(index=names, columns=layers), 1, ".2f")
        axis.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes, label="linear CKA (1: alike)")
    figure.suptitle(f"Likeness of layers: {scenario_of(table)}\n{seeds_of(table)}", fontsize=10)
    return figure


def prediction_matrices(predictions: pd.DataFrame, title: str) -> Figure:
    """What is predicted for each label, a matrix a model; see `record_views.prediction_table`."""
    models = list(dict.fromkeys(predictions["model"]))
    figure, axes = plt.subplots(1, len(models), figsize=(3.2 * len(models) + 0.9, 3.5), squeeze=False, sharey=True,
                                layout="constrained")  # fmt: skip
    for axis, name in zip(axes.flat, models, strict=True):
        grid = predictions[predictions["model"] == name].pivot(index="label", columns="predicted", values="share")
        image = heat_map(axis, 100 * grid, 100, every=max(1, len(grid) // 10))
        axis.set(title=name, xlabel="predicted class", aspect="equal")
    axes[0, 0].set_ylabel("label")
    figure.colorbar(image, ax=axes, label="% of the label's test images", shrink=0.85)
    figure.suptitle(f"Predictions before and after: {title}", fontsize=10)
    return figure


def embedding_maps(points: pd.DataFrame, title: str) -> Figure:
    """Maps of the embedding before and after, one layout for all models; see `record_views.embedding_map`."""
    models, layouts = (list(dict.fromkeys(points[name])) for name in ("model", "layout"))
    size = (2.9 * len(models), 2.8 * len(layouts) + 0.5)
    figure, axes = plt.subplots(len(layouts), len(models), figsize=size, squeeze=False, layout="constrained")
    for row, layout in zip(axes, layouts, strict=True):
        own = points[points["layout"] == layout]
        ends = [(own[axis].min(), own[axis].max()) for axis in ("x", "y")]
        for axis, name in zip(row, models, strict=True):
            part = own[own["model"] == name]
            kept, gone = part[~part["forgotten"]], part[part["forgotten"]]
            axis.scatter(kept["x"], kept["y"], c=kept["label"], cmap="cividis", s=9, alpha=0.5, label="kept")
            axis.scatter(gone["x"], gone["y"], color=ORANGE, s=22, marker="x", linewidths=0.9, label="to be forgotten")
            axis.set(xlim=_padded(ends[0]), ylim=_padded(ends[1]), xticks=[], yticks=[])
            axis.set_title(f"{name}, {layout}", fontsize=9)
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    figure.suptitle(f"Embedding, one layout for all models: {title}", fontsize=10)
    return figure


def _padded(ends: tuple[float, float]) -> tuple[float, float]:
    gap = 0.05 * (ends[1] - ends[0])
    return ends[0] - gap, ends[1] + gap


def relearning_curves(table: pd.DataFrame) -> Figure:
    """Accuracy on the forget set while it is learned again, mean over seeds, against mini-batches (symlog axis)."""
    means = summary(table[table["metric"] == "relearned_accuracy"])
    if means.empty:
        raise ForgetError("The table holds no relearning curves; ask for the attack `relearning` in the scenario.")
    means["step"] = means["item"].astype(int)
    figure, axis = plt.subplots(figsize=(6.6, 3.8))
    for number, name in enumerate(method_order(means)):
        part = means[means["method"] == name].sort_values("step")
        width = 2.6 if name in CONTROL_COLOURS else 1.2
        axis.plot(part["step"], 100 * part["mean"], **style_of(name, number), linewidth=width, markersize=3, label=name)
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="mini-batches of relearning", ylabel="accuracy on the forget set (%)", ylim=(-3, 103), xlim=(0, 62))
    axis.set_title(f"Relearning: {scenario_of(table)}\n{seeds_of(table)}; right: as the retrained model", fontsize=10)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7)
    return figure


def relearning_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mini-batches until relearned and AIN by method as text, with 95 % t-intervals over seeds; ">" where some runs
    were cut by the limit, so that the number is a lower bound."""
    means = summary(table[(table["attack"] == "relearning") & (table["item"] == "")]).set_index(["metric", "method"])
    names, rows = method_order(table[table["attack"] == "relearning"]), {}
    for name in names:
        cut = means["mean"].get(("relearning_cut", name), 0) > 0
        for metric, digits in (("relearning_steps", 1), ("anamnesis_index", 2)):
            if (metric, name) in means.index:
                row = means.loc[(metric, name)]
                ends = f" ({row['low']:.{digits}f} to {row['high']:.{digits}f})" if row["n"] > 1 else ""
                text = f"{'> ' if cut else ''}{row['mean']:.{digits}f}{ends}"
                rows.setdefault(name, {})[metric] = text
    frame = pd.DataFrame.from_dict(rows, orient="index").fillna("–")
    return frame.rename(
        columns={"relearning_steps": "mini-batches until relearned", "anamnesis_index": "AIN (1: ideal)"}
    )


def epoch_curves(history: pd.DataFrame, title: str) -> Figure:
    """Accuracy on forget and validation samples by epoch of unlearning, a curve a method, mean over seeds; 0: before.

    history: of `record_views.histories`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.2), sharey=True)
    metrics = (("forget_accuracy", "forget set"), ("validation_accuracy", "validation set"))
    for axis, (metric, name) in zip(axes, metrics, strict=True):
        for number, (method, part) in enumerate(history.groupby("method", sort=False)):
            curve = 100 * part.groupby("epoch")[metric].mean()
            axis.plot(curve.index, curve, **style_of(method, number), markersize=4, label=method)
        axis.set(title=name, xlabel="epoch of unlearning", ylim=(-3, 103))
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("accuracy (%)")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    figure.suptitle(f"Unlearning by epoch: {title}", fontsize=10, y=1.03)
    return figure


def variance_bars(components: pd.DataFrame, title: str) -> Figure:
    """Where the spread of a result comes from: SD by source, a bar each; see `variance.components_table`."""
    sources = {"draw": (ORANGE, "forget draw"), "seed": (SKY, "seed of the original"),
               "draw x seed": (YELLOW, "draw × seed"), "run": (PURPLE, "seed of the method")}  # fmt: skip
    metrics = list(dict.fromkeys(components["metric"]))
    methods = list(dict.fromkeys(components["method"]))
    size = (3.1 * len(metrics) + 1.6, 0.62 * len(methods) + 1.5)
    figure, axes = plt.subplots(1, len(metrics), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis, metric in zip(axes.flat, metrics, strict=True):
        part = components[components["metric"] == metric].set_index(["method", "source"])["deviation"]
        for number, (source, (colour, name)) in enumerate(sources.items()):
            height = np.arange(len(methods)) + (number - 1.5) * 0.19
            widths = [100 * part.get((method, source), np.nan) for method in methods]
            axis.barh(height, widths, 0.17, color=colour, label=name, hatch=["", "//", "..", "xx"][number])
        axis.set(xlabel="SD (points)", yticks=range(len(methods)), yticklabels=methods)
        axis.set_title(metric, fontsize=9)
    axes[0, 0].invert_yaxis()
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    figure.suptitle(f"Where the spread comes from: {title}", fontsize=10)
    return figure


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
    titles = {"forgetting": "distance of forget accuracy (points)", "utility": "utility lost (points)",
              "cost": "cost (retrainings, sample passes)"}  # fmt: skip
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
    for axis, (x, y) in zip(
        axes, (("forgetting", "utility"), ("cost", "forgetting"), ("cost", "utility")), strict=True
    ):
        for row in frame.itertuples():
            colour = SKY if row.control else BLUE if row.front else ORANGE
            marker = "x" if row.control else "o"
            axis.scatter(getattr(row, x), getattr(row, y), color=colour, marker=marker, s=34)
            if row.front:
                axis.scatter(getattr(row, x), getattr(row, y), facecolors="none", edgecolors=BLACK, s=95)
                axis.annotate(
                    row.Index, (getattr(row, x), getattr(row, y)), (5, 4), textcoords="offset points", fontsize=7
                )
        for name, setter in ((x, axis.set_xscale), (y, axis.set_yscale)):
            setter("symlog", linthresh=0.01 if name == "cost" else 1)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set(xlabel=titles[x], ylabel=titles[y])
        axis.margins(0.16)
    text = "best: bottom left; ringed: no method is better in all three; crosses: controls"
    figure.suptitle(f"What is won, and what it costs: {scenario_of(table)}\n{text}", fontsize=10)
    return figure


def forest(table: pd.DataFrame) -> Figure:
    """Gaps to the retrained model, paired by seed, with 95 % intervals: forget accuracy, what is kept, attack; a panel
    each. The second retrained model is the floor."""
    kept = kept_metric(table)
    panels = [
        ("forget_accuracy", "", "forget accuracy (points)"),
        (kept, "", f"{ACCURACIES[kept][0]} (points)"),
    ]
    if (table["attack"] == "loss_regression").any():
        panels.append(("auc", "loss_regression", "AUC of the loss attack"))
    names = [name for name in method_order(table[table["metric"] != ""]) if name != "retrain"]
    size = (3.2 * len(panels) + 1.8, 0.27 * len(names) + 1.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis, (metric, attack, title) in zip(axes.flat, panels, strict=True):
        scale = 1 if metric == "auc" else 100
        for height, name in enumerate(names):
            values = paired_gap(table, name, metric, attack)
            if len(values) == 0:
                continue
            interval = within(mean_interval(values), gap_range(metric)) if len(values) > 1 else None
            ends = [[interval.value - interval.low], [interval.high - interval.value]] if interval else None
            error = scale * np.array(ends) if interval else None
            axis.errorbar(
                scale * values.mean(), height, xerr=error, fmt="o", color=colour_of(name), capsize=3, markersize=5
            )
        axis.axvline(0, color=BLACK, linestyle="--", linewidth=1)
        axis.set_xlabel(title, fontsize=9)
    label_models(axes[0, 0], names)
    figure.suptitle(f"Gaps to the retrained model (0 is right): {scenario_of(table)}\n{seeds_of(table)}", fontsize=10)
    return figure
