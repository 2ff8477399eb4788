"""Target models of the membership study and references unlearned by a method: trained here, or read from the pool's
folder where they are cached. Small nets are trained at once in seconds; conv nets are kept, so that a killed job
goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.image_data import checksum_of
from forget_lib.datasets.requests import Request
from forget_lib.datasets.samples import Samples
from forget_lib.study.pools import (
    PoolPlan,
    Unlearner,
    half_splits,
    load_unlearned,
    read_net,
    train_nets,
    unlearn_shard,
    write_net,
)
from forget_lib.study.records import code_of, key_of
from forget_lib.unlearning import UnlearningTask, get_method, unlearn

TARGET_SEED = 7_000_003
REDRAWS = 40


def cached_nets(
    plan: PoolPlan, folder: Path | None, sets: Sequence[np.ndarray], seeds: Sequence[int]
) -> list[nn.Module]:
    """`pools.train_nets`, one by one and kept on disk (`<folder>/nets/`) where a net takes long, which an mlp does not.

    The file's name is the hash of all that the net depends on, so a stale one is never read.
    """
    if folder is None or plan.model == "mlp":
        return train_nets(plan, sets, seeds)
    found = []
    for part, seed in zip(sets, seeds, strict=True):
        name = key_of(plan=plan.key, set=hashlib.sha256(np.ascontiguousarray(part)).hexdigest(), seed=seed)[:20]
        path = Path(folder) / "nets" / f"{name}.safetensors"
        model = read_net(plan, path)
        if model is None:
            (model,) = train_nets(plan, [part], [seed])
            write_net(path, model)
        found.append(model)
    return found


def target_splits(plan: PoolPlan, number: int, seed: int = 0) -> np.ndarray:
    """Fresh membership of the targets, bool [R, N], independent of the references and of each other.

    A split that leaves a class of the evaluation samples on one side only is drawn again: forget and unseen samples
    must be of the same classes. That treats both sides alike, so the null stays at 0.5.
    Raises: ForgetError for a class with too few evaluation samples to be on both sides.
    """
    found: list[np.ndarray] = []
    for attempt in range(REDRAWS):
        drawn = half_splits(2 * number, len(plan.labels), plan.evaluation, TARGET_SEED + seed + 10_000_019 * attempt)[
            ::2
        ]
        found += [split for split in drawn if _classes_on_both_sides(plan, split)]
        if len(found) >= number:
            return np.stack(found[:number])
    counts = np.bincount(plan.labels[torch.as_tensor(plan.evaluation)].numpy(), minlength=plan.number_of_classes)
    few = [label for label, count in enumerate(counts) if 0 < count <= counts[counts > 0].min()]
    raise ForgetError(
        f"Class {few[0]} has {counts[few[0]]} evaluation samples, too few to be among forget and unseen ones in every "
        "target; take more evaluation samples."
    )


def _classes_on_both_sides(plan: PoolPlan, split: np.ndarray) -> bool:
    labels = [plan.labels[torch.as_tensor(part)].unique().tolist() for part in forget_and_unseen(plan, split)]
    return set(labels[0]) == set(labels[1])


def forget_and_unseen(plan: PoolPlan, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F = S & E and U = E - S of one target, pool indices, int [E / 2] each."""
    evaluation = np.sort(plan.evaluation)
    return evaluation[split[evaluation]], evaluation[~split[evaluation]]


def controls(
    plan: PoolPlan, splits: np.ndarray, seed: int = 0, folder: Path | None = None
) -> dict[str, list[nn.Module]]:
    """Original models (trained on S), retrained ones and second retrained ones (trained on S - E), R each; see
    `cached_nets` for `folder`."""
    number = len(splits)
    whole = [np.flatnonzero(split) for split in splits]
    retain = [np.setdiff1d(part, plan.evaluation) for part in whole]
    seeds = [TARGET_SEED + 1000 * seed + r for r in range(number)]
    return {
        "original": cached_nets(plan, folder, whole, seeds),
        "retrain": cached_nets(plan, folder, retain, [one + 100_000 for one in seeds]),
        "second_retrain": cached_nets(plan, folder, retain, [one + 200_000 for one in seeds]),
    }


def partly_retrained(
    plan: PoolPlan, splits: np.ndarray, share: float, seed: int = 0, folder: Path | None = None
) -> list[nn.Module]:
    """Retrained models that keep a share of the forget set by mistake: the dose of the dose-response curve."""
    sets = []
    for r, split in enumerate(splits):
        forget, _ = forget_and_unseen(plan, split)
        kept = np.random.default_rng([seed, r]).permutation(forget)[: round(share * len(forget))]
        sets.append(np.concatenate([np.setdiff1d(np.flatnonzero(split), plan.evaluation), kept]))
    return cached_nets(plan, folder, sets, [TARGET_SEED + 1000 * seed + 300_000 + r for r in range(len(splits))])


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


def references_about(plan: PoolPlan, name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """What the references after a method depend on beside the pool, part of their key on disk; nothing for retraining,
    which has no settings."""
    if name == "retrain" and not settings:
        return {}
    code = code_of(get_method(name))
    held_out = "" if plan.validation is None else checksum_of(plan.validation.images, plan.validation.labels)
    return {"settings": dict(settings), "code": code, "validation": held_out}


def unlearned_references(plan: PoolPlan, folder: Path, name: str, settings: Mapping[str, object]) -> np.ndarray:
    """Logits float16 [K, E, C] of all references after a method; those that are not there yet are made first."""
    about = references_about(plan, name, settings)
    if not about:
        return retrained_references(plan, folder)
    unlearn_shard(plan, folder, name, method_unlearner(plan, name, settings), settings=about)
    return load_unlearned(plan, folder, name, about)


def retrained_references(plan: PoolPlan, folder: Path) -> np.ndarray:
    """Logits float16 [K, E, C] of references retrained without their evaluation samples; cached."""
    ready: dict[bytes, nn.Module] = {}

    def unlearner(_model: nn.Module, _forget: torch.Tensor, retain: torch.Tensor, seed: int) -> nn.Module:
        if not ready:
            inside = np.isin(np.arange(len(plan.labels)), plan.evaluation)
            sets = [np.flatnonzero(row & ~inside) for row in plan.membership]
            nets = cached_nets(plan, folder, sets, [seed + 500_000 + k for k in range(plan.number)])
            ready.update({part.tobytes(): net for part, net in zip(sets, nets, strict=True)})
        return ready[retain.numpy().tobytes()]

    unlearn_shard(plan, folder, "retrain", unlearner, settings={})
    return load_unlearned(plan, folder, "retrain", {})
