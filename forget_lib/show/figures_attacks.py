"""Figures of the membership study, from the table of `membership.table_of` alone."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forget_lib.show.figures import BLACK, BLUE, ORANGE, PURPLE, SKY, label_models, method_order, plt
from forget_lib.study.membership import detection_limits, dose_response
from forget_lib.study.records import summary

STYLES = {"loss_regression": (ORANGE, "s"), "rmia": (SKY, "^"), "lira": (BLUE, "o"), "u_lira": (PURPLE, "D")}
"""Weak to strong: the attacks that are shown side by side."""


def weak_against_strong(table: pd.DataFrame, title: str) -> Figure:
    """AUC of weak and strong attacks by model, mean over targets with a 95 % interval; dashed: the null of 0.5."""
    areas = table[(table["metric"] == "auc") & (table["kind"] != "dose") & table["attack"].isin(STYLES)]
    names, attacks = list(dict.fromkeys(areas["method"])), [name for name in STYLES if name in set(areas["attack"])]
    figure, axis = plt.subplots(figsize=(7.5, 0.42 * len(names) + 1.5))
    for number, attack in enumerate(attacks):
        rows = areas[areas["attack"] == attack]
        height = np.array([names.index(name) for name in rows["method"]])
        height = height + (number - (len(attacks) - 1) / 2) * 0.17
        _errorbar(axis, rows["value"], height, rows, attack, label=attack, horizontal=True)
    axis.axvline(0.5, color=BLACK, linestyle="--", linewidth=1)
    axis.set_xlabel("AUC (0.5: nothing to find; below: forgotten too much)")
    label_models(axis, names)
    behind = f"mean over {int(areas['targets'].max())} targets, 95 % interval"
    axis.set_title(f"Weak and strong attacks: {title}\n{behind}", fontsize=10)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9)
    return figure


def dose_response_curves(table: pd.DataFrame, title: str) -> Figure:
    """AUC against the share of the forget set that was left in training by mistake, a curve an attack."""
    figure, axis = plt.subplots(figsize=(6, 3.6))
    limits = detection_limits(table)
    for attack in (name for name in STYLES if name in limits):
        curve, least = dose_response(table, attack), limits[attack]
        found = f"finds {least:.0%} or more" if np.isfinite(least) else "finds nothing"
        _errorbar(axis, curve["share"] * 100, curve["value"], curve, attack, label=f"{attack}: {found}")
    axis.axhline(0.5, color=BLACK, linestyle="--", linewidth=1)
    axis.set(xlabel="share of the forget set left in training (%)", ylabel="AUC")
    axis.set_title(f"Dose and response: {title}", fontsize=10)
    axis.legend(fontsize=9)
    return figure


def attack_table(runs: pd.DataFrame) -> pd.DataFrame:
    """AUC by method and attack as text, of one pooled membership study: mean over targets, 95 % interval."""
    means = summary(runs[(runs["metric"] == "auc") & runs["attack"].isin(STYLES)])
    means["text"] = [f"{row.mean:.3f} ({row.low:.3f} to {row.high:.3f})" for row in means.itertuples()]
    wide = means.pivot(index="method", columns="attack", values="text")
    attacks = [name for name in STYLES if name in wide.columns]
    return wide.reindex(index=method_order(means), columns=attacks).fillna("–")


def share_table(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the forget set's influence that is left in each model, in per cent with its 95 % interval, beside the
    share that was kept where it is known, the difference from the retrained model, paired by target, and n."""
    rows = table[table["attack"] == "share_left"].copy()
    rows["text"] = [f"{100 * r.value:.1f} ({100 * r.low:.1f} to {100 * r.high:.1f})" for r in rows.itertuples()]
    names = {"share_left": "left (%)", "share_left_gap": "minus retrained", "share_left_placebo": "placebo (0)"}
    wide = rows.pivot(index="method", columns="metric", values="text").rename(columns=names)
    of_model = rows.drop_duplicates("method").set_index("method")
    wide.insert(0, "truth (%)", (100 * of_model["share"]).map("{:.0f}".format, na_action="ignore"))
    wide["targets"] = of_model["targets"].astype(int)
    return wide.reindex(of_model.index).rename_axis(columns=None).fillna("–")


def _errorbar(axis, x, y, rows: pd.DataFrame, attack: str, *, label: str, horizontal: bool = False) -> None:
    colour, marker = STYLES[attack]
    ends = np.abs(np.vstack([rows["value"] - rows["low"], rows["high"] - rows["value"]]))
    error = {"xerr": ends, "fmt": marker} if horizontal else {"yerr": ends, "fmt": f"{marker}-"}
    axis.errorbar(x, y, **error, color=colour, capsize=2, markersize=5 if horizontal else None, label=label)
