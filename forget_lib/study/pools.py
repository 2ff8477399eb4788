"""Pools of reference models, trained once on complementary halves and shared by all attacks and methods; and targets.

<folder>/reference<k>.safetensors, .npz    weights; logits (float16) and what the net was trained on
<folder>/<method>/unlearned<k>.npz         logits on the evaluation samples after a method has run on reference k
<folder>/nets/<hash>.safetensors           other nets that take long to train

A file is written whole or not at all, and made once: a pool that was killed goes on where it was, also in shards.
"""

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from forget_lib.attacks import References
from forget_lib.attacks.parts.per_sample import mean_probability
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.files import write_bytes
from forget_lib.datasets.image_data import checksum_of
from forget_lib.datasets.requests import Request
from forget_lib.datasets.samples import Samples
from forget_lib.models import nets as models
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.recipe import Recipe
from forget_lib.models.stacked import HIDDEN, STACKED_VERSION, BatchedMlp, mlp_classifier, stackable, train_batched
from forget_lib.models.train import TRAINING_VERSION, as_half, predict, train
from forget_lib.study import plugins
from forget_lib.study.records import code_of, key_of
from forget_lib.unlearning import UnlearningTask, get_method, unlearn

MEMORISING = Recipe(epochs=40, batch_size=64, learning_rate=1e-3, weight_decay=0.0, schedule="cosine", optimizer="adam")
"""The recipe of the membership set-ups: long enough for a small net to memorise a small set."""
TARGET_SEED = 7_000_003
REDRAWS = 40
CONTROLS = {"retrain": 100_000, "second_retrain": 200_000, "original": 0}
"""The models that every method is read between, and what is added to the seeds of their targets."""


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
            membership[first, generator.permutation(part)[: len(part) // 2]] = True
        membership[first + 1] = ~membership[first]
    return membership


@dataclass(frozen=True)
class PoolPlan:
    """What a pool is made of; two equal plans give the same models.

    images: uint8 [N, C, H, W], labels: int64 [N] (as trained, noisy ones included). evaluation: int [E], the samples
    that targets forget half of. population, validation: disjoint from the pool and each other. hidden: width of an mlp.
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
    def inside(self) -> np.ndarray:
        """Whether a sample is an evaluation sample, bool [N]."""
        return np.isin(np.arange(len(self.labels)), self.evaluation)

    @property
    def forgotten(self) -> float:
        """Share of its training set that each target forgets, in (0, 1]."""
        return len(self.evaluation) / len(self.labels)

    @property
    def key(self) -> str:
        """Hash of all that the references depend on."""
        parts = {name: getattr(self, name) for name in ("number_of_classes", "model", "hidden", "number", "seed")}
        return key_of(
            **parts,
            recipe=dataclasses.asdict(self.recipe),
            data=checksum_of(self.images, self.labels, torch.as_tensor(np.asarray(self.evaluation))),
            population=_checksum(self.population),
            code=[TRAINING_VERSION, NETS_VERSION, STACKED_VERSION],
            own_code=plugins.own_code(self.model, self.recipe.function),
        )

    def samples(self, indices: Tensor | np.ndarray, generator: torch.Generator | None = None) -> Samples:
        """Pool samples by index, in batches of the recipe."""
        indices = torch.as_tensor(indices)
        return Samples(self.images[indices], self.labels[indices], self.recipe.batch_size, generator)

    def shard(self, shard: int, shards: int) -> range:
        """References of one of `shards` jobs; pairs stay together. Raises: ForgetError for one that is not there."""
        pairs = self.number // 2
        if not 0 <= shard < shards <= pairs:
            raise ForgetError(f"Shard {shard} of {shards}: expected 0 <= shard < shards <= {pairs}.")
        return range(2 * (pairs * shard // shards), 2 * (pairs * (shard + 1) // shards))

    def seed_of(self, k: int) -> int:
        """Seed of reference k."""
        return 100_003 * (self.seed + 1) + k

    def fresh_model(self, seed: int) -> models.Classifier:
        """An untrained model of the pool's architecture, where its images are."""
        channels, height, width = self.images.shape[1:]
        shape = (channels, height, width)
        if self.model == "mlp":
            model = mlp_classifier(shape, self.number_of_classes, self.hidden, seed)
        else:
            model = models.build(self.model, shape, self.number_of_classes, seed)
        return model.to(self.images.device)


def _checksum(samples: Samples | None) -> str:
    return "" if samples is None else checksum_of(samples.images, samples.labels)


# --- nets -------------------------------------------------------------------------------------------------------------


def train_nets(
    plan: PoolPlan, sets: Sequence[np.ndarray], seeds: Sequence[int], folder: Path | None = None
) -> list[models.Classifier]:
    """One model for each set of pool indices, in eval mode; small nets with sets of one size are trained together.

    folder: of the pool, where other nets are kept, each in a file named by the hash of all that it depends on.
    Raises: ForgetError, DivergedError.
    """
    alike = len({len(part) for part in sets}) == 1 and plan.images.device.type == "cpu"
    if alike and stackable(plan.model, plan.recipe):
        nets = BatchedMlp.of([plan.fresh_model(seed) for seed in seeds])
        train_batched(nets, plan.images, plan.labels, torch.as_tensor(np.stack(sets)), plan.recipe, seeds)
        return nets.classifiers(tuple(plan.images.shape[1:]))
    return [_train_net(plan, part, seed, folder) for part, seed in zip(sets, seeds, strict=True)]


def _train_net(plan: PoolPlan, part: np.ndarray, seed: int, folder: Path | None) -> models.Classifier:
    path = None
    if folder is not None:
        name = key_of(plan=plan.key, set=hashlib.sha256(part.tobytes()).hexdigest(), seed=seed)[:20]
        path = Path(folder) / "nets" / f"{name}.safetensors"
    model = None if path is None else read_net(plan, path)
    if model is None:
        model = plan.fresh_model(seed)
        train(model, plan.samples(part), plan.recipe, seed)
        if path is not None:
            write_net(path, model)
    return model.eval()


def train_shard(plan: PoolPlan, folder: Path, shard: int = 0, shards: int = 1) -> int:
    """Trains the references of one shard that are not there yet; returns how many it trained.

    Raises: ForgetError if the folder cannot be written; DivergedError.
    """
    folder, key, membership = Path(folder), plan.key, plan.membership
    missing = [k for k in plan.shard(shard, shards) if read_arrays(folder / f"reference{k}.npz", key) is None]
    # Large nets are saved one by one, so that a killed shard loses one model; small nets come all at once.
    groups = [missing] if missing and stackable(plan.model, plan.recipe) else [[k] for k in missing]
    for group in groups:
        sets = [np.flatnonzero(membership[k]) for k in group]
        for k, part, model in zip(group, sets, train_nets(plan, sets, [plan.seed_of(k) for k in group]), strict=True):
            trained = np.isin(np.arange(len(plan.labels)), part)
            arrays = {"logits": as_half(predict(model, plan.samples(np.arange(len(plan.labels))))), "trained": trained}
            if plan.population is not None:
                arrays["population"] = as_half(predict(model, plan.population))
            write_net(folder / f"reference{k}.safetensors", model)
            write_arrays(folder / f"reference{k}.npz", key, arrays)
    return len(missing)


def train_pool(plan: PoolPlan, folder: Path, processes: int = 1) -> int:
    """Trains all missing references, one one-thread process a core; returns how many. Raises: as `train_shard`."""
    processes = max(1, min(processes, plan.number // 2))
    if processes == 1:
        return train_shard(plan, folder)
    shards = [(plan, folder, shard, processes) for shard in range(processes)]
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as executor:
        return sum(executor.map(train_shard, *zip(*shards, strict=True)))


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
    """All references of a pool. Raises: DataError for those that are missing, stale or saw the wrong samples."""
    arrays = _all(plan, [Path(folder) / f"reference{k}.npz" for k in range(plan.number)], plan.key, "trained")
    check_membership(plan.membership, arrays["trained"])
    return Pool(plan, arrays["logits"], arrays.get("population"), arrays["trained"])


def check_membership(planned: np.ndarray, trained: np.ndarray) -> None:
    """Compares the plan with what the models were trained on, both bool [K, N].

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


def memorisation(pool: Pool) -> np.ndarray:
    """Mean probability of the label under models with the sample less that under models without it, [N] in [-1, 1].

    Source: Feldman & Zhang, NeurIPS 2020.
    """
    labels = pool.plan.labels.numpy()
    inside, outside = (mean_probability(pool.logits, labels, side) for side in (pool.membership, ~pool.membership))
    return inside - outside


def mislabelled(plan: PoolPlan, seed: int = 0) -> PoolPlan:
    """The same plan with a wrong label on every evaluation sample: forget and unseen ones have the same noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = plan.labels.clone()
    shift = torch.randint(1, plan.number_of_classes, (len(plan.evaluation),), generator=generator)
    labels[plan.evaluation] = (labels[plan.evaluation] + shift) % plan.number_of_classes
    return dataclasses.replace(plan, labels=labels)


def most_memorised(pool: Pool, number: int) -> PoolPlan:
    """A plan of a new pool whose evaluation samples are those that `pool` memorises most, `number` of them (even).

    The new pool and its targets are other models: the scores are independent of what is judged by them.
    """
    chosen = np.sort(np.argsort(-memorisation(pool), kind="stable")[:number])
    return dataclasses.replace(pool.plan, evaluation=chosen, seed=pool.plan.seed + 1)


# --- targets ----------------------------------------------------------------------------------------------------------


def target_splits(plan: PoolPlan, number: int, seed: int = 0) -> np.ndarray:
    """Fresh membership of the targets, bool [R, N], independent of the references and of each other.

    A split that leaves a class of the evaluation samples on one side only is drawn again: forget and unseen samples
    must be of the same classes. That treats both sides alike, so the null stays at 0.5.
    Raises: ForgetError for a class with too few evaluation samples to be on both sides.
    """
    found: list[np.ndarray] = []
    for attempt in range(REDRAWS):
        seed_of_attempt = TARGET_SEED + seed + 10_000_019 * attempt
        drawn = half_splits(2 * number, len(plan.labels), plan.evaluation, seed_of_attempt)[::2]
        for split in drawn:
            forget, unseen = (plan.labels[torch.as_tensor(part)].tolist() for part in forget_and_unseen(plan, split))
            if set(forget) == set(unseen):
                found.append(split)
        if len(found) >= number:
            return np.stack(found[:number])
    counts = np.bincount(plan.labels[torch.as_tensor(plan.evaluation)].numpy(), minlength=plan.number_of_classes)
    few = int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))
    raise ForgetError(
        f"Class {few} has {counts[few]} evaluation samples, too few to be among forget and unseen ones in every "
        "target; take more evaluation samples."
    )


def forget_and_unseen(plan: PoolPlan, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F = S & E and U = E - S of one target, pool indices, int [E / 2] each."""
    evaluation = np.sort(plan.evaluation)
    return evaluation[split[evaluation]], evaluation[~split[evaluation]]


def control_nets(
    plan: PoolPlan, splits: np.ndarray, name: str, seed: int = 0, folder: Path | None = None
) -> list[models.Classifier]:
    """The R originals (trained on S), or retrained or second retrained models (on S - E); folder: see `train_nets`."""
    sets = [np.flatnonzero(split if name == "original" else split & ~plan.inside) for split in splits]
    seeds = [TARGET_SEED + 1000 * seed + CONTROLS[name] + r for r in range(len(splits))]
    return train_nets(plan, sets, seeds, folder)


def partly_retrained(
    plan: PoolPlan, splits: np.ndarray, share: float, seed: int = 0, folder: Path | None = None
) -> list[models.Classifier]:
    """Retrained models that keep a share of the forget set by mistake: the dose of the dose-response curve."""
    sets = []
    for r, split in enumerate(splits):
        forget, _ = forget_and_unseen(plan, split)
        left = np.random.default_rng([seed, r]).permutation(forget)[: round(share * len(forget))]
        sets.append(np.concatenate([np.flatnonzero(split & ~plan.inside), left]))
    seeds = [TARGET_SEED + 1000 * seed + 300_000 + r for r in range(len(splits))]
    return train_nets(plan, sets, seeds, folder)


def run_method(
    plan: PoolPlan, name: str, settings: Mapping[str, object], model: nn.Module, trained: np.ndarray, seed: int
) -> nn.Module:
    """A method's model: `model` was trained on the pool indices `trained`; the evaluation samples in them are to go."""
    generator = torch.Generator().manual_seed(seed)
    gone = np.isin(trained, plan.evaluation)
    forget, retain = (plan.samples(part, generator) for part in (trained[gone], trained[~gone]))
    task = UnlearningTask(
        Request("random", fraction=len(forget) / len(trained)),
        forget,
        retain,
        validation=plan.validation if plan.validation is not None else retain.subset(torch.arange(0)),
        number_of_classes=plan.number_of_classes,
        fresh_model=plan.fresh_model,
        recipe=plan.recipe,
        seed=seed,
        generator=generator,
    )
    return unlearn(name, model, task, **settings)


def unlearned_targets(
    plan: PoolPlan,
    splits: np.ndarray,
    originals: Sequence[nn.Module],
    name: str,
    settings: Mapping[str, object],
    seed: int = 0,
) -> list[nn.Module]:
    """One model a target: a method on its original, forgetting F."""
    seeds = [TARGET_SEED + 1000 * seed + 400_000 + r for r in range(len(splits))]
    each = zip(splits, originals, seeds, strict=True)
    return [run_method(plan, name, settings, model, np.flatnonzero(split), one) for split, model, one in each]


# --- references after a method ----------------------------------------------------------------------------------------


def unlearned_references(
    plan: PoolPlan, folder: Path, name: str, settings: Mapping[str, object] | None = None
) -> np.ndarray:
    """Logits float16 [K, E, C] of all references after a method; those that are not there yet are made first."""
    key, paths = _after(plan, folder, name, settings or {})
    missing = [k for k, path in enumerate(paths) if read_arrays(path, key) is None]
    for k, model in _unlearn(plan, folder, name, settings or {}, missing):
        write_arrays(paths[k], key, {"logits": as_half(predict(model, plan.samples(plan.evaluation)))})
    return load_unlearned(plan, folder, name, settings)


def _unlearn(
    plan: PoolPlan, folder: Path, name: str, settings: Mapping[str, object], missing: Sequence[int]
) -> Iterator[tuple[int, nn.Module]]:
    trained = [np.flatnonzero(row) for row in plan.membership]
    if name == "retrain" and missing:
        sets = [np.setdiff1d(part, plan.evaluation) for part in trained]
        nets = train_nets(plan, sets, [plan.seed_of(0) + 500_000 + k for k in range(plan.number)], folder)
        yield from ((k, nets[k]) for k in missing)
        return
    for k in missing:
        model = load_reference(plan, folder, k)
        yield k, run_method(plan, name, settings, model, trained[k], plan.seed_of(k))


def load_unlearned(plan: PoolPlan, folder: Path, name: str, settings: Mapping[str, object] | None = None) -> np.ndarray:
    """Logits float16 [K, E, C] of all references after method `name`, columns as `plan.evaluation`.

    Raises: DataError where some are missing or made with other settings.
    """
    key, paths = _after(plan, folder, name, settings or {})
    return _all(plan, paths, key, f"unlearned by {name}")["logits"]


def _after(plan: PoolPlan, folder: Path, name: str, settings: Mapping[str, object]) -> tuple[str, list[Path]]:
    code, held_out = code_of(get_method(name)), _checksum(plan.validation)
    key = key_of(pool=plan.key, name=name, settings=dict(settings), code=code, validation=held_out)
    return key, [Path(folder) / name / f"unlearned{k}.npz" for k in range(plan.number)]


# --- files ------------------------------------------------------------------------------------------------------------


def _all(plan: PoolPlan, paths: Sequence[Path], key: str, done: str) -> dict[str, np.ndarray]:
    arrays = [read_arrays(path, key) for path in paths]
    there = [each for each in arrays if each is not None]
    if len(there) < len(arrays):
        number = len(arrays) - len(there)
        first = next(k for k, each in enumerate(arrays) if each is None)
        raise DataError(
            f"{number} of {plan.number} references are not {done} yet (first: {first}); run its pool again."
        )
    return {name: np.stack([each[name] for each in there]) for name in there[0]}


def load_reference(plan: PoolPlan, folder: Path, k: int) -> models.Classifier:
    """Reference k in eval mode. Raises: DataError where there is none."""
    path = Path(folder) / f"reference{k}.safetensors"
    model = read_net(plan, path)
    if model is None:
        raise DataError(f"{path.name} is missing or damaged; delete it and train its shard of the pool again.")
    return model


def read_net(plan: PoolPlan, path: Path) -> models.Classifier | None:
    """A net of the pool's architecture, in eval mode; None where there is none or it is damaged."""
    model = plan.fresh_model(0)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        return None
    return model.eval()


def write_net(path: Path, model: nn.Module) -> None:
    """Weights of a net, written whole or not at all. Raises: ForgetError if the file cannot be written."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(path, save(state))


def write_arrays(path: Path, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays under a key, written whole or not at all. Raises: ForgetError if the file cannot be written."""
    content = io.BytesIO()
    np.savez_compressed(content, **{"key": np.array(key), **arrays})  # type: ignore[arg-type]  # names are ours
    write_bytes(path, content.getvalue())


def read_arrays(path: Path, key: str | None) -> dict[str, np.ndarray] | None:
    """Arrays of a file, or None where it is missing, damaged or made under another key (None: any)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if key is not None and str(arrays["key"]) != key:
                return None
            return {name: arrays[name] for name in arrays.files if name != "key"}
    except Exception:  # a damaged archive fails in many ways, and is made again in each
        return None
