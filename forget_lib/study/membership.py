"""The membership study: one pool of references, many targets, every attack, nulls and the dose-response curve.

A target is a net trained on a fresh half S of the pool. It forgets F = S & E; the samples U = E - S, never seen,
were left out by the same coin, so any model that is independent of that coin gives an AUC of 0.5 in expectation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm
from torch import nn

from forget_lib.attacks import ATTACKS, AttackInput, Side, get_attack
from forget_lib.core.errors import ForgetError, NotApplicableError, TooFewError
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.samples import Samples
from forget_lib.models.recipe import Recipe
from forget_lib.models.stacked import HIDDEN
from forget_lib.models.train import predict
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement, range_of
from forget_lib.study.pools import Pool, PoolPlan
from forget_lib.study.targets import (
    controls,
    forget_and_unseen,
    method_unlearner,
    partly_retrained,
    target_splits,
    unlearned_references,
    unlearned_targets,
)

MEMBERSHIP_VERSION = 1
"""Raised when a pooled study gives other numbers; records of before are then made again."""

RATES = (0.01, 0.001)
ATTACK_ORDER = (
    "loss_regression",
    "confidence",
    "modified_entropy",
    "attack_r",
    "rmia_offline",
    "rmia",
    "lira_offline",
    "lira",
    "u_lira",
)
CONTROLS = ("retrain", "second_retrain", "original")
DOSES = (0.1, 0.25, 0.5)


def make_plan(
    data: ImageData,
    *,
    samples: int,
    evaluation: int,
    recipe: Recipe,
    model: str = "mlp",
    hidden: int = HIDDEN,
    number: int = 16,
    held_out: int = 200,
    seed: int = 0,
) -> PoolPlan:
    """A plan on a random part of a data set's training pool.

    samples: N (even). evaluation: E (even), of which each target forgets half, so E / N is the share it forgets.
    held_out: samples for the population and as many for validation, disjoint from the pool.
    Raises: ForgetError if the data set is too small.
    """
    if samples + 2 * held_out > len(data.labels) or evaluation > samples:
        raise ForgetError(
            f"{data.name} has {len(data.labels)} samples; {samples} for the pool, {held_out} each for population and "
            f"validation do not fit (evaluation: {evaluation})."
        )
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(data.labels)))
    parts = order[:samples], order[samples : samples + held_out], order[samples + held_out : samples + 2 * held_out]
    pool, population, validation = (Samples(data.images[part], data.labels[part], recipe.batch_size) for part in parts)
    settings = {"model": model, "hidden": hidden, "recipe": recipe, "number": number, "seed": seed}
    return PoolPlan(
        pool.images, pool.labels, np.arange(evaluation), len(data.classes), population, validation, **settings
    )


@dataclass(frozen=True)
class Scored:
    """Scores of one attack on one kind of model: two lists of R arrays, the forget and the unseen samples' scores."""

    forget: list[np.ndarray]
    unseen: list[np.ndarray]

    @property
    def areas(self) -> np.ndarray:
        """AUC of each target, float [R]."""
        return np.array([intervals.auc(*pair) for pair in zip(self.forget, self.unseen, strict=True)])


def target_input(
    pool: Pool,
    split: np.ndarray,
    model: nn.Module,
    *,
    unlearned: np.ndarray | None = None,
    original: nn.Module | None = None,
    shuffle: int | None = None,
    seed: int = 0,
) -> AttackInput:
    """What an attack is given on one target.

    unlearned: float [K, E, C], references after the same method. original: the model before, for two-snapshot attacks.
    shuffle: a seed that mixes forget and unseen samples, the control in which nothing may be found.
    """
    plan = pool.plan
    forget, unseen = forget_and_unseen(plan, split)
    columns, size = np.concatenate([forget, unseen]), len(forget)
    if shuffle is not None:
        columns = np.random.default_rng([shuffle, seed]).permutation(columns)
    forget, unseen = columns[:size], columns[size:]
    logits = predict(model, plan.samples(columns)).numpy()
    before = None if original is None else predict(original, plan.samples(columns)).numpy()
    population = plan.population
    sides = []
    for rows, part in ((forget, slice(size)), (unseen, slice(size, None))):
        earlier = None if before is None else before[part]
        sides.append(Side(logits[part], plan.labels[rows], rows, before=earlier))
    others = None if population is None else Side(predict(model, population), population.labels)
    return AttackInput(*sides, others, pool.references(columns, unlearned), seed)


def score(
    pool: Pool,
    splits: np.ndarray,
    models: Sequence[nn.Module],
    attacks: Sequence[str],
    unlearned: np.ndarray | None = None,
    shuffle: int | None = None,
) -> dict[str, Scored]:
    """Scores of each attack that ranks samples on R target models; see `target_input` for the other arguments.

    U-LiRA is left out where there are no unlearned references.
    """
    found: dict[str, Scored] = {}
    for r, (split, model) in enumerate(zip(splits, models, strict=True)):
        inputs = target_input(pool, split, model, unlearned=unlearned, shuffle=shuffle, seed=r)
        for name in attacks:
            entry = get_attack(name)
            if entry.score is None or (entry.needs == "unlearned references" and unlearned is None):
                continue
            values = entry.score(inputs)
            kept = found.setdefault(name, Scored([], []))
            kept.forget.append(values[: inputs.number_forget])
            kept.unseen.append(values[inputs.number_forget :])
    return found


def measure(
    pool: Pool,
    splits: np.ndarray,
    models: Sequence[nn.Module],
    attack: str,
    originals: Sequence[nn.Module] | None = None,
    **keys: object,
) -> list[dict[str, object]]:
    """Rows of an attack that gives numbers and no scores (audit, two_snapshot, ...): mean over targets and interval.

    Raises: TooFewError below 2 targets; what the attack raises.
    """
    values: dict[str, list[Measurement]] = {}
    for r, (split, model) in enumerate(zip(splits, models, strict=True)):
        inputs = target_input(pool, split, model, original=None if originals is None else originals[r], seed=r)
        for measurement in get_attack(attack)(inputs):
            values.setdefault(measurement.metric, []).append(measurement)
    base = keys | {"attack": attack, "title": ATTACKS[attack].title, "targets": len(splits)}
    found = []
    for metric, each in values.items():
        nulls = [one.null for one in each if one.null is not None]
        mean = intervals.mean_interval([one.value for one in each])
        mean = intervals.within(mean, range_of(metric, each[0].unit))
        found.append(base | _measured(metric, mean, float(np.mean(nulls)) if nulls else np.nan))
    return found


def null_error(forget: int, unseen: int) -> float:
    """Standard error of the AUC of one target where nothing leaks: sqrt((nF + nU + 1) / (12 nF nU))."""
    return float(np.sqrt((forget + unseen + 1) / (12 * forget * unseen)))


def rows(
    scored: Mapping[str, Scored], reference: Mapping[str, Scored] | None = None, **keys: object
) -> list[dict[str, object]]:
    """AUC (mean over targets, interval between targets) and pooled TPR at 1 and 0.1 % FPR (Clopper-Pearson).

    A rate is left out where the pooled unseen samples are too few for it. `p_value` of an AUC: two-sided, that the
    models are independent of the coin that dealt forget and unseen samples (rank-sum test, targets pooled).
    reference: scores on the retrained models of the same targets; "auc_gap" is the difference, paired by target.
    """
    found = []
    for name, one in scored.items():
        areas, forget, unseen = one.areas, np.concatenate(one.forget), np.concatenate(one.unseen)
        number = len(areas)
        base = keys | {
            "attack": name,
            "title": ATTACKS[name].title,
            "targets": number,
            "error": float(areas.std(ddof=1) / np.sqrt(number)) if number > 1 else np.nan,
            "null_error": null_error(len(one.forget[0]), len(one.unseen[0])) / np.sqrt(number),
        }
        area = intervals.mean_interval(areas) if number > 1 else intervals.auc_interval(forget, unseen)
        area = intervals.within(area, range_of("auc"))
        p_value = float(2 * norm.sf(abs(area.value - 0.5) / base["null_error"]))
        found.append(base | _measured("auc", area, 0.5) | {"p_value": p_value})
        if reference is not None and number > 1:
            gaps = areas - reference[name].areas
            error = float(gaps.std(ddof=1) / np.sqrt(number))
            gap = intervals.within(intervals.t_interval(gaps), range_of("auc_gap"))
            found.append(base | _measured("auc_gap", gap, 0.0) | {"error": error})
        for rate in RATES:
            try:
                hit = intervals.tpr_at_fpr(forget, unseen, rate).true_positive_rate
            except TooFewError:
                continue
            found.append(base | _measured(f"tpr_at_{100 * rate:g}_fpr", hit, rate))
    return found


def _measured(metric: str, interval: intervals.Interval, null: float) -> dict[str, object]:
    return {"metric": metric, "value": interval.value, "low": interval.low, "high": interval.high, "null": null}


def run_scenario(
    pool: Pool,
    folder: Path,
    *,
    targets: int = 8,
    methods: Mapping[str, Mapping[str, object]] | None = None,
    doses: Sequence[float] = DOSES,
    dose_targets: int = 8,
    attacks: Sequence[str] = ATTACK_ORDER,
    measured: Sequence[str] = ("audit",),
    seed: int = 0,
    kept: dict[str, dict[str, Scored]] | None = None,
) -> pd.DataFrame:
    """Everything about one pool: controls, methods (each with its own unlearned references), doses and nulls.

    folder: of the pool; unlearned references are cached below it. methods: settings by name. attacks rank samples;
    measured: attacks that give numbers only (audit, two_snapshot). dose_targets: targets behind each dose. kept: filled
    with the scores of controls and methods, by model and attack.
    Returns: one row for each method, share, attack and metric: method, kind (control, method, dose, null), share (of
    the forget set left in training; NaN for methods), attack, title, metric, value, low, high, null, error, null_error,
    p_value, targets, forgotten (share of the training set), status, reason. A method that does not apply has one row.
    """
    plan, kept = pool.plan, {} if kept is None else kept
    splits = target_splits(plan, targets, seed)
    common = {"forgotten": len(plan.evaluation) / len(plan.labels), "status": "done", "reason": ""}
    models = controls(plan, splits, seed, folder)
    originals, table = models["original"], []

    def attacked(name: str, after: np.ndarray | None, done: Sequence[nn.Module], **kind) -> list[dict[str, object]]:
        scored = kept[name] = score(pool, splits, done, attacks, after)
        found = rows(scored, None if name == "retrain" else kept["retrain"], method=name, **kind)
        return found + _all_measured(pool, splits, done, measured, originals, method=name, **kind)

    # The retrained models' own references: retrained without their part of the evaluation samples.
    own = unlearned_references(plan, folder, "retrain", {}) if "u_lira" in attacks else None
    for name in CONTROLS:
        kind = {"kind": "control", "share": float(name == "original"), **common}
        table += attacked(name, None if name == "original" else own, models[name], **kind)
    shuffled = score(pool, splits, originals, attacks, shuffle=seed)
    table += rows(shuffled, method="original", kind="null", share=np.nan, **common)
    for share in doses:
        kind = {"method": f"retrain_keeping_{share:g}", "kind": "dose", "share": share, **common}
        some = splits[:dose_targets]
        table += rows(score(pool, some, partly_retrained(plan, some, share, seed, folder), attacks), **kind)
    for name, settings in (methods or {}).items():
        kind = {"kind": "method", "share": np.nan, **common}
        try:
            after = unlearned_references(plan, folder, name, settings) if "u_lira" in attacks else None
            done = unlearned_targets(plan, splits, originals, method_unlearner(plan, name, settings), seed)
            table += attacked(name, after, done, **kind)
        except NotApplicableError as error:
            table.append({"method": name} | kind | {"status": "not applicable", "reason": str(error)})
        except ForgetError as error:
            table.append({"method": name} | kind | {"status": "failed", "reason": str(error)})
    return pd.DataFrame(table)


def _all_measured(
    pool: Pool, splits: np.ndarray, models: Sequence, attacks: Sequence[str], originals: Sequence, **keys
):
    found: list[dict[str, object]] = []
    for name in attacks:
        try:
            found += measure(pool, splits, models, name, originals, **keys)
        except TooFewError as error:
            found.append(keys | {"attack": name, "status": "too few", "reason": str(error)})
    return found


def roc(scored: Scored) -> pd.DataFrame:
    """Pooled ROC curve of one attack, for log axes: false_positive_rate, true_positive_rate, threshold, a step a row.

    Starts at the smallest rate that the unseen samples can show, 1 / n.
    """
    forget, unseen = (np.sort(np.concatenate(part)) for part in (scored.forget, scored.unseen))
    thresholds = np.unique(unseen)[::-1]
    rates = [1 - np.searchsorted(part, thresholds, "left") / len(part) for part in (unseen, forget)]
    return pd.DataFrame({"false_positive_rate": rates[0], "true_positive_rate": rates[1], "threshold": thresholds})
