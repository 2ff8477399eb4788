"""How cost grows with the number of samples, classes, methods and reference models.

    python benchmarks/growth.py

CPU seconds of one thread on made-up images, the median of some rounds. The column `times` is the cost against that of
the smallest size, beside how many times larger it is: near to it means that the cost is in proportion.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.records import measure  # noqa: E402
from forget_lib.datasets.requests import Request  # noqa: E402
from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.models.nets import build  # noqa: E402
from forget_lib.models.recipe import Recipe  # noqa: E402
from forget_lib.models.stacked import (  # noqa: E402
    BatchedMlp,
    mlp_classifier,
    train_batched,
)
from forget_lib.models.train import set_threads  # noqa: E402
from forget_lib.unlearning import UnlearningTask, unlearn  # noqa: E402

SHAPE = (3, 32, 32)
METHODS = ("finetune", "random_label", "ssd", "salun")
ROUNDS = 3


def task(samples: int, classes: int) -> UnlearningTask:
    """A random request for a tenth of `samples` made-up images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *SHAPE), dtype=torch.uint8, generator=generator)
    whole = Samples(images, torch.arange(samples) % classes, batch_size=64, generator=generator)
    recipe = Recipe(epochs=5, batch_size=64, learning_rate=0.01)
    parts = {"forget": slice(0, samples // 10), "retain": slice(samples // 10, None), "validation": slice(0, 100)}
    return UnlearningTask(
        request=Request("random", fraction=0.1),
        classes=(),
        number_of_classes=classes,
        fresh_model=lambda seed: build("small_cnn", SHAPE, classes, seed),
        recipe=recipe,
        seed=0,
        generator=generator,
        device=torch.device("cpu"),
        **{name: whole.subset(torch.arange(samples)[part]) for name, part in parts.items()},
    )


def seconds(work: Callable[[], object]) -> float:
    """Median CPU seconds of a few rounds after one that is not counted."""
    work()
    found = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return statistics.median(found)


def methods_seconds(samples: int, classes: int, methods: tuple[str, ...] = METHODS) -> float:
    """CPU seconds of the methods, one after the other."""
    net = build("small_cnn", SHAPE, classes)

    def work() -> None:
        for name in methods:
            unlearn(name, net, task(samples, classes), **({} if name == "ssd" else {"epochs": 1}))

    return seconds(work)


def pool_seconds(models: int) -> float:
    """CPU seconds of a pool of small nets, trained at once as batched matrices on a half of the images each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1000, 1, 14, 14), dtype=torch.uint8, generator=generator)
    sets = torch.stack([torch.randperm(1000, generator=generator)[:500] for _ in range(models)])
    recipe = Recipe(epochs=5, batch_size=64, learning_rate=0.01)

    def work() -> None:
        nets = BatchedMlp.of([mlp_classifier((1, 14, 14), 10, 128, seed) for seed in range(models)])
        train_batched(nets, images, torch.arange(1000) % 10, sets, recipe, range(models))

    return seconds(work)


def loading_seconds(records: int) -> float:
    """CPU seconds to load and to summarise a study of made-up records."""
    found = measure(records)
    return found["load_seconds"] + found["summary_seconds"]


SERIES: dict[str, tuple[Callable[[int], float], tuple[int, ...]]] = {
    "samples": (lambda size: methods_seconds(size, 10), (500, 1000, 2000, 4000)),
    "classes": (lambda size: methods_seconds(1000, size), (2, 10, 100)),
    "methods": (lambda size: methods_seconds(1000, 10, (METHODS * 4)[:size]), (1, 2, 4, 8)),
    "reference models": (pool_seconds, (4, 16, 64)),
    "records": (loading_seconds, (500, 2000, 8000)),
}


def main() -> pd.DataFrame:
    """Every series, printed as it comes: what grows, size, seconds, and both against the smallest size."""
    set_threads(1)
    rows = []
    for name, (cost, sizes) in SERIES.items():
        first = 0.0
        for size in sizes:
            spent = cost(size)
            first = first or spent
            row = {"series": name, "size": size, "seconds": spent, "larger": size / sizes[0], "times": spent / first}
            rows.append(row)
            grown = f"{row['larger']:5.1f} times larger, {row['times']:5.1f} times the cost"
            print(f"{name:17} {size:6}: {spent:7.2f} s, {grown}", flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
