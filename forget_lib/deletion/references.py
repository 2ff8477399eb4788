"""The models that a request is judged by: retrained without the forget set, with all of it, and with shares of it.

Each is trained as the nets of a pool are, measured and thrown away: only its measurements are kept, one file a model,
so that a run that was stopped goes on with the next one.
"""

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.deletion.case import Case
from forget_lib.deletion.measure import MEASURE_VERSION, Measured, measure
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.stacked import STACKED_VERSION, stackable
from forget_lib.models.train import TRAINING_VERSION, set_threads
from forget_lib.study import records
from forget_lib.study.pools import PoolPlan, read_arrays, train_nets, write_arrays
from forget_lib.study.scenario import describe, seed_of

RETRAINED, ORIGINALS, KEPT, CONTROL = "retrained", "originals", "kept", "control"
SHARES = (0.1, 0.5, 0.75)
"""Shares of the error curve besides 0, the rule's `kept_share` and 1."""
CODE = [TRAINING_VERSION, NETS_VERSION, STACKED_VERSION, MEASURE_VERSION]


class Job(NamedTuple):
    """One training: the family it belongs to, its number in it, the share of the forget set it keeps."""

    family: str
    number: int
    share: float

    @property
    def name(self) -> str:
        return f"{self.family}{round(100 * self.share)}-{self.number}"


def planned(case: Case, kept_share: float) -> list[Job]:
    """All trainings of a request, in order of need; the control is one more retrained model, judged like the others."""
    budget = case.request["budget"]
    families = [(RETRAINED, 0.0, budget["references"]), (ORIGINALS, 1.0, budget["originals"])]
    families += [(KEPT, kept_share, budget["kept"]), (CONTROL, 0.0, 1)]
    families += [(KEPT, share, budget["shares"]) for share in SHARES]
    return [Job(family, i, share) for family, share, number in families for i in range(number)]


def training_set(case: Case, job: Job) -> np.ndarray:
    """Pool indices, int64, sorted: the retain set and the job's own share of the forget set."""
    sets = case.scenario.sets
    generator = torch.Generator().manual_seed(seed_of("kept", case.request["seed"], job.name))
    order = torch.randperm(len(sets.forget), generator=generator)[: round(job.share * len(sets.forget))]
    return torch.cat([sets.retain, sets.forget[order]]).sort().values.numpy()


def key_of(case: Case, job: Job) -> str:
    """Hash of all that the measurements of a job depend on."""
    sets = {name: getattr(case.scenario.sets, name).tolist() for name in ("forget", "retain", "validation", "unseen")}
    about = {"scenario": describe(case.scenario), "sets": sets, "seed": case.request["seed"]}
    return records.key_of(about=about, job=job, code=[*CODE, *case.scenario.own_code])


def path_of(case: Case, job: Job) -> Path:
    """The file of a job's measurements."""
    return case.folder / "references" / f"{job.name}.npz"


def measured(case: Case, jobs: Sequence[Job], *, any_key: bool = False) -> dict[Job, Measured]:
    """Measurements of the jobs that are on disk, made by this code or, with `any_key`, by whatever code."""
    found = {job: read_arrays(path_of(case, job), None if any_key else key_of(case, job)) for job in jobs}
    return {job: arrays for job, arrays in found.items() if arrays is not None}


def train_references(case: Case, jobs: Sequence[Job]) -> dict[Job, Measured]:
    """Measurements of each job's model (see `measure`), from disk where they are there, else trained now.

    Raises: ForgetError if the folder cannot be written or memory runs out; DivergedError.
    """
    there = measured(case, jobs)
    missing = [job for job in jobs if job not in there]
    if missing:
        print(f"{len(there)} of {len(jobs)} reference models are there, {len(missing)} to train", flush=True)
    try:
        _train_all(case, missing)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise ForgetError(
                "There is too little memory for the trainings. Set processes under budget to 1, or lower batch_size of "
                "the recipe; what was trained is kept."
            ) from error
        raise
    found = measured(case, jobs)
    lost = [job.name for job in jobs if job not in found]
    if lost:
        raise ForgetError(f"The measurements of {', '.join(lost)} cannot be read back; is the disk full? Run again.")
    return found


def _train_all(case: Case, jobs: Sequence[Job]) -> None:
    """Small nets whose training sets have one size are trained as one batch, others one by one, in processes."""
    scenario, wanted = case.scenario, case.request["budget.processes"] or os.cpu_count() or 1
    on_cpu = scenario.torch_device.type == "cpu"
    together = on_cpu and stackable(scenario.model, scenario.recipe)
    groups = [[job] for job in jobs]
    if together:
        sizes = {job: len(training_set(case, job)) for job in jobs}
        groups = [[job for job in jobs if sizes[job] == size] for size in sorted(set(sizes.values()))]
    processes = min(len(jobs), wanted) if on_cpu and not together else 1
    with ExitStack() as stack:
        done: Iterable[list[Job]] = map(partial(_train, case), groups)
        if processes > 1:
            start = (processes, get_context("spawn"), _start_worker, (without_data(case),))
            done = stack.enter_context(ProcessPoolExecutor(*start)).map(_work, groups)
        begun, trained = time.monotonic(), 0
        for group in done:
            trained += len(group)
            left = round((time.monotonic() - begun) / trained * (len(jobs) - trained))
            print(f"reference models: {trained} of {len(jobs)} trained, {left} s left", flush=True)


_WORKERS: list[Case] = []
"""The case of a process that trains, which loads its data once."""


def without_data(case: Case) -> Case:
    """The same case with nothing loaded, to be sent to another process."""
    return dataclasses.replace(case, scenario=dataclasses.replace(case.scenario))


def _start_worker(case: Case) -> None:
    set_threads(1)
    _WORKERS.append(case)


def _work(jobs: list[Job]) -> list[Job]:
    return _train(_WORKERS[0], jobs)


def _train(case: Case, jobs: list[Job]) -> list[Job]:
    """Trains the models of these jobs, measures them, and keeps what was measured."""
    scenario, device = case.scenario, case.scenario.torch_device
    images, labels = scenario.data.images.to(device), scenario.sets.labels.to(device)
    forget, classes = scenario.sets.forget.numpy(), len(scenario.data.classes)
    plan = PoolPlan(images, labels, forget, classes, model=scenario.model, recipe=scenario.recipe)
    seeds = [seed_of("reference", case.request["seed"], job.name) for job in jobs]
    models = train_nets(plan, [training_set(case, job) for job in jobs], seeds)
    for job, model in zip(jobs, models, strict=True):
        write_arrays(path_of(case, job), key_of(case, job), measure(scenario, model))
    return jobs
