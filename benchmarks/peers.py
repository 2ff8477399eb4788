"""The same unlearning work fed by a per-item loop, as most public code does it, and from memory, as here.

    python benchmarks/peers.py [--cases mlp small_cnn files resnet18] [--pairs 3]

"Per-item loop" is a plain `Dataset` that makes one PIL image a sample, torchvision transforms, and a `DataLoader` in
the same process; in case `files` each item is also read from a PNG file. No other package runs here. Net, data, batch
size, epochs, seed and the method's own code are the same on both sides, so that the ratio is that of the feeding
alone: public code that is slower elsewhere too would come out worse. The two run in turn; the ratio is the median of
CPU time over the pairs. Where the net is big, computing dominates and the ratio goes to 1. `limit` is the ratio that
there would be if feeding from memory took no time at all: batches that were made beforehand, the same ones each epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.study import run  # noqa: E402
from forget_lib.unlearning import UnlearningTask, unlearn  # noqa: E402

METHODS = ("finetune", "negative_gradient_plus", "random_label", "scrub", "ssd", "salun", "bad_teacher")
SETS = ("forget", "retain", "validation")
CASES = {
    "mlp": ("mnist", "mlp", METHODS, 4000),
    "small_cnn": ("cifar10", "small_cnn", METHODS, 3000),
    "files": ("cifar10", "small_cnn", METHODS, 3000),
    "resnet18": ("cifar10", "resnet18", ("finetune", "salun"), 192),
}


class Items(Dataset):
    """One image at a time: from an array or from a file, through transforms."""

    def __init__(self, samples: PerItem) -> None:
        self.samples = samples
        steps = [transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))]
        if samples.augmentation == "flip_shift":
            steps = [transforms.RandomCrop(samples.images.shape[2], 2), transforms.RandomHorizontalFlip(), *steps]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.samples.files:
            with Image.open(self.samples.files[self.samples.images[index].numpy().tobytes()]) as file:
                image = file.convert("RGB")
        else:
            image = transforms.functional.to_pil_image(self.samples.images[index])
        return self.transform(image), int(self.samples.labels[index])


@dataclass(frozen=True)
class PerItem(Samples):
    """Samples that give out their batches through a `DataLoader`; `files`: path by the image's bytes, or none."""

    files: Mapping[bytes, Path] = dataclasses.field(default_factory=dict)

    def batches(
        self, epochs: int = 1, *, batch_size: int | None = None, shuffle: bool = True, augment: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Samples.batches`."""
        source = Items(self if augment else dataclasses.replace(self, augmentation="none"))
        size = batch_size or self.batch_size
        for _ in range(epochs):
            # As `Samples` does it, a last batch of one sample is not left alone: batch norm cannot train on it.
            single = len(self) > size and len(self) % size == 1
            yield from DataLoader(source, size, shuffle=shuffle, generator=self.generator, drop_last=single)


@dataclass(frozen=True)
class Ready(Samples):
    """Samples whose batches were made beforehand, `made` by number of samples and size of a batch: what is left of a
    method's time is its computing."""

    made: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = dataclasses.field(default_factory=dict)

    def batches(
        self, epochs: int = 1, *, batch_size: int | None = None, shuffle: bool = True, augment: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Samples.batches`, but always the same ones."""
        size = batch_size or self.batch_size
        if (len(self), size) not in self.made:
            self.made[len(self), size] = list(super().batches(batch_size=size, shuffle=False, augment=False))
        for _ in range(epochs):
            yield from self.made[len(self), size]


def fed(task: UnlearningTask, way: type[Samples], **fields: Mapping) -> UnlearningTask:
    """The same task with its sets behind another way of feeding. Args: fields: of `way`, by set."""
    parts = {}
    for part in SETS:
        samples = getattr(task, part)
        same = {field.name: getattr(samples, field.name) for field in dataclasses.fields(samples)}
        parts[part] = way(**same, **{name: each[part] for name, each in fields.items()})
    return dataclasses.replace(task, **parts)


def written(images: Tensor, folder: Path) -> dict[bytes, Path]:
    """Writes each image as a PNG; returns the paths by the image's bytes, so that they follow it into any subset."""
    found = {}
    for index, image in enumerate(images):
        path = found[image.numpy().tobytes()] = folder / f"{index}.png"
        transforms.functional.to_pil_image(image).save(path)
    return found


def small_task(scenario: run.Scenario, name: str, samples: int) -> UnlearningTask:
    """The scenario's task on at most `samples` retained samples."""
    task = run.make_task(scenario, name=name)
    parts = {part: getattr(task, part) for part in SETS}
    limits = {"forget": samples // 8, "retain": samples, "validation": 200}
    return dataclasses.replace(
        task, **{part: each.subset(torch.arange(len(each))[: limits[part]]) for part, each in parts.items()}
    )


def seconds_of(name: str, model: torch.nn.Module, task: UnlearningTask) -> float:
    """CPU seconds of one run of a method, all threads counted."""
    settings = {} if name == "ssd" else {"epochs": 1}
    begun = time.process_time()
    unlearn(name, model, task, **settings)
    return time.process_time() - begun


def compare(case: str, pairs: int) -> pd.DataFrame:
    """CPU seconds of both ways and their ratio, one row a method."""
    dataset, model, methods, samples = CASES[case]
    recipe = {
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 0.01,
        "augmentation": "flip_shift" if dataset == "cifar10" else "none",
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scenario = run.make_scenario(root, recipe, dataset=dataset, model=model, request="random:0.1", start="sample")
        net = scenario.new_model(0)
        files = written(scenario.data.images, root) if case == "files" else {}
        for method in methods:
            found: list[tuple[float, float, float]] = []
            paths, made = dict.fromkeys(SETS, files), {part: {} for part in SETS}
            for pair in range(pairs + 1):  # the first warms up, makes what is ready, and is not counted
                tasks = [small_task(scenario, method, samples) for _ in range(3)]
                tasks = [fed(tasks[0], PerItem, files=paths), tasks[1], fed(tasks[2], Ready, made=made)]
                timed = tuple(seconds_of(method, net, task) for task in tasks)
                if pair:
                    found.append(timed)
            slow, fast, least = (statistics.median(each) for each in zip(*found, strict=True))
            spread = [a / b for a, b, _ in found]
            ratio, limit = statistics.median(spread), statistics.median(a / c for a, _, c in found)
            rows.append(
                {
                    "case": case,
                    "method": method,
                    "per_item_seconds": slow,
                    "seconds": fast,
                    "ready_seconds": least,
                    "ratio": ratio,
                    "limit": limit,
                    "lowest": min(spread),
                    "highest": max(spread),
                }
            )
            told = f"{slow:7.2f} s per item, {fast:7.2f} s from memory, ratio {ratio:.2f} of {limit:.2f}"
            print(f"{case:10} {method:24} {told}", flush=True)
    return pd.DataFrame(rows)


def main(cases: Sequence[str], pairs: int = 3) -> pd.DataFrame:
    """The comparison for each case."""
    return pd.concat([compare(case, pairs) for case in cases], ignore_index=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.cases, arguments.pairs)
