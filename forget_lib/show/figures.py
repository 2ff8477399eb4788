"""Figures of data and of results. Those of results take a tidy table (see `records.load`) and nothing else.

Colours are Okabe and Ito's, told apart by colour-blind readers and on grey paper together with the marker.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from IPython.core.pylabtools import print_figure
from IPython.display import Markdown, display
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import special
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import ImageData
from forget_lib.show.findings import failures
from forget_lib.show.overview import CORE, KINDS, SCENARIO, failing, is_method, ranked
from forget_lib.statistics.rules import MARGINS, PAIRS_FOR_EQUALITY
from forget_lib.study.records import summary
from forget_lib.unlearning import METHODS, list_methods

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"
)  # fmt: skip
GREY = "#777777"
SETS = {"forget": ORANGE, "retain": SKY, "test": PURPLE, "unseen": BLACK}
"""Colours of sets of data; those of models are others, and the same in every figure: see `colour_of`."""
CONTROL_COLOURS = {"original": RED, "retrain": GREEN, "second_retrain": GREEN}
TITLES = {
    "forget_accuracy": "forget set (%)",
    "retain_accuracy": "retain set (%)",
    "test_accuracy": "test set (%)",
    "test_accuracy_forgotten": "test, forgotten classes (%)",
    "test_accuracy_retained": "test, other classes (%)",
    "auc": "AUC of the loss attack",
    "relative_cost": "cost (retrainings)",
    "seconds": "CPU seconds",
}
"""Heads of the columns of `comparison`."""
FIRST = ["original", "retrain", "second_retrain"]
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "svg.hashsalt": "forget",
    "font.size": 10,
}


PAGE_WIDTH = 1176
"""Pixels that a figure has on a page, in a window of 1,400: a wider one is made smaller, and its text with it."""


def use_style() -> None:
    """Sets the look of the figures of a page, from here on; a notebook calls it in its setup."""
    plt.rcParams.update(STYLE)


def show(figure: Figure, alt: str) -> None:
    """Shows a figure in a notebook as a picture, whatever matplotlib's backend, with text for those who cannot see it.

    Raises: ForgetError for a figure without axes.
    """
    plt.close(figure)
    picture = print_figure(figure)
    if not picture:
        raise ForgetError(f"There is nothing to see in the figure: {alt}")
    width = int.from_bytes(picture[16:20], "big")  # of a PNG, in pixels
    sizes = [float(text.get_fontsize()) for text in figure.findobj(Text) if text.get_text().strip()]
    smallest = min(sizes, default=0.0) * figure.dpi / 72 * min(1, PAGE_WIDTH / width)
    about = {"image/png": {"alt": alt, "smallest_text": round(smallest, 1)}}
    bundle = {"image/png": b64encode(picture).decode("ascii"), "text/plain": repr(figure)}
    display(bundle, raw=True, metadata=about)


def colour_of(name: str) -> str:
    """Colour of a model: the original's, the retrained models', or the one of all unlearned models."""
    return CONTROL_COLOURS.get(name, BLUE)


def curve_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each model's curve, again from the first after six; original and retrained ones have their own."""
    wheel = [BLUE, ORANGE, PURPLE, SKY, YELLOW, BLACK]
    return {name: CONTROL_COLOURS.get(name, wheel[number % len(wheel)]) for number, name in enumerate(names)}


def label_models(axis: plt.Axes, names: Sequence[str]) -> None:
    """Names of models as labels of rows, original and retrained ones in their colours, the first on top."""
    axis.set_yticks(range(len(names)), labels=names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    for label, name in zip(axis.get_yticklabels(), names, strict=True):
        if name in CONTROL_COLOURS:
            label.set(color=CONTROL_COLOURS[name], fontweight="bold")


def legend_beside(axis: plt.Axes, **options: object) -> None:
    """A legend to the right of the axes, where it hides nothing."""
    axis.legend(**{"loc": "upper left", "bbox_to_anchor": (1.01, 1), "fontsize": 9, **options})


def method_order(table: pd.DataFrame) -> list[str]:
    """Original and retrained model first, then the methods in the order of the registry, then others by name."""
    there = set(table["method"])
    known = [name for name in [*FIRST, *list_methods()] if name in there]
    return [*dict.fromkeys(known), *sorted(there - set(known))]


def core(table: pd.DataFrame, most: int = 14) -> pd.DataFrame:
    """The rows that a figure shows: of all models if they are few, else of the core methods, the reference models, the
    placebos, and methods of the user's own."""
    names = set(table["method"])
    if len(names) <= most:
        return table
    own = {name for name in names & set(METHODS) if not METHODS[name].function.__module__.startswith("forget_lib.")}
    return table[table["method"].isin({*CORE, *FIRST, *own})]


def marks(table: pd.DataFrame) -> str:
    """What must stand on a figure of these records: their data and whether they are synthetic or a sample."""
    found = []
    for name, group in table.groupby("dataset", sort=False):
        flags = {"synthetic": "synthetic", "sampled": "sample"}
        words = [word for flag, word in flags.items() if group[flag].eq(True).any()]
        found.append(f"{name} ({', '.join(words)})" if words else str(name))
    return "; ".join(found)


def seeds_of(table: pd.DataFrame) -> str:
    """How many originals are behind each value of a figure, in words: the fewest and the most of a method."""
    there = table[table["metric"] != ""]
    units = there.drop_duplicates(["dataset", "model", "request", "method", "draw", "seed"])
    counts = units.groupby(["dataset", "model", "request", "method"]).size()
    if counts.max() == 1:
        return "one run; an interval, if any, is over its samples"
    return f"mean and 95 % interval over {_from_to(counts.min(), counts.max())} seeds"


def _from_to(fewest: int, most: int) -> str:
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def scenario_of(table: pd.DataFrame) -> str:
    """Data, net, request and failed methods of these records, for a figure's title."""
    requests, failed = ", ".join(dict.fromkeys(table["request"])), ", ".join(failures(table))
    note = f"; failed: {failed}" if failed else ""
    return f"{marks(table)}, {', '.join(dict.fromkeys(table['model']))}, {requests}{note}"


def picture(image: Tensor) -> np.ndarray:
    """uint8 [C, H, W] as an array that matplotlib draws: [H, W] or [H, W, 3]."""
    array = image.cpu().numpy()
    return array[0] if len(array) == 1 else array.transpose(1, 2, 0)


def image_rows(rows: Mapping[str, Tensor], title: str) -> Figure:
    """Rows of small images, each row under its title. rows: uint8 [n, C, H, W]; the first ten of each are drawn."""
    columns = max(1, min(10, max(map(len, rows.values()))))
    size = (0.85 * columns, 1.1 * len(rows) + 0.3)
    figure, axes = plt.subplots(len(rows), 1, figsize=size, squeeze=False, layout="constrained")
    for axis, (name, images) in zip(axes.flat, rows.items(), strict=True):
        height, width = images.shape[2:]
        strip = np.full((height, columns * (width + 1), 3), 255, dtype=np.uint8)
        for place, image in enumerate(images[:columns]):
            pixels = picture(image)
            start = place * (width + 1)
            strip[:, start : start + width] = pixels if pixels.ndim == 3 else pixels[:, :, None]
        axis.imshow(strip)
        axis.axis("off")
        axis.set_title(name, loc="left", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def before_after(
    images: Tensor, labels: Tensor, logits: Mapping[str, np.ndarray], classes: Sequence[str], title: str
) -> Figure:
    """Images side by side under their labels, and below each the answer of every model with its probability.

    images: uint8 [n, C, H, W]. labels: long [n]. logits: float [n, classes] by model: original, unlearned, retrained.
    """
    size = (1.4 * len(images) + 2, 2.0 + 0.3 * len(logits))
    figure, axes = plt.subplots(1, len(images), figsize=size, squeeze=False, layout="constrained")
    for number, axis in enumerate(axes.flat):
        axis.imshow(picture(images[number]), cmap="gray", vmin=0, vmax=255)
        axis.axis("off")
        axis.set_title(f"label: {classes[int(labels[number])]}", fontsize=10)
        for line, (name, values) in enumerate(logits.items()):
            place = {"transform": axis.transAxes, "va": "top", "fontsize": 10, "color": colour_of(name)}
            shares = special.softmax(values[number].astype(float))
            height = -0.06 - 0.2 * line
            axis.text(0.5, height, f"{classes[shares.argmax()]}  {shares.max():.0%}", ha="center", **place)
            if number == 0:
                axis.text(-0.25, height, name, ha="right", fontweight="bold", **place)
    figure.suptitle(title, fontsize=10)
    return figure


def show_images(data: ImageData, drawn: Figure | Mapping[str, Tensor], alt: str) -> None:
    """Shows a figure of images of a data set, or `image_rows` of them; images of real people, and a user's own, are
    not shown."""
    if data.private:
        display(Markdown(f"*{data.label}: images of real people, and images of your own, are never put on a page.*"))
        return
    show(drawn if isinstance(drawn, Figure) else image_rows(drawn, data.label), alt)


def training_curve(history: pd.DataFrame, title: str) -> Figure:
    """Loss and accuracy while training, by epoch; columns epoch, loss, accuracy."""
    rows = history.assign(accuracy=100 * history["accuracy"]).set_index("epoch")[["loss", "accuracy"]]
    titles = [f"{title}: loss", f"{title}: accuracy while training"]
    ((left, right),) = rows.plot(
        subplots=True, layout=(1, 2), figsize=(8, 2.8), style="o-", color=[BLUE, GREEN], title=titles, legend=False
    )
    left.set_ylabel("cross-entropy (nats)")
    right.set_ylabel("accuracy (%)")
    left.figure.tight_layout()
    return left.figure


def dots_with_intervals(
    axis: plt.Axes, names: Sequence[str], rows: pd.DataFrame, colour: str = "", shift: float = 0.0, **style: Any
) -> None:
    """A dot for each model in the row of its name, with its interval if it has one. rows: columns mean, low, high by
    model. colour: empty for the model's own."""
    shades = pd.Series([colour or colour_of(str(name)) for name in rows.index], index=rows.index, dtype=str)
    for shade, part in rows.groupby(shades, sort=False):
        height = [names.index(name) + shift for name in part.index]
        error = np.nan_to_num([part["mean"] - part["low"], part["high"] - part["mean"]])
        options: dict[str, Any] = {"fmt": "o", "color": shade, "capsize": 3, "markersize": 5} | style
        axis.errorbar(part["mean"], height, xerr=error, **options)


def _rows(table: pd.DataFrame, metric: str, attack: str = "") -> pd.DataFrame:
    means = summary(table)
    means = means[(means["metric"] == metric) & (means["attack"] == attack)].set_index("method")
    if means.empty:
        raise ForgetError(f"No values of {metric!r} in the table; metrics: {', '.join(sorted(set(table['metric'])))}.")
    return means.reindex([name for name in method_order(table) if name in means.index])


def attack_strength(
    table: pd.DataFrame, attack: str = "loss_regression", metric: str = "auc", null: float | None = 0.5
) -> Figure:
    """An attack's result by method, with intervals and its null; below the null is over-forgetting."""
    means = _rows(core(table), metric, attack)
    figure, axis = plt.subplots(figsize=(8, 0.32 * len(means) + 1.4))
    dots_with_intervals(axis, list(means.index), means)
    if null is not None:
        axis.axvline(null, color=BLACK, linestyle="--", linewidth=1)
    title = "AUC of the attack" if metric == "auc" else metric.replace("_", " ")
    axis.set_xlabel(title if null is None else f"{title}; dashed: {null:g}, nothing to find")
    label_models(axis, list(means.index))
    axis.set_title(f"Attack {attack} on {scenario_of(table)}\n{seeds_of(table)}", fontsize=10)
    return figure


def cost_curves(points: pd.DataFrame, title: str) -> Figure:
    """Accuracy kept against cost, both relative to the retrained model, a curve a method (mean over pairs of draw and
    seed) with its name at its end; black: a retraining cut short. points: of `cost_curve.points`."""
    figure, axis = plt.subplots(figsize=(8, 4.4), layout="constrained")
    means = 100 * points.groupby(["method", "share"])[["cost", "kept"]].mean()
    ends = {name: means.loc[name, "kept"].iloc[-1] for name in dict.fromkeys(points["method"])}
    colours = curve_colours(list(ends)) | {"short_retrain": BLACK}
    spread = 0.06 * np.ptp(means["kept"])
    height = -np.inf
    for name, end in sorted(ends.items(), key=lambda each: each[1]):
        curve, height = means.loc[name], max(end, height + spread)  # names must not lie on one another
        axis.plot(
            curve["cost"], curve["kept"], "o-", color=colours[name], linewidth=2.5 if name == "short_retrain" else 1.5
        )
        axis.text(1.25 * means["cost"].max(), height, name, color=colours[name], va="center", fontsize=10)
    axis.axhline(0, color=GREEN, linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="cost (% of a retraining)", ylabel="kept accuracy minus retrained (points)")
    axis.xaxis.set_major_formatter("{x:g}")
    pairs = len(points[["draw", "seed"]].drop_duplicates())
    axis.set_title(f"What is kept at what cost: {title}\nmean over {pairs} pairs of draw and seed", fontsize=10)
    return figure


def heat_map(axis: plt.Axes, grid: pd.DataFrame, most: float, form: str = "", every: int = 1) -> QuadMesh:
    """A table drawn as colours from 0 to `most`, for a colour bar; a missing value stays white.

    Args: form: of the number in each cell, such as ".0f"; none where empty. every: of the labels, which are shown.
    """
    numbers = {"annot": True, "fmt": form, "annot_kws": {"fontsize": 9}} if form else {}
    ticks = {"xticklabels": every, "yticklabels": every}
    seaborn.heatmap(grid, ax=axis, cmap="cividis", vmin=0, vmax=most, cbar=False, **ticks, **numbers)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="y", rotation=0)
    axis.tick_params(axis="x", rotation=45 if max(len(str(name)) for name in grid.columns) > 6 else 0)
    axis.grid(False)
    return cast(QuadMesh, axis.collections[0])


def class_heat_map(table: pd.DataFrame) -> Figure:
    """Test accuracy by class and method (%), means over seeds; a class that the retrained model does not know is marked
    in its label."""
    part = core(table[table["metric"] == "class_accuracy"])
    grid = part.pivot_table(index="method", columns="item", values="value", sort=False) * 100
    grid = grid.reindex(method_order(part))
    figure, axis = plt.subplots(figsize=(min(10, 0.62 * grid.shape[1] + 2.4), 0.34 * grid.shape[0] + 1.6))
    image = heat_map(axis, grid, 100, ".0f" if grid.shape[1] <= 15 else "", every=1 + grid.shape[1] // 16)
    for label in axis.get_xticklabels():
        if "retrain" in grid.index and grid.loc["retrain"].rename(str).get(label.get_text(), 100) <= 1:
            label.set(color=RED, fontweight="bold")
    axis.set_title(f"Test accuracy by class (%): {scenario_of(table)}", fontsize=10)
    figure.colorbar(image, ax=axis, label="%")
    return figure


def comparison(table: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Methods by metric as text: mean in per cent (or as it is) with half the 95 % interval where there is more
    than one seed, or with its ends where one of them is cut at 0 or 100 %."""
    chosen = list(metrics or [name for name in TITLES if name not in ("test_accuracy_forgotten", "seconds")])
    means = summary(table)
    means = means[means["metric"].isin(chosen)]
    means = means[(means["metric"] != "auc") | (means["attack"] == "loss_regression")]
    rows: dict[str, dict[str, str]] = {}
    for row in means.itertuples():
        scale = 100 if row.metric.endswith("accuracy") or "_accuracy_" in row.metric else 1
        digits = 1 if scale == 100 else 3
        mean, low, high = (f"{value * scale:.{digits}f}" for value in (row.mean, row.low, row.high))
        even = np.isclose(row.high - row.mean, row.mean - row.low)  # else an end is cut at what can be
        ends = f" ± {(row.high - row.mean) * scale:.{digits}f}" if even else f" ({low} to {high})"
        rows.setdefault(row.method, {})[row.metric] = f"{mean}{ends if row.n > 1 else ''}"
    frame = pd.DataFrame.from_dict(rows, orient="index").reindex(method_order(table[table["metric"] != ""]))
    frame = frame[[name for name in chosen if name in frame.columns]].rename(columns=TITLES)
    for name in [name for name in failures(table) if name not in frame.index]:
        frame.loc[name] = "failed"
    return frame.fillna("–")


def loss_distributions(losses: Mapping[str, Mapping[str, np.ndarray]], title: str) -> Figure:
    """Cumulative distribution of the loss of forget and unseen samples, a panel a model (log axis, cut at 1,000 nats:
    one method that diverged would squeeze all others)."""
    rows, columns = -(-len(losses) // 3), min(3, len(losses))
    shape: dict[str, Any] = {"figsize": (3.1 * columns, 2 * rows + 0.5), "layout": "constrained"}
    figure, axes = plt.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, **shape)
    for axis, (name, sets) in zip(axes.flat, losses.items(), strict=False):
        for part in ("forget", "unseen"):
            axis.ecdf(np.clip(sets[part], 1e-6, 1e3), color=SETS[part], label=part)
        axis.set_title(name)
    for axis in axes.flat[len(losses) :]:
        axis.set_axis_off()
    axes.flat[0].set(xscale="log")  # of all, as they share it
    axes.flat[0].minorticks_off()
    axes.flat[0].legend(fontsize=8)
    figure.supxlabel("loss (nats)", fontsize=10)
    figure.supylabel("share of samples", fontsize=10)
    figure.suptitle(f"Loss of forget and unseen samples: {title}", fontsize=10)
    return figure


def headline(found: pd.DataFrame, data: str) -> Figure:
    """Gap of forget accuracy to the retrained model by core method, a panel a kind of request and a dot a scenario with
    its own interval; 0 is right and the band is the margin of equality. Placebos and reference models stand below a
    line, in grey. Each panel says over how many scenarios, draws and seeds (n), which are 6 at least.

    found: of `overview.answers`. data: what stands under the figure's heading, see `marks`.
    Raises: ForgetError where no scenario has so many.
    """
    found = found[found["n"] >= PAIRS_FOR_EQUALITY]
    if found.empty:
        raise ForgetError(f"No scenario has {PAIRS_FOR_EQUALITY} pairs of draw and seed: there is no headline.")
    failed = failing(found[found["method"].isin(CORE)])
    data += f"\nfailed: {', '.join(failed)}" if failed else ""
    found = found[found["method"].isin(CORE) & found["forget"].notna()]
    names = ranked(found)
    methods = [name for name in names if is_method(name)]
    kinds, margin = list(dict.fromkeys(found["kind"])), 100 * MARGINS["accuracy"]
    columns = min(5, len(kinds))
    lines = -(-len(kinds) // columns)
    size = (1.75 * columns + 1.8, lines * (0.34 * len(names) + 0.9) + 0.9)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis in list(axes.flat)[len(kinds) :]:
        axis.axis("off")
    for axis, kind in zip(axes.flat, kinds, strict=False):
        axis.axvspan(-margin, margin, color=GREEN, alpha=0.15, linewidth=0)
        axis.axvline(0, color=GREEN, linewidth=1)
        axis.axhline(len(methods) - 0.5, color=BLACK, linewidth=1)
        scenarios = list(found[found["kind"] == kind].groupby(SCENARIO, sort=True))
        for number, (_, part) in enumerate(scenarios):
            shift = 0.6 * ((number + 1) / (len(scenarios) + 1) - 0.5)
            ends = {"forget": "mean", "forget_low": "low", "forget_high": "high"}
            rows = part.set_index("method")[list(ends)].rename(columns=ends)
            style = {"shift": shift, "capsize": 2, "markersize": 4}
            dots_with_intervals(axis, names, rows[rows.index.isin(methods)], BLUE, **style)
            dots_with_intervals(axis, names, rows[~rows.index.isin(methods)], GREY, **style)
        there = found[found["kind"] == kind]
        name = KINDS.get(kind, kind).replace(" in a ", "\nin a ")
        behind = f"{len(scenarios)} scenario{'s' if len(scenarios) > 1 else ''}"
        axis.set_title(f"{name}\n{behind}, n = {_from_to(there['n'].min(), there['n'].max())}", fontsize=9)
        axis.set_xlabel("points", fontsize=9)
        axis.tick_params(labelsize=9)
    label_models(axes[0, 0], names)
    heading = "Forget accuracy minus the retrained model's; the green band is the margin, and no proof alone"
    about = "A dot a scenario, with its 95 % interval; n: pairs of draw and seed"
    figure.suptitle(f"{heading}\n{about}\n{data}", fontsize=10)
    return figure
