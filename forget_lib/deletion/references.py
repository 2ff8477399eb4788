"""The models that a request is judged by: retrained without the forget set, with all of it, and with shares of it.

Each is trained by the recipe, measured and thrown away: only its measurements are kept, one file a model, so that a
run that was stopped goes on with the next one. Small nets are trained as one batch.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.deletion.case import Case
from forget_lib.deletion.measure import MEASURE_VERSION, measure
from forget_lib.models.nets import NETS_VERSION, Classifier
from forget_lib.models.stacked import STACKED_VERSION, BatchedMlp, stackable, train_batched
from forget_lib.models.train import TRAINING_VERSION, set_threads, train
from forget_lib.study import records
from forget_lib.study.pools import read_arrays, write_arrays
from forget_lib.study.scenario import describe, seed_of

RETRAINED, ORIGINALS, KEPT, CONTROL = "retrained", "originals", "kept", "control"
SHARES = (0.1, 0.5, 0.75)
"""Shares of the error curve besides 0, the rule's `kept_share` and 1."""


class Job(NamedTuple):
    """One training: the family it belongs to, its number in it, the share of the forget set it keeps."""

    family: str
    number: int
    share: float

    @property
    def name(self) -> str:
        """A name for its file."""
        return f"{self.family}{round(100 * self.share)}-{self.number}"


def planned(case: Case, kept_share: float) -> list[Job]:
    """All trainings of a request, in order of need; the control is one more retrained model, judged like the others."""
    budget = case.request["budget"]
    jobs = [Job(RETRAINED, i, 0.0) for i in range(budget["references"])]
    jobs += [Job(ORIGINALS, i, 1.0) for i in range(budget["originals"])]
    jobs += [Job(KEPT, i, kept_share) for i in range(budget["kept"])]
    jobs += [Job(CONTROL, 0, 0.0)]
    return jobs + [Job(KEPT, i, share) for share in SHARES for i in range(budget["shares"])]


def training_set(case: Case, job: Job) -> torch.Tensor:
    """Pool indices, int64, sorted: the retain set and the job's own share of the forget set."""
    sets = case.scenario.sets
    generator = torch.Generator().manual_seed(seed_of("kept", case.request["seed"], job.name))
    order = torch.randperm(len(sets.forget), generator=generator)[: round(job.share * len(sets.forget))]
    return torch.cat([sets.retain, sets.forget[order]]).sort().values


def train_references(case: Case, jobs: Sequence[Job]) -> dict[Job, dict[str, np.ndarray]]:
    """Measurements of each job's model (see `measure`), from disk where they are there, else trained now.

    Raises: ForgetError if the folder cannot be written or memory runs out; DivergedError.
    """
    paths = {job: case.folder / "references" / f"{job.name}.npz" for job in jobs}
    keys = {job: key_of(case, job) for job in jobs}
    missing = [job for job in jobs if read_arrays(paths[job], keys[job]) is None]
    if missing:
        print(
            f"{len(jobs) - len(missing)} of {len(jobs)} reference models are there, {len(missing)} to train", flush=True
        )
    try:
        for group in _groups(case, missing):
            _train_group(case, group, paths, keys)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise ForgetError(
                "There is too little memory for the trainings. Set processes under budget to 1, or lower batch_size of "
                "the recipe; what was trained is kept."
            ) from error
        raise
    found = {job: read_arrays(paths[job], keys[job]) for job in jobs}
    lost = [job.name for job, arrays in found.items() if arrays is None]
    if lost:
        raise ForgetError(f"The measurements of {', '.join(lost)} cannot be read back; is the disk full? Run again.")
    return {job: arrays for job, arrays in found.items() if arrays is not None}


def _groups(case: Case, jobs: list[Job]) -> list[list[Job]]:
    """Jobs that are trained together: nets whose training sets have one size as one batch, others in processes."""
    if can_batch(case):
        sizes = {job: len(training_set(case, job)) for job in jobs}
        return [[job for job in jobs if sizes[job] == size] for size in sorted(set(sizes.values()))]
    return [jobs] if jobs else []


def can_batch(case: Case) -> bool:
    """Whether the recipe trains the project's mlp in the plain way on a CPU, so that all nets train as one batch."""
    scenario = case.scenario
    return stackable(scenario.model, scenario.recipe) and scenario.torch_device.type == "cpu"


def _train_group(case: Case, jobs: list[Job], paths: dict[Job, Path], keys: dict[Job, str]) -> None:
    if can_batch(case):
        for job, model in zip(jobs, _batch(case, jobs), strict=True):
            write_arrays(paths[job], keys[job], measure(case.scenario, model))
        return
    processes = min(len(jobs), case.request["budget.processes"] or os.cpu_count() or 1)
    if processes < 2 or case.scenario.torch_device.type != "cpu":
        for number, job in enumerate(jobs, 1):
            _train_one(case, job, paths[job], keys[job])
            print(f"{number}/{len(jobs)} {job.name}", flush=True)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (without_data(case),)) as executor:
        rest = [(job, paths[job], keys[job]) for job in jobs]
        for number, job in enumerate(executor.map(_work, *zip(*rest, strict=True)), 1):
            print(f"{number}/{len(jobs)} {job.name}", flush=True)


_WORKERS: list[Case] = []
"""The case of a process that trains, which loads its data once."""


def without_data(case: Case) -> Case:
    """The same case with nothing loaded, to be sent to another process."""
    return dataclasses.replace(case, scenario=dataclasses.replace(case.scenario))


def _start_worker(case: Case) -> None:
    set_threads(1)
    _WORKERS.append(case)


def _work(job: Job, path: Path, key: str) -> Job:
    return _train_one(_WORKERS[0], job, path, key)


def _batch(case: Case, jobs: list[Job]) -> list[Classifier]:
    data, seeds = case.scenario.data, [_seed(case, job) for job in jobs]
    nets = BatchedMlp.of([cast(Classifier, case.scenario.new_model(seed)) for seed in seeds])
    sets = torch.stack([training_set(case, job) for job in jobs])
    train_batched(nets, data.images, case.scenario.sets.labels, sets, case.scenario.recipe, seeds)
    return nets.classifiers(tuple(data.images.shape[1:]))


def _train_one(case: Case, job: Job, path: Path, key: str) -> Job:
    model = trained_model(case, job)
    write_arrays(path, key, measure(case.scenario, model))
    return job


def trained_model(case: Case, job: Job) -> nn.Module:
    """The model of a job, trained now, in eval mode."""
    scenario, indices, seed = case.scenario, training_set(case, job), _seed(case, job)
    model = scenario.new_model(seed)
    samples = Samples(scenario.data.images[indices], scenario.sets.labels[indices]).to(scenario.torch_device)
    train(model, samples, scenario.recipe, seed)
    return model.eval()


def _seed(case: Case, job: Job) -> int:
    return seed_of("reference", case.request["seed"], job.name)


def key_of(case: Case, job: Job) -> str:
    """Hash of all that the measurements of a job depend on."""
    code = [TRAINING_VERSION, NETS_VERSION, STACKED_VERSION, MEASURE_VERSION]
    sets = {name: getattr(case.scenario.sets, name).tolist() for name in ("forget", "retain", "validation", "unseen")}
    about = {"scenario": describe(case.scenario), "sets": sets, "seed": case.request["seed"]}
    return records.key_of(about=about, job=job, code=[*code, *case.scenario.own_code])
