"""Reading the membership table: dose-response, detection limit, ROC curves, power, and one sample at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from forget_lib.core.errors import ForgetError
from forget_lib.statistics import intervals, scores
from forget_lib.statistics.rules import ALPHA, POWER, STRONG, WEAK
from forget_lib.study.membership import Scored
from forget_lib.study.pools import Pool


def dose_response(table: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Share left, AUC and interval of one attack, from 0 (retrained) to 1 (original); a share a row, sorted."""
    chosen = table[(table["attack"] == attack) & (table["metric"] == "auc") & table["share"].notna()]
    chosen = chosen[chosen["method"] != "second_retrain"]
    return chosen[["share", "value", "low", "high", "error", "null_error"]].sort_values("share", ignore_index=True)


def detectable_share(table: pd.DataFrame, attack: str, errors: float = 3.0) -> float:
    """Smallest share of undeleted samples that an attack tells from a clean retrain, `errors` SEs up; NaN if none.

    Read off the straight line from share 0 to 1, on which the AUC lies closely. In [0, 1].
    """
    curve = dose_response(table, attack)
    slope = float(np.polyfit(curve["share"], curve["value"], 1)[0])
    needed = errors * float(curve["null_error"].iloc[0])
    return needed / slope if 0 < needed <= slope else float("nan")


def has_power(table: pd.DataFrame) -> bool:
    """Whether the best attack finds the original's forget samples, 10 standard errors above 0.5; else rank nothing."""
    areas = table[(table["method"] == "original") & (table["kind"] == "control") & (table["metric"] == "auc")]
    if areas.empty:
        return False
    best = areas.loc[areas["value"].idxmax()]
    return bool(best["value"] > 0.5 + POWER * np.nanmax([best["error"], best["null_error"]]))


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """AUC rows of the methods with `p_holm`: adjusted within a family, the weak attack or all strong ones together.

    The p-value is of the randomisation test (`membership.rows`); rows of other attacks are left out.
    """
    areas = table[(table["kind"] == "method") & (table["metric"] == "auc")].copy()
    families = []
    for family in ((WEAK,), STRONG):
        part = areas[areas["attack"].isin(family)].copy()
        if len(part):
            p_values = 2 * norm.sf((part["value"] - 0.5).abs() / part["null_error"])
            families.append(part.assign(p_holm=intervals.holm(p_values)))
    return pd.concat(families) if families else areas.assign(p_holm=[])


def passes_weak_fails_strong(table: pd.DataFrame) -> list[str]:
    """Methods on which the weak attack finds nothing and a strong one does; both sides of 0.5 count as found.

    Found: the 95 % interval of the mean AUC excludes 0.5, and p <= 0.05 after Holm's adjustment over all methods and
    strong attacks. Not found by the weak attack: its interval holds 0.5, and p > 0.05 after Holm over the methods.
    Empty where the positive control has no power.
    """
    if not has_power(table):
        return []
    areas = adjusted(table)
    told = ((areas["low"] > 0.5) | (areas["high"] < 0.5)) & (areas["p_holm"] <= ALPHA)
    weak = areas["attack"] == WEAK
    silent = weak & (areas["low"] <= 0.5) & (areas["high"] >= 0.5) & (areas["p_holm"] > ALPHA)
    betrayed = set(areas.loc[told & ~weak, "method"])
    return [str(name) for name in areas.loc[silent, "method"] if name in betrayed]


def detection_limits(table: pd.DataFrame) -> pd.DataFrame:
    """Smallest share of the forget set that each attack tells from a clean retrain: attack, share (NaN: none)."""
    doses = table[table["share"].notna() & (table["metric"] == "auc")]
    attacks = [name for name, part in doses.groupby("attack", sort=False) if part["share"].nunique() > 2]
    return pd.DataFrame({"attack": attacks, "share": [detectable_share(table, name) for name in attacks]})


def sample_margins(pool: Pool, sample: int, unlearned: np.ndarray | None = None) -> pd.DataFrame:
    """Margins phi of one pool sample under all references: columns phi, group.

    Groups: "in" and "out" (trained with and without it) and, with `unlearned` (float [K, E, C], an evaluation sample),
    "unlearned" (trained on it, then removed) and "never, after" (never seen, after the same method).
    Raises: ForgetError for a sample that is not in the pool.
    """
    if not 0 <= sample < len(pool.plan.labels):
        raise ForgetError(f"Sample {sample} is not in the pool of {len(pool.plan.labels)}.")
    references = pool.references(np.array([sample]), unlearned)
    label = pool.plan.labels[[sample]].numpy()
    seen = references.membership[:, 0]
    parts = [(references.logits, "in", "out")]
    if references.unlearned_logits is not None:
        parts.append((references.unlearned_logits, "unlearned", "never, after"))
    frames = [
        pd.DataFrame({"phi": scores.phi(logits, label)[:, 0], "group": np.where(seen, inside, outside)})
        for logits, inside, outside in parts
    ]
    return pd.concat(frames, ignore_index=True)


def attack_views(pool: Pool, target: int = 0) -> pd.DataFrame:
    """What attacks look at, a row an evaluation sample: one reference net as the target, all others as references.

    Columns: member, loss (nats), probability of the label and usual_probability (mean over the others), phi and
    usual_phi (mean over those of the others that never saw the sample).

    Raises: ForgetError for a net that is not in the pool.
    """
    if not 0 <= target < len(pool.membership):
        raise ForgetError(f"Net {target} is not in the pool of {len(pool.membership)}.")
    samples = np.sort(np.asarray(pool.plan.evaluation))
    labels, seen = pool.plan.labels[samples].numpy(), np.asarray(pool.membership)[:, samples]
    margins = scores.phi(np.asarray(pool.logits[:, samples], dtype=np.float64), labels)
    probability = 1 / (1 + np.exp(-margins))
    others = np.arange(len(margins)) != target
    without = np.where(seen[others], np.nan, margins[others])
    return pd.DataFrame(
        {
            "member": seen[target],
            "loss": np.logaddexp(0, -margins[target]),
            "probability": probability[target],
            "usual_probability": probability[others].mean(axis=0),
            "phi": margins[target],
            "usual_phi": np.nanmean(without, axis=0),
        }
    )


def neighbours(pool: Pool, sample: int, number: int = 5) -> np.ndarray:
    """Pool indices of the nearest other samples by pixels (L2), nearest first, int [number]."""
    flat = pool.plan.images.flatten(1).float()
    distance = (flat - flat[sample]).norm(dim=1)
    distance[sample] = float("inf")
    return distance.argsort(stable=True)[:number].numpy()


def threshold_table(scored: Scored, thresholds: np.ndarray | None = None) -> pd.DataFrame:
    """What an attacker gets at each threshold: found, false alarms and precision at equal numbers, each in [0, 1]."""
    forget, unseen = np.concatenate(scored.forget), np.concatenate(scored.unseen)
    if thresholds is None:
        thresholds = np.quantile(np.concatenate([forget, unseen]), np.linspace(0, 1, 101))
    found = np.array([[(forget > cut).mean(), (unseen > cut).mean()] for cut in thresholds])
    precision = np.divide(found[:, 0], found.sum(axis=1), out=np.full(len(found), np.nan), where=found.sum(axis=1) > 0)
    return pd.DataFrame(
        {"threshold": thresholds, "found": found[:, 0], "false_alarms": found[:, 1], "precision": precision}
    )
