"""Test accuracy on the whole of CIFAR-10 against time, and what each part of the fast recipe buys.

    python benchmarks/time_to_accuracy.py [--variants fast wide] [--threads 2]

The fast net is trained on all 50,000 images, and tested on the 10,000 of the test set as they are; `mirrored` averages
the logits of each test image and of its mirror image. The rows named `short` train for two epochs, whole and with one
part of the recipe left out at a time: the difference to `short` is what that part buys there, at one seed. Accuracy
does not depend on the number of threads beyond rounding; seconds do, and on what else runs: CPU seconds stand beside
them. A row stays in the table until its variant is measured again, since all of them together take an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import results  # noqa: E402
from forget_lib.datasets import load  # noqa: E402
from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.errors import ForgetError  # noqa: E402
from forget_lib.models import build  # noqa: E402
from forget_lib.recipes import Recipe  # noqa: E402
from forget_lib.training import predict, set_threads, train  # noqa: E402

TABLE = REPOSITORY / "results" / "reference" / "benchmarks" / "time_to_accuracy.csv"
FAST = Recipe(
    epochs=8, batch_size=500, learning_rate=0.2, momentum=0.6, label_smoothing=0.2, optimizer="muon",
    precision="bfloat16", augmentation="alternating",
)  # fmt: skip
SHORT = dataclasses.replace(FAST, epochs=2)
# SGD at the rate and momentum that are usual for such nets; Muon's rate is another unit.
SGD = {"optimizer": "sgd", "learning_rate": 0.2, "momentum": 0.9}
VARIANTS: dict[str, tuple[str, Recipe]] = {
    "fast": ("fast_net", FAST),
    "wide": ("fast_net_wide", dataclasses.replace(FAST, epochs=10)),
    "short": ("fast_net", SHORT),
    "short, SGD for Muon": ("fast_net", dataclasses.replace(SHORT, **SGD)),
    "short, float32": ("fast_net", dataclasses.replace(SHORT, precision="float32")),
    "short, labels not smoothed": ("fast_net", dataclasses.replace(SHORT, label_smoothing=0.0)),
    "short, random flips": ("fast_net", dataclasses.replace(SHORT, augmentation="flip_shift")),
    "short, cosine schedule": ("fast_net", dataclasses.replace(SHORT, schedule="cosine")),
    "short, first layer not whitened": ("fast_net", SHORT),
}


def measure(name: str, training: Samples, test: Samples, classes: int, seed: int = 0) -> dict[str, float | str]:
    """Trains one variant: test accuracy with and without mirror images, wall and CPU seconds."""
    model, recipe = VARIANTS[name]
    net = build(model, tuple(training.images.shape[1:]), classes, seed).to(memory_format=torch.channels_last)
    if "not whitened" in name:
        net.body[0].ready.fill_(True)  # keeps its random weights, which are trained as others are
        net.body[0].weight.requires_grad_(True)
    begun, cpu = time.perf_counter(), time.process_time()
    train(net, training, recipe, seed, title=name)
    spent, cpu = time.perf_counter() - begun, time.process_time() - cpu
    plain = predict(net, test)
    both = plain + predict(net, dataclasses.replace(test, images=test.images.flip(3)))
    plain_accuracy, mirrored = (float((each.argmax(1) == test.labels).float().mean()) for each in (plain, both))
    return {
        "variant": name, "model": model, "epochs": recipe.epochs, "seed": seed, "accuracy": plain_accuracy,
        "mirrored": mirrored, "seconds": spent, "cpu_seconds": cpu,
        "images_per_second": recipe.epochs * len(training) / spent,
    }  # fmt: skip


def main(variants: Sequence[str], threads: int = 2, table: Path | None = None) -> pd.DataFrame:
    """The named variants, one after the other, printed as they come; with the rows that `table` (CSV) has of others.

    Raises: ForgetError where the whole of CIFAR-10 is not on this machine.
    """
    set_threads(threads)
    data = load("cifar10", "local")
    if data.sampled:
        raise ForgetError(
            f"This needs the whole of CIFAR-10, and found the {data.source}. Run ./run_all.sh data cifar10."
        )
    training, test = Samples(data.images, data.labels), Samples(data.test_images, data.test_labels)
    kept = pd.read_csv(table).to_dict("records") if table is not None and table.is_file() else []
    rows = {row["variant"]: row for row in kept}
    for name in variants:
        load_before = os.getloadavg()[0]
        row = rows[name] = measure(name, training, test, len(data.classes))
        row |= {"threads": threads, "load_before": load_before, "commit": results.provenance()["commit"][:7]}
        print(
            f"{name:32} {row['accuracy']:.2%} ({row['mirrored']:.2%} with mirror images) after {row['seconds']:.0f} s, "
            f"{row['cpu_seconds']:.0f} CPU s, {row['images_per_second']:.0f} images/s",
            flush=True,
        )
        if table is not None:
            found = pd.DataFrame([rows[each] for each in VARIANTS if each in rows])
            found.to_csv(table, index=False, float_format="%.6g")
    return pd.DataFrame([rows[each] for each in VARIANTS if each in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    main(arguments.variants, arguments.threads, TABLE)
