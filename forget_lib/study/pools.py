"""Pools of reference models: trained once on complementary halves, shared by all attacks, methods and scenarios.

    <folder>/reference<k>.safetensors   weights          <folder>/reference<k>.npz   logits (float16), membership, key
    <folder>/<name>/unlearned<k>.npz    logits on the evaluation samples after a method has run on reference k

Every file is written whole or not at all, and one that is there and up to date is not made again: a pool that was
killed goes on where it was, and shards may run as jobs of their own.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from forget_lib.attacks import References
from forget_lib.attacks.parts.per_sample import mean_probability
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.datasets.image_data import checksum_of
from forget_lib.datasets.samples import Samples
from forget_lib.models import nets as models
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.recipe import Recipe
from forget_lib.models.stacked import HIDDEN, STACKED_VERSION, BatchedMlp, mlp_classifier, stackable, train_batched
from forget_lib.models.train import TRAINING_VERSION, as_half, predict, train
from forget_lib.study import plugins
from forget_lib.study.records import key_of

MEMORISING = Recipe(epochs=40, batch_size=64, learning_rate=1e-3, weight_decay=0.0, schedule="cosine", optimizer="adam")
"""The recipe of the membership set-ups: long enough for a small net to memorise a small set."""
Unlearner = Callable[[nn.Module, Tensor, Tensor, int], nn.Module]
"""(model, forget indices, retain indices, seed) -> another model, unlearned."""


def half_splits(number: int, samples: int, evaluation: Sequence[int] | np.ndarray = (), seed: int = 0) -> np.ndarray:
    """Membership matrix bool [K, N]: models 2i and 2i + 1 take complementary halves, inside `evaluation` and outside.

    So every sample is in K/2 models and out of K/2, and all training sets have the same size.
    Raises: ForgetError for an odd number of models, or of samples in or outside the evaluation set.
    """
    inside = np.zeros(samples, dtype=bool)
    inside[np.asarray(evaluation, dtype=np.int64)] = True
    parts = [part for part in (np.flatnonzero(inside), np.flatnonzero(~inside)) if len(part)]
    if number < 2 or number % 2 or any(len(part) % 2 for part in parts):
        raise ForgetError(
            f"Complementary halves need an even number of models and of samples in and outside the evaluation set; got "
            f"{number} models, {', '.join(str(len(part)) for part in parts)} samples."
        )
    generator = np.random.default_rng(seed)
    membership = np.zeros((number, samples), dtype=bool)
    for first in range(0, number, 2):
        for part in parts:
            chosen = generator.permutation(part)[: len(part) // 2]
            membership[first, chosen] = True
        membership[first + 1] = ~membership[first]
    return membership


def check_membership(planned: np.ndarray, trained: np.ndarray) -> None:
    """Compares the plan with what the models were trained on, both bool [K, N]; reports the first mistakes.

    Raises: DataError naming references that saw a sample they must not have seen, or lack one they should have.
    """
    if planned.shape != trained.shape:
        raise DataError(f"The plan is for {planned.shape} models and samples, the pool holds {trained.shape}.")
    wrong = np.argwhere(planned != trained)
    if len(wrong):
        k, sample = wrong[0]
        what = "was trained on" if trained[k, sample] else "was not trained on"
        raise DataError(
            f"{len(wrong)} entries of the membership matrix differ from the plan; reference {k} {what} sample {sample}."
            f" Delete the files of references {sorted({int(model) for model, _ in wrong})[:8]} and train them again."
        )


def check_balance(membership: np.ndarray) -> None:
    """Every sample must be in half of the references and out of the other half.

    Raises: DataError naming the first sample that is not, which is how a model that saw too much shows.
    """
    counts = membership.sum(axis=0)
    wrong = np.flatnonzero(2 * counts != len(membership))
    if len(wrong):
        raise DataError(
            f"{len(wrong)} samples are not in exactly half of the {len(membership)} references; sample {wrong[0]} is in"
            f" {counts[wrong[0]]}. A reference may have seen a sample by mistake."
        )


@dataclass(frozen=True)
class PoolPlan:
    """What a pool is made of; two equal plans give the same models.

    images: uint8 [N, C, H, W], labels: int64 [N] (as trained, noisy ones included). evaluation: int [E], the samples
    that targets forget half of. population, validation: Samples disjoint from the pool and each other, or None.
    model: name of a model; `hidden` is the width of an mlp. number: K, even. number_of_classes: C.
    """

    images: Tensor
    labels: Tensor
    evaluation: np.ndarray
    number_of_classes: int
    population: Samples | None = None
    validation: Samples | None = None
    model: str = "mlp"
    hidden: int = HIDDEN
    recipe: Recipe = field(default_factory=lambda: MEMORISING)
    number: int = 16
    seed: int = 0

    @property
    def membership(self) -> np.ndarray:
        """bool [K, N]; see `half_splits`."""
        return half_splits(self.number, len(self.labels), self.evaluation, self.seed)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def key(self) -> str:
        """Hash of all that the references depend on."""
        parts = {name: getattr(self, name) for name in ("number_of_classes", "model", "hidden", "number", "seed")}
        population = "" if self.population is None else checksum_of(self.population.images, self.population.labels)
        data = checksum_of(self.images, self.labels, torch.as_tensor(np.asarray(self.evaluation)))
        return key_of(
            **parts,
            recipe=dataclasses.asdict(self.recipe),
            data=data,
            population=population,
            code=[TRAINING_VERSION, NETS_VERSION, STACKED_VERSION],
            own_code=plugins.own_code(self.model, self.recipe.function),
        )

    def samples(self, indices: Tensor | np.ndarray) -> Samples:
        """Pool samples by index, in batches of the recipe."""
        indices = torch.as_tensor(indices)
        return Samples(self.images[indices], self.labels[indices], self.recipe.batch_size)

    def shard(self, shard: int, shards: int) -> range:
        """References of one of `shards` jobs; pairs stay together. Raises: ForgetError for one that is not there."""
        if not 0 <= shard < shards <= self.number // 2:
            raise ForgetError(f"Shard {shard} of {shards}: expected 0 <= shard < shards <= {self.number // 2}.")
        pairs = self.number // 2
        return range(2 * (pairs * shard // shards), 2 * (pairs * (shard + 1) // shards))

    def fresh_model(self, seed: int) -> models.Classifier:
        """An untrained model of the pool's architecture."""
        if self.model == "mlp":
            return mlp_classifier(self.input_shape, self.number_of_classes, self.hidden, seed)
        return models.build(self.model, self.input_shape, self.number_of_classes, seed)


def train_nets(plan: PoolPlan, sets: Sequence[np.ndarray], seeds: Sequence[int]) -> list[models.Classifier]:
    """One model for each set of pool indices; small nets with sets of one size are trained as one batch.

    Raises: ForgetError, DivergedError.
    """
    fresh = [plan.fresh_model(seed) for seed in seeds]
    sizes = {len(part) for part in sets}
    if len(sizes) == 1 and stackable(plan.model, plan.recipe):
        stacked = torch.as_tensor(np.stack(sets))
        nets = train_batched(BatchedMlp.of(fresh), plan.images, plan.labels, stacked, plan.recipe, seeds)
        return nets.classifiers(plan.input_shape)
    for model, part, seed in zip(fresh, sets, seeds, strict=True):
        train(model, plan.samples(part), plan.recipe, seed)
    return [model.eval() for model in fresh]


def train_shard(plan: PoolPlan, folder: Path, shard: int = 0, shards: int = 1) -> int:
    """Trains the references of one shard that are not there yet; returns how many it trained.

    Raises: ForgetError if the folder cannot be written; DivergedError.
    """
    folder, key, membership = Path(folder), plan.key, plan.membership
    missing = [k for k in plan.shard(shard, shards) if _read(folder / f"reference{k}.npz", key) is None]
    # Conv nets are saved one by one, so that a killed shard loses one model; small nets come all at once.
    groups = [missing] if plan.model == "mlp" else [[k] for k in missing]
    for group in (part for part in groups if part):
        sets = [np.flatnonzero(membership[k]) for k in group]
        for k, part, model in zip(group, sets, train_nets(plan, sets, [_seed(plan, k) for k in group]), strict=True):
            trained = np.zeros(len(plan.labels), dtype=bool)
            trained[part] = True
            arrays = {"logits": as_half(predict(model, plan.samples(np.arange(len(plan.labels))))), "trained": trained}
            if plan.population is not None:
                arrays["population"] = as_half(predict(model, plan.population))
            write_net(folder / f"reference{k}.safetensors", model)
            _write(folder / f"reference{k}.npz", key, arrays)
    return len(missing)


def train_pool(plan: PoolPlan, folder: Path, processes: int = 1) -> int:
    """Trains all missing references, one one-thread process a core; returns how many. Raises: as `train_shard`."""
    processes = max(1, min(processes, plan.number // 2))
    if processes == 1:
        return train_shard(plan, folder)
    shards = [(plan, folder, shard, processes) for shard in range(processes)]
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as executor:
        return sum(executor.map(train_shard, *zip(*shards, strict=True)))


def _seed(plan: PoolPlan, k: int) -> int:
    return 100_003 * (plan.seed + 1) + k


@dataclass(frozen=True)
class Pool:
    """Cached outputs of all references: logits float16 [K, N, C], population_logits [K, Z, C] or None, membership."""

    plan: PoolPlan
    logits: np.ndarray
    population_logits: np.ndarray | None
    membership: np.ndarray

    def references(self, columns: np.ndarray, unlearned: np.ndarray | None = None) -> References:
        """References on the pool samples `columns` (int [n]); `unlearned`: float [K, E, C] of `load_unlearned`."""
        after = None
        if unlearned is not None:
            place = np.full(len(self.plan.labels), -1)
            place[self.plan.evaluation] = np.arange(len(self.plan.evaluation))
            if (place[columns] < 0).any():
                raise ForgetError("Unlearned references answer on evaluation samples only.")
            after = unlearned[:, place[columns]]
        return References(self.logits[:, columns], self.membership[:, columns], self.population_logits, after)


def load_pool(plan: PoolPlan, folder: Path) -> Pool:
    """All references of a pool, with their membership checked against the plan.

    Raises: DataError for references that are missing, stale or saw the wrong samples.
    """
    records = [_read(Path(folder) / f"reference{k}.npz", plan.key) for k in range(plan.number)]
    missing = [k for k, record in enumerate(records) if record is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {plan.number} references are not trained yet (first: {missing[0]}); train its shard."
        )
    trained = np.stack([record["trained"] for record in records])
    check_membership(plan.membership, trained)
    check_balance(trained)
    population = None if plan.population is None else np.stack([record["population"] for record in records])
    return Pool(plan, np.stack([record["logits"] for record in records]), population, trained)


def mislabelled(plan: PoolPlan, seed: int = 0) -> PoolPlan:
    """The same plan with a wrong label on every evaluation sample: forget and unseen ones have the same noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = plan.labels.clone()
    shift = torch.randint(1, plan.number_of_classes, (len(plan.evaluation),), generator=generator)
    labels[plan.evaluation] = (labels[plan.evaluation] + shift) % plan.number_of_classes
    return dataclasses.replace(plan, labels=labels)


def most_memorised(pool: Pool, number: int) -> PoolPlan:
    """A plan of a new pool whose evaluation samples are those that `pool` memorises most, `number` of them (even).

    Targets forget half of them and never saw the other half, so both come from the same stratum of scores. The new
    pool and its targets are other models: the scores are independent of what is judged by them.
    """
    chosen = np.sort(np.argsort(-memorisation(pool), kind="stable")[:number])
    return dataclasses.replace(pool.plan, evaluation=chosen, seed=pool.plan.seed + 1)


def memorisation(pool: Pool) -> np.ndarray:
    """Mean probability of the label under models with the sample less that under models without it, [N] in [-1, 1].

    Source: Feldman & Zhang, NeurIPS 2020.
    """
    labels = pool.plan.labels.numpy()
    inside, outside = (mean_probability(pool.logits, labels, side) for side in (pool.membership, ~pool.membership))
    return inside - outside


def load_reference(plan: PoolPlan, folder: Path, k: int) -> models.Classifier:
    """Reference k as a Classifier in eval mode. Raises: DataError where there is none."""
    path = Path(folder) / f"reference{k}.safetensors"
    model = read_net(plan, path)
    if model is None:
        raise DataError(f"{path.name} is missing or damaged; delete it and train its shard of the pool again.")
    return model


def read_net(plan: PoolPlan, path: Path) -> models.Classifier | None:
    """A net of the pool's architecture from a file, in eval mode; None where there is none or it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = plan.fresh_model(0)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        return None
    return model.eval()


def unlearn_shard(
    plan: PoolPlan,
    folder: Path,
    name: str,
    unlearner: Unlearner,
    *,
    settings: object = None,
    shard: int = 0,
    shards: int = 1,
) -> int:
    """Runs a method on the references of one shard: reference k forgets its part of the evaluation samples.

    unlearner: called with a copy of the model, forget indices S_k & E, retain indices S_k - E (into the pool) and a
    seed. settings: whatever else the result depends on (part of the key). Returns how many it unlearned.
    Raises: what the unlearner raises; DataError for a reference that is not there.
    """
    key, membership = key_of(pool=plan.key, name=name, settings=settings), plan.membership
    inside = np.isin(np.arange(len(plan.labels)), plan.evaluation)
    done = 0
    for k in plan.shard(shard, shards):
        path = Path(folder) / name / f"unlearned{k}.npz"
        if _read(path, key) is not None:
            continue
        forget, retain = (torch.as_tensor(np.flatnonzero(membership[k] & side)) for side in (inside, ~inside))
        model = unlearner(load_reference(plan, folder, k), forget, retain, _seed(plan, k))
        _write(path, key, {"logits": as_half(predict(model, plan.samples(plan.evaluation)))})
        done += 1
    return done


def load_unlearned(plan: PoolPlan, folder: Path, name: str, settings: object = None) -> np.ndarray:
    """Logits float16 [K, E, C] of all references after method `name`, columns as `plan.evaluation`.

    Raises: DataError where some are missing or made with other settings.
    """
    key = key_of(pool=plan.key, name=name, settings=settings)
    records = [_read(Path(folder) / name / f"unlearned{k}.npz", key) for k in range(plan.number)]
    missing = [k for k, record in enumerate(records) if record is None]
    if missing:
        raise DataError(f"{name}: {len(missing)} references are not unlearned yet (first: {missing[0]}).")
    return np.stack([record["logits"] for record in records])


def _write(path: Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    _atomic(path, lambda partial: np.savez(partial, key=np.array(key), **arrays))


def write_net(path: Path, model: nn.Module) -> None:
    """Weights of a net, written whole or not at all. Raises: ForgetError if the file cannot be written."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _atomic(path, lambda partial: save_file(state, partial))


def _atomic(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        raise ForgetError(f"Cannot write {path}: {error.strerror}. Free some space or mend the rights.") from error
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """Arrays of a cached file, or None where it is missing, damaged or made for another key."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files} if str(arrays["key"]) == key else None
    except Exception:  # a damaged archive fails in many ways, and is made again in each
        return None
