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
from torch import nn

from forget_lib import statistics
from forget_lib.attacks import ATTACKS, AttackInput, get_attack
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.requests import Request
from forget_lib.datasets.samples import Samples
from forget_lib.errors import ForgetError, NotApplicableError, TooFewError
from forget_lib.pools import Pool, PoolPlan, Unlearner, half_splits, load_unlearned, train_nets, unlearn_shard
from forget_lib.results import Measurement, code_hash
from forget_lib.training import Recipe, predict
from forget_lib.unlearning import UnlearningTask, get_method, unlearn

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
TARGET_SEED = 7_000_003
CONTROLS = ("original", "retrain", "second_retrain")


def make_plan(
    data: ImageData,
    *,
    samples: int,
    evaluation: int,
    recipe: Recipe,
    model: str = "mlp",
    hidden: int = 128,
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


def target_splits(plan: PoolPlan, number: int, seed: int = 0) -> np.ndarray:
    """Fresh membership of the targets, bool [R, N], independent of the references and of each other."""
    return half_splits(2 * number, len(plan.labels), plan.evaluation, TARGET_SEED + seed)[::2]


def forget_and_unseen(plan: PoolPlan, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F = S & E and U = E - S of one target, pool indices, int [E / 2] each."""
    evaluation = np.sort(plan.evaluation)
    return evaluation[split[evaluation]], evaluation[~split[evaluation]]


def controls(plan: PoolPlan, splits: np.ndarray, seed: int = 0) -> dict[str, list[nn.Module]]:
    """Original models (trained on S), retrained ones and second retrained ones (trained on S - E), R each."""
    number = len(splits)
    whole = [np.flatnonzero(split) for split in splits]
    retain = [np.setdiff1d(part, plan.evaluation) for part in whole]
    seeds = [TARGET_SEED + 1000 * seed + r for r in range(number)]
    return {
        "original": train_nets(plan, whole, seeds),
        "retrain": train_nets(plan, retain, [one + 100_000 for one in seeds]),
        "second_retrain": train_nets(plan, retain, [one + 200_000 for one in seeds]),
    }


def partly_retrained(plan: PoolPlan, splits: np.ndarray, share: float, seed: int = 0) -> list[nn.Module]:
    """Retrained models that keep a share of the forget set by mistake: the dose of the dose-response curve."""
    sets = []
    for r, split in enumerate(splits):
        forget, _ = forget_and_unseen(plan, split)
        kept = np.random.default_rng([seed, r]).permutation(forget)[: round(share * len(forget))]
        sets.append(np.concatenate([np.setdiff1d(np.flatnonzero(split), plan.evaluation), kept]))
    return train_nets(plan, sets, [TARGET_SEED + 1000 * seed + 300_000 + r for r in range(len(splits))])


def method_unlearner(plan: PoolPlan, name: str, settings: Mapping[str, object] | None = None) -> Unlearner:
    """A registered method as a function of (model, forget indices, retain indices, seed)."""

    def run(model: nn.Module, forget: torch.Tensor, retain: torch.Tensor, seed: int) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        parts = [
            Samples(plan.images[part], plan.labels[part], plan.recipe.batch_size, generator)
            for part in (forget, retain)
        ]
        task = UnlearningTask(
            Request("random", fraction=len(forget) / (len(forget) + len(retain))),
            *parts,
            validation=plan.validation if plan.validation is not None else parts[1].subset(torch.arange(0)),
            number_of_classes=plan.number_of_classes,
            fresh_model=plan.fresh_model,
            recipe=plan.recipe,
            seed=seed,
            generator=generator,
        )
        return unlearn(name, model, task, **(settings or {}))

    return run


def unlearned_targets(
    plan: PoolPlan, splits: np.ndarray, originals: Sequence[nn.Module], unlearner: Unlearner, seed: int = 0
) -> list[nn.Module]:
    """One model a target: `unlearner` on its original, forgetting F."""
    models = []
    for r, (split, model) in enumerate(zip(splits, originals, strict=True)):
        forget, _ = forget_and_unseen(plan, split)
        retain = np.setdiff1d(np.flatnonzero(split), plan.evaluation)
        parts = torch.as_tensor(forget), torch.as_tensor(retain)
        models.append(unlearner(model, *parts, TARGET_SEED + 1000 * seed + 400_000 + r))
    return models


@dataclass(frozen=True)
class Scored:
    """Scores of one attack on one kind of model: two lists of R arrays, the forget and the unseen samples' scores."""

    forget: list[np.ndarray]
    unseen: list[np.ndarray]

    @property
    def areas(self) -> np.ndarray:
        """AUC of each target, float [R]."""
        return np.array([statistics.auc(*pair) for pair in zip(self.forget, self.unseen, strict=True)])


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
    return AttackInput(
        logits[:size],
        plan.labels[forget],
        logits[size:],
        plan.labels[unseen],
        None if population is None else predict(model, population),
        None if population is None else population.labels,
        pool.references(columns, unlearned),
        None if before is None else before[:size],
        None if before is None else before[size:],
        forget_indices=forget,
        unseen_indices=unseen,
        seed=seed,
    )


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
        mean = statistics.mean_interval([one.value for one in each])
        found.append(base | _measured(metric, mean, float(np.mean(nulls)) if nulls else np.nan))
    return found


def null_error(forget: int, unseen: int) -> float:
    """Standard error of the AUC of one target where nothing leaks: sqrt((nF + nU + 1) / (12 nF nU))."""
    return float(np.sqrt((forget + unseen + 1) / (12 * forget * unseen)))


def rows(scored: Mapping[str, Scored], **keys: object) -> list[dict[str, object]]:
    """AUC (mean over targets, interval between targets) and pooled TPR at 1 and 0.1 % FPR (Clopper-Pearson).

    A rate is left out where the pooled unseen samples are too few for it.
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
        area = statistics.mean_interval(areas) if number > 1 else statistics.auc_interval(forget, unseen)
        found.append(base | _measured("auc", area, 0.5))
        for rate in RATES:
            try:
                hit = statistics.tpr_at_fpr(forget, unseen, rate).true_positive_rate
            except TooFewError:
                continue
            found.append(base | _measured(f"tpr_at_{100 * rate:g}_fpr", hit, rate))
    return found


def _measured(metric: str, interval: statistics.Interval, null: float) -> dict[str, object]:
    return {"metric": metric, "value": interval.value, "low": interval.low, "high": interval.high, "null": null}


def run_scenario(
    pool: Pool,
    folder: Path,
    *,
    targets: int = 8,
    methods: Mapping[str, Mapping[str, object]] | None = None,
    doses: Sequence[float] = (0.1, 0.25, 0.5),
    dose_targets: int = 8,
    attacks: Sequence[str] = ATTACK_ORDER,
    measured: Sequence[str] = ("audit",),
    seed: int = 0,
) -> pd.DataFrame:
    """Everything about one pool: controls, methods (each with its own unlearned references), doses and nulls.

    folder: of the pool; unlearned references are cached below it. methods: settings by name. attacks rank samples;
    measured: attacks that give numbers only (audit, two_snapshot). dose_targets: targets behind each dose.
    Returns: one row for each method, share, attack and metric: method, kind (control, method, dose, null), share (of
    the forget set left in training; NaN for methods), attack, title, metric, value, low, high, null, error, null_error,
    targets, forgotten (share of the training set), status, reason. A method that does not apply has one row.
    """
    plan = pool.plan
    splits = target_splits(plan, targets, seed)
    common = {"forgotten": len(plan.evaluation) / len(plan.labels), "status": "done", "reason": ""}
    models = controls(plan, splits, seed)
    table = []
    for name, share in zip(CONTROLS, (1.0, 0.0, 0.0), strict=True):
        unlearned = None
        if name != "original" and "u_lira" in attacks:
            # The retrained models' own references: retrained without their part of the evaluation samples.
            unlearned = _after(plan, folder, "retrain", {})
        kind = {"method": name, "kind": "control", "share": share, **common}
        table += rows(score(pool, splits, models[name], attacks, unlearned), **kind)
        table += _all_measured(pool, splits, models[name], measured, models["original"], **kind)
    shuffled = score(pool, splits, models["original"], attacks, shuffle=seed)
    table += rows(shuffled, method="original", kind="null", share=np.nan, **common)
    for share in doses:
        some = splits[:dose_targets]
        kept = score(pool, some, partly_retrained(plan, some, share, seed), attacks)
        table += rows(kept, method=f"retrain_keeping_{share:g}", kind="dose", share=share, **common)
    for name, settings in (methods or {}).items():
        kind = {"method": name, "kind": "method", "share": np.nan, **common}
        try:
            after = _after(plan, folder, name, settings) if "u_lira" in attacks else None
            done = unlearned_targets(plan, splits, models["original"], method_unlearner(plan, name, settings), seed)
            table += rows(score(pool, splits, done, attacks, after), **kind)
            table += _all_measured(pool, splits, done, measured, models["original"], **kind)
        except NotApplicableError as error:
            table.append(kind | {"status": "not applicable", "reason": str(error)})
        except ForgetError as error:
            table.append(kind | {"status": "failed", "reason": str(error)})
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


def _after(plan: PoolPlan, folder: Path, name: str, settings: Mapping[str, object]) -> np.ndarray:
    if name == "retrain" and not settings:
        return retrained_references(plan, folder)
    code = code_hash(get_method(name).function.__module__)
    held_out = "" if plan.validation is None else checksum_of(plan.validation.images, plan.validation.labels)
    about = {"settings": dict(settings), "code": code, "validation": held_out}
    unlearn_shard(plan, folder, name, method_unlearner(plan, name, settings), settings=about)
    return load_unlearned(plan, folder, name, about)


def retrained_references(plan: PoolPlan, folder: Path) -> np.ndarray:
    """Logits float16 [K, E, C] of references retrained without their evaluation samples; all at once, and cached."""
    ready: dict[bytes, nn.Module] = {}

    def unlearner(_model: nn.Module, _forget: torch.Tensor, retain: torch.Tensor, seed: int) -> nn.Module:
        if not ready:
            inside = np.isin(np.arange(len(plan.labels)), plan.evaluation)
            sets = [np.flatnonzero(row & ~inside) for row in plan.membership]
            nets = train_nets(plan, sets, [seed + 500_000 + k for k in range(plan.number)])
            ready.update({part.tobytes(): net for part, net in zip(sets, nets, strict=True)})
        return ready[retain.numpy().tobytes()]

    unlearn_shard(plan, folder, "retrain", unlearner, settings={})
    return load_unlearned(plan, folder, "retrain", {})
