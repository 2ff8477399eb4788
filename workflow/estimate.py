"""What a profile costs, before it is run: jobs, hours, disk and the longest chain, from a short calibration here.

    python -m workflow.estimate workflow/config/paper.yaml [--parts PART …] [--runs 3]

Each net of the profile is trained for a few batches on this machine, which gives its seconds a sample pass. A job's
passes follow from its recipe and sets; a method's share of a retraining is the one that the reference results
recorded, and the limit of a fifth where they have none. The hours are those of this machine's cores, or of its GPU.
"""

import heapq
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch

from forget_lib.core.paths import RESULTS
from forget_lib.datasets import ImageData, load
from forget_lib.datasets.requests import draw_sets, parse_request
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import build, count_parameters
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.stacked import stackable
from forget_lib.models.train import choose_device, set_threads, train
from workflow import commands
from workflow.plan import Job, planned

WORKERS = (1, 8, 64, 256)
LIMIT = 0.2
"""Share of a retraining that a method may cost in the study."""
OVERHEAD = 4.0
"""Seconds of a notebook beside its training: kernel, figures, page. Measured: 2 to 5 s, on a cluster, where each kernel
imports by itself, 5 more."""
FIXED = {
    "01_data": 30.0,
    "08_figures": 37.0,
    "10_deletion_request": 22.0,
    "08a_notices": 21.0,
    "11_published_claims": 45.0,
}
"""Seconds of a notebook that is not about one scenario, at `quick`; of the last two for each draw or seed."""
MEASURED = 0.5
"""Seconds of a model's attacks, layers and files. Measured: 0.3 to 0.8 s, the most with probes and relearning."""
BATCHED = 0.1
"""Share of the time of one training after the other that plain nets of a pool take as batched matrices."""
CALIBRATION_SECONDS = 3.0


@dataclass(frozen=True)
class Cost:
    """Seconds of one worker, and bytes on disk."""

    seconds: float
    disk: float = 0.0


@lru_cache
def relative_costs() -> Mapping[str, float]:
    """Mean share of a retraining by method, over all reference results."""
    tables = [pd.read_csv(path) for path in sorted((RESULTS / "reference").glob("*/summary.csv*"))]
    if not tables:
        return {}
    rows = pd.concat(tables)
    return rows[rows["metric"] == "relative_cost"].groupby("method")["mean"].mean().to_dict()


@lru_cache
def seconds_a_pass(model: str, shape: tuple[int, int, int], classes: int, batch_size: int, device: str) -> float:
    """Seconds of a sample pass of a net in training, on one thread (or the GPU), from a few batches of noise."""
    set_threads(1)
    place = choose_device(device)
    net = build(model, shape, classes).to(place)
    size = min(batch_size, 64)
    recipe = Recipe(epochs=1, batch_size=size, learning_rate=1e-3)
    images = torch.randint(0, 256, (2 * size, *shape), dtype=torch.uint8)
    samples = Samples(images, torch.arange(2 * size) % classes, batch_size=size).to(place)
    train(net, samples, recipe, 0)
    # On one thread of a CPU its own time is the time of a machine that does nothing else.
    clock = time.process_time if place.type == "cpu" else time.perf_counter
    begun, rounds = clock(), 0
    while rounds == 0 or clock() - begun < CALIBRATION_SECONDS:
        train(net, samples, recipe, rounds)
        rounds += 1
    return (clock() - begun) / (3 * 2 * size * rounds)


@lru_cache
def _data(dataset: str, start: str) -> ImageData:
    return load(dataset, start)


@lru_cache
def _sizes(dataset: str, start: str, request: str, draw: int) -> dict[str, int]:
    """Number of samples of the six sets."""
    data = _data(dataset, start)
    sets = draw_sets(data, parse_request(request), draw)
    parts = ("forget", "retain", "validation", "unseen", "population")
    return {part: len(getattr(sets, part)) for part in parts} | {"test": len(data.test_labels)}


def cost_of(job: Job) -> Cost:
    """What one job takes; its passes are those of its trainings, its methods and its evaluations."""
    given = job.parameters
    if "recipe" not in given:
        times = len(given.get("seeds", [0])) * given.get("draws", 1)
        return Cost(FIXED.get(job.notebook, OVERHEAD) * times, 1e6)
    recipe = make_recipe(given["recipe"])
    data = _data(given["dataset"], given["start"])
    channels, height, width = data.images.shape[1:]
    shape, classes = (channels, height, width), len(data.classes)
    one_pass = seconds_a_pass(given["model"], shape, classes, recipe.batch_size, given.get("device", "cpu"))
    weights = 4 * count_parameters(build(given["model"], shape, classes))
    # A job without a request trains an original: the sets that it trains on are the same for any.
    asked = given.get("request") or f"class:{data.classes[0]}"
    sets = _sizes(given["dataset"], given["start"], asked, given.get("draw", 0))
    evaluated, trained = sum(sets.values()), sets["forget"] + sets["retain"]
    if "methods" not in given and "pool" not in given:
        return Cost(OVERHEAD + one_pass * (3 * recipe.epochs * trained + evaluated), weights)
    costs = [relative_costs().get(name, LIMIT) for name in given.get("methods", {})]
    share = 0.0 if "methods" in job.ready else sum(costs)
    retrainings = 0 if "retrained" in job.ready else 1
    pool = given.get("pool")
    if pool:
        one_net = 3 * recipe.epochs * pool["samples"] / 2
        references = 0.0 if "references" in job.ready else float(pool["number"])
        targets = retrainings * pool["targets"] * (3 + len(pool.get("doses", ())))
        if "shard" in pool:
            references, targets = pool["number"] / pool["shard"][1], 0
        trainings = (references + targets) * (BATCHED if stackable(given["model"], recipe) else 1)
        passes = one_net * (trainings + share * (pool["number"] + pool["targets"]))
        return Cost(OVERHEAD + one_pass * passes, 2.0 * classes * pool["samples"] * (references + targets))
    retraining = 3 * recipe.epochs * sets["retain"]
    models = 0 if "methods" in job.ready else len(given["methods"]) + 3 * retrainings
    turns = given.get("in_turn", 1)  # pairs of draw and seed, each with an original of its own
    originals = 0 if job.ready else turns - bool(job.after)  # the first one has a job before this, if any
    passes = originals * 3 * recipe.epochs * trained
    passes += turns * (retraining * (2 * retrainings + share) + models * evaluated)
    seconds = OVERHEAD + one_pass * passes + turns * models * MEASURED
    return Cost(seconds, turns * models * (weights + 4.0 * classes * evaluated))


def chains(jobs: Mapping[str, Job], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the longest chain that begins with each job."""
    later: dict[str, float] = dict.fromkeys(jobs, 0.0)
    for key, job in reversed(list(jobs.items())):  # each after those that it needs
        for earlier in job.after:
            later[earlier] = max(later[earlier], seconds[key] + later[key])
    return {key: seconds[key] + later[key] for key in jobs}


def longest_chain(jobs: Mapping[str, Job], seconds: Mapping[str, float]) -> list[str]:
    """Keys of the jobs that no number of workers can run beside each other, first to last."""
    length, chain = chains(jobs, seconds), []
    ready = list(jobs)
    while ready:
        chain.append(max(ready, key=length.__getitem__))
        ready = [key for key, job in jobs.items() if chain[-1] in job.after]
    return chain


def makespan(jobs: Mapping[str, Job], seconds: Mapping[str, float], workers: int) -> float:
    """Seconds that `workers` need: each takes the ready job with the longest chain behind it."""
    length = chains(jobs, seconds)
    missing = {key: set(job.after) for key, job in jobs.items()}
    ready = [(-length[key], key) for key in jobs if not missing[key]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            key = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[key], key))
        now, done = heapq.heappop(running)
        for key, waits_for in missing.items():
            if done in waits_for:
                waits_for.remove(done)
                if not waits_for:
                    heapq.heappush(ready, (-length[key], key))
    return now


def lines(jobs: Mapping[str, Job], costs: Mapping[str, Cost], workers: Sequence[int] = WORKERS) -> Iterator[str]:
    """The estimate as text."""
    seconds = {key: cost.seconds for key, cost in costs.items()}
    total, chain = sum(seconds.values()), longest_chain(jobs, seconds)
    critical = sum(seconds[key] for key in chain)
    disk = sum(cost.disk for cost in costs.values()) / 1e9
    yield f"{len(jobs)} jobs, {total / 3600:.1f} hours of one worker, {disk:.2f} GB on disk."
    yield f"Longest chain: {critical / 3600:.2f} h, {' -> '.join(chain)}."
    yield f"More than {total / critical:.0f} workers cannot help."
    for number in workers:
        wall = makespan(jobs, seconds, number)
        speed = total / wall
        yield f"  {number:>4} workers: {wall / 3600:8.2f} h, {speed:6.1f} times as fast, {speed / number:.0%} busy"
    parts = pd.Series(seconds).groupby([job.part or "data, figures, overview" for job in jobs.values()], sort=False)
    yield "By part, hours of one worker: " + ", ".join(
        f"{part} {hours:.2f}" for part, hours in (parts.sum() / 3600).items()
    )


def estimate(config: Path, *, parts: Sequence[str] = (), runs: int | None = None) -> None:
    """Print the estimate of a profile, or of the named parts of it."""
    jobs = planned(config, parts, runs)
    nets = {(job.parameters["dataset"], job.parameters["model"]) for job in jobs.values() if "recipe" in job.parameters}
    print(f"Calibrating {len(nets)} nets on this machine, about {CALIBRATION_SECONDS:.0f} s each ...", flush=True)
    costs = {key: cost_of(job) for key, job in jobs.items()}
    print("\n".join(lines(jobs, costs)))


if __name__ == "__main__":
    sys.exit(commands.main("workflow.estimate", [estimate]))
