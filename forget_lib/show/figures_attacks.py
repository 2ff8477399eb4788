"""Figures of the membership study; each takes the table of `membership.run_scenario`, or scores, and nothing else."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forget_lib.attacks.audit import GUESSED
from forget_lib.show.figures import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    colour_of,
    label_models,
    method_order,
    plt,
)
from forget_lib.show.membership_views import detectable_share, dose_response
from forget_lib.study.records import summary

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
    axis.set_xlabel("AUC (0.5: nothing to be told; below: over-forgotten)")
    label_models(axis, names)
    axis.set_title(
        f"Weak and strong attacks: {title}\nmean over {int(part['targets'].max())} targets, 95 % interval", fontsize=10
    )
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
    """ROC on log axes, a curve a name ("attack, model", a line an attack, a colour a model); see
    `membership_views.roc`."""
    figure, axis = plt.subplots(figsize=(4.8, 4.4))
    lines = dict(zip(dict.fromkeys(name.split(", ")[0] for name in curves), ["-", "--", "-.", ":"] * 3, strict=False))
    for name, curve in curves.items():
        attack, model = name.split(", ")
        style = {"color": colour_of(model), "linestyle": lines[attack], "label": name}
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
    groups = {"in": ("trained with it", RED, ""), "out": ("never saw it", GREEN, "//")}
    groups |= {
        "unlearned": ("trained, then unlearned", BLUE, ".."),
        "never, after": ("never, same method", SKY, "xx"),
    }
    for group, part in margins.groupby("group", sort=False):
        name, colour, hatch = groups[group]
        axis.hist(part["phi"], bins, color=colour, alpha=0.5, label=name, hatch=hatch)
    axis.set(xlabel="logit margin of the label (higher: surer)", ylabel="reference models", title=title)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return figure


def threshold_view(tables: Mapping[str, pd.DataFrame], share: float, title: str) -> Figure:
    """What an attacker finds and whom he accuses wrongly at one threshold, a panel a model.

    tables: of `membership_views.threshold_table`, by model. share: where the threshold lies, in [0, 1], as the share of
    all samples that score below it.
    """
    figure, axes = plt.subplots(1, len(tables), figsize=(3.1 * len(tables) + 0.8, 3), squeeze=False, sharey=True)
    lines = (("found", "members found", RED, "-"), ("false_alarms", "strangers accused", BLUE, "--"),
             ("precision", "accusations that are right", GREEN, "-."))  # fmt: skip
    for axis, (name, table) in zip(axes.flat, tables.items(), strict=True):
        place = np.linspace(0, 100, len(table))
        row = table.iloc[round(share * (len(table) - 1))]
        for column, label, colour, style in lines:
            axis.plot(place, 100 * table[column], style, color=colour, label=label)
            axis.plot(100 * share, 100 * row[column], "o", color=colour, markersize=5)
        axis.axvline(100 * share, color=BLACK, linewidth=0.9)
        text = f"found {row['found']:.0%}, accused {row['false_alarms']:.0%}"
        axis.set(xlabel="threshold (% of samples below it)", ylim=(-3, 103))
        axis.set_title(f"{name}\n{text}", fontsize=9)
    axes[0, 0].set_ylabel("%")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    figure.suptitle(title, fontsize=10, y=1.08)
    return figure


def sample_answers(answers: pd.DataFrame, title: str) -> Figure:
    """How sure references are of one sample's label, before and after; see `pooled.sample_answers`."""
    stages = list(dict.fromkeys(answers["stage"]))
    figure, axis = plt.subplots(figsize=(6.5, 0.5 * len(stages) + 1.4))
    for height, stage in enumerate(stages):
        part = answers[answers["stage"] == stage]
        spread = np.linspace(-0.18, 0.18, len(part))
        for right, colour, marker in ((True, BLUE, "o"), (False, RED, "x")):
            own = (part["right"] == right).to_numpy()
            label = ("answered rightly" if right else "answered wrongly") if height == 0 else None
            axis.scatter(part["probability"][own], height + spread[own], color=colour, marker=marker, s=25, label=label)
        axis.plot(part["probability"].median(), height, "|", color=BLACK, markersize=22)
    axis.set(yticks=range(len(stages)), yticklabels=stages, xlim=(-0.02, 1.02), title=title)
    axis.set_xlabel("probability of the label, a mark a reference; bar: median")
    axis.invert_yaxis()
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return figure


def attack_pictures(views: pd.DataFrame, title: str) -> Figure:
    """What four attacks use, on one net whose history is known: loss, RMIA, LiRA, audit; see
    `membership_views.attack_views`."""
    figure, (loss, ratio, margin, audit) = plt.subplots(1, 4, figsize=(12.5, 3.3), layout="constrained")
    sides = ((False, "never saw it", GREEN, "x"), (True, "trained on it", RED, "o"))
    above = views["phi"] - views["usual_phi"]
    order = above.rank(method="first")
    for member, label, colour, marker in sides:
        part = views[views["member"] == member]
        style = {"color": colour, "marker": marker, "s": 12, "alpha": 0.6, "linewidths": 0.8}
        loss.hist(np.log10(part["loss"].clip(lower=1e-6)), 20, color=colour, alpha=0.5, label=label)
        ratio.scatter(part["usual_probability"], part["probability"], **style)
        margin.scatter(part["usual_phi"], part["phi"], **style)
        audit.scatter(order[part.index], above[part.index], **style)
    for axis in (ratio, margin):
        ends = [max(axis.get_xlim()[0], axis.get_ylim()[0]), min(axis.get_xlim()[1], axis.get_ylim()[1])]
        axis.plot(ends, ends, color=BLACK, linewidth=0.9)
    count = max(1, len(views) // GUESSED)
    right = views["member"][order > len(views) - count].sum() + (~views["member"][order <= count]).sum()
    for ends in ((0, count), (len(views) - count, len(views))):
        audit.axvspan(*ends, color=BLACK, alpha=0.12)
    loss.set(xlabel="log10 of the loss (nats)", ylabel="samples")
    loss.set_title("loss: one threshold for all", fontsize=9)
    ratio.set(xlabel="mean probability, references", ylabel="probability, target", title="")
    ratio.set_title("RMIA: above what is usual?", fontsize=9)
    margin.set(xlabel="mean margin, references without it", ylabel="margin, target")
    margin.set_title("LiRA: above what is usual?", fontsize=9)
    audit.set(xlabel="rank of the sample", ylabel="margin above usual")
    audit.set_title(f"audit: {right} of {2 * count} guesses right", fontsize=9)
    loss.legend(fontsize=8)
    figure.suptitle(f"What attacks look at: {title}", fontsize=10)
    return figure


def neighbour_strip(images: np.ndarray, titles: Sequence[str], title: str) -> Figure:
    """A row of small pictures: a sample and its nearest others. images: uint8 [n, C, H, W]."""
    figure, axes = plt.subplots(1, len(images), figsize=(1.25 * len(images), 1.75), squeeze=False)
    for axis, image, name in zip(axes.flat, images, titles, strict=True):
        axis.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        axis.set_title(name, fontsize=8)
        axis.axis("off")
    figure.suptitle(title, fontsize=10, y=1.06)
    return figure


HEADLINE = ("loss_regression", "rmia", "lira", "u_lira")
"""Weak to strong: the attacks of the headline tables."""


def attack_table(pooled_runs: pd.DataFrame, attacks: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """AUC by method and attack as text, from the records of one pooled membership study: mean over targets, 95 %
    interval."""
    areas = pooled_runs[(pooled_runs["metric"] == "auc") & pooled_runs["attack"].isin(attacks)]
    means = summary(areas)
    means["text"] = [f"{row.mean:.3f} ({row.low:.3f} to {row.high:.3f})" for row in means.itertuples()]
    names = [name for name in attacks if name in set(means["attack"])]
    wide = means.pivot(index="method", columns="attack", values="text")
    return wide.reindex(index=method_order(means), columns=names).fillna("–")


def audit_table(table: pd.DataFrame) -> pd.DataFrame:
    """The one-run audit as text, by model: lower bound on epsilon and share of right guesses, mean over targets."""
    part = table[(table["attack"] == "audit") & table["metric"].isin(["epsilon_lower_bound", "right_guesses"])]
    ends = [f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in part.itertuples()]
    wide = part.assign(text=ends).pivot(index="method", columns="metric", values="text")
    names = {"epsilon_lower_bound": "epsilon at least (nats)", "right_guesses": "right guesses (share)"}
    return wide.reindex(index=part["method"].unique(), columns=list(names)).rename(columns=names)
