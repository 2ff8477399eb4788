"""Figures of the membership study; each takes the table of `membership.run_scenario`, or scores, and nothing else."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forget_lib.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, method_order, plt
from forget_lib.membership_views import detectable_share, dose_response
from forget_lib.results import summary

STYLES = {
    "loss_regression": (ORANGE, "s"),
    "rmia": (SKY, "^"),
    "lira": (BLUE, "o"),
    "u_lira": (PURPLE, "D"),
}
"""Weak to strong: the attacks that are shown side by side."""


def _areas(table: pd.DataFrame, kinds: Sequence[str] = ("control", "method", "null")) -> pd.DataFrame:
    part = table[(table["metric"] == "auc") & table["kind"].isin(kinds)].copy()
    part["row"] = np.where(part["kind"] == "null", part["method"] + ", labels shuffled", part["method"])
    return part


def weak_against_strong(table: pd.DataFrame, title: str) -> Figure:
    """AUC of weak and strong attacks by model, mean over targets with a 95 % interval; dashed: the null of 0.5."""
    part = _areas(table)
    names = list(dict.fromkeys(part["row"]))
    shown = [name for name in STYLES if name in set(part["attack"])]
    figure, axis = plt.subplots(figsize=(7.5, 0.42 * len(names) + 1.5))
    for number, attack in enumerate(shown):
        colour, marker = STYLES[attack]
        rows = part[part["attack"] == attack]
        height = np.array([names.index(name) for name in rows["row"]]) + (number - (len(shown) - 1) / 2) * 0.17
        error = np.abs(np.vstack([rows["value"] - rows["low"], rows["high"] - rows["value"]]))
        style = {"fmt": marker, "color": colour, "capsize": 2, "markersize": 5, "linestyle": "none"}
        axis.errorbar(rows["value"], height, xerr=error, label=attack, **style)
    axis.axvline(0.5, color=BLACK, linestyle="--", linewidth=1)
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel="AUC (0.5: nothing to be told; below: over-forgotten)")
    axis.set_title(
        f"Weak and strong attacks: {title}\nmean over {int(part['targets'].max())} targets, 95 % interval", fontsize=10
    )
    axis.invert_yaxis()
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return figure


def dose_response_curves(table: pd.DataFrame, title: str) -> Figure:
    """AUC against the share of the forget set that was left in training by mistake, a curve an attack."""
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for attack, (colour, marker) in STYLES.items():
        curve = dose_response(table, attack)
        if len(curve) < 3:
            continue
        error = np.abs(np.vstack([curve["value"] - curve["low"], curve["high"] - curve["value"]]))
        least = detectable_share(table, attack)
        label = f"{attack}: finds {least:.0%} or more" if np.isfinite(least) else f"{attack}: finds nothing"
        axis.errorbar(
            curve["share"] * 100, curve["value"], yerr=error, fmt=f"{marker}-", color=colour, capsize=2, label=label
        )
    axis.axhline(0.5, color=BLACK, linestyle="--", linewidth=1)
    axis.set(xlabel="share of the forget set left in training (%)", ylabel="AUC")
    axis.set_title(f"Dose and response: {title}", fontsize=10)
    axis.legend(fontsize=8)
    return figure


def roc_curves(curves: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """ROC on log axes, a curve a name; see `membership_views.roc`."""
    figure, axis = plt.subplots(figsize=(4.8, 4.4))
    colours, styles = [RED, GREEN, BLUE, ORANGE, PURPLE, SKY], ["-", "--", "-.", ":"]
    for number, (name, curve) in enumerate(curves.items()):
        style = {"color": colours[number % 6], "linestyle": styles[number % 4], "label": name}
        axis.plot(curve["false_positive_rate"], curve["true_positive_rate"].clip(lower=1e-4), **style)
    axis.plot([1e-3, 1], [1e-3, 1], color=BLACK, linewidth=0.8, label="chance")
    axis.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1))
    axis.set(xlabel="false-positive rate", ylabel="true-positive rate")
    axis.set_title(f"ROC, log axes: {title}", fontsize=10)
    axis.legend(fontsize=8)
    return figure


def sample_view(margins: pd.DataFrame, title: str) -> Figure:
    """One sample: its logit margin under each group of references; see `membership_views.sample_margins`."""
    figure, axis = plt.subplots(figsize=(6.5, 3))
    bins = np.linspace(margins["phi"].min(), margins["phi"].max() + 1e-9, 15)
    groups = {"in": ("trained with it", RED, ""), "out": ("never saw it", BLUE, "//")}
    groups |= {
        "unlearned": ("trained, then unlearned", PURPLE, ".."),
        "never, after": ("never, same method", GREEN, "xx"),
    }
    for group, part in margins.groupby("group", sort=False):
        name, colour, hatch = groups[group]
        axis.hist(part["phi"], bins, color=colour, alpha=0.5, label=name, hatch=hatch)
    axis.set(xlabel="logit margin of the label (higher: surer)", ylabel="reference models", title=title)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return figure


def attack_table(pooled_runs: pd.DataFrame) -> pd.DataFrame:
    """AUC by method and attack as text, from the records of a pooled membership study: mean over targets, 95 %
    interval."""
    means = summary(pooled_runs[pooled_runs["metric"] == "auc"])
    means["text"] = [f"{row.mean:.3f} ({row.low:.3f} to {row.high:.3f})" for row in means.itertuples()]
    names = list(dict.fromkeys(pooled_runs["attack"]))
    wide = means.pivot(index="method", columns="attack", values="text")
    return wide.reindex(index=method_order(means), columns=[name for name in names if name in wide]).fillna("–")
