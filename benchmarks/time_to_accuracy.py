"""Test accuracy on the whole of CIFAR-10 against time, and what each part of the fast recipe buys.

    python benchmarks/time_to_accuracy.py [--variants fast wide] [--precision float32] [--threads 2]

The fast net is trained on all 50,000 images, and tested on the 10,000 of the test set as they are. `mirrored` averages
the logits of each test image and of its mirror image; `shifted` also those of both moved by a pixel, up and left, and
down and right, as the source does (airbench94: 94 % that way; no value in rows older than this column). `wide` has the
source's widths, and `long` trains these for three times as many epochs. The rows named `short` train for two epochs,
whole and with one part of the recipe left out at a time: the difference to `short` in the same precision is what that
part buys there, at one seed (SGD at a usual rate and momentum, not tuned). The precision is what is faster on the
machine.

Accuracy does not depend on the number of threads beyond rounding; seconds do, and on what else runs: CPU seconds stand
beside them, and `matrix_rate`, the machine's floating-point operations a second just before (none in rows older than
this column), by which rows of different machines can be compared. A row stays in the table until its variant is
measured again in that precision, since all of them together take hours.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.throughput import matrix_rate  # noqa: E402
from forget_lib.core.errors import ForgetError  # noqa: E402
from forget_lib.datasets import load  # noqa: E402
from forget_lib.datasets.image_data import ImageData  # noqa: E402
from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.models.nets import (  # noqa: E402
    Classifier,
    build,
)
from forget_lib.models.recipe import (  # noqa: E402
    PRECISIONS,
    Recipe,
)
from forget_lib.models.train import (  # noqa: E402
    fast_precision,
    predict,
    set_threads,
    train,
)
from forget_lib.study import records  # noqa: E402

TABLE = REPOSITORY / "results" / "reference" / "benchmarks" / "time_to_accuracy.csv"
FAST = Recipe(
    epochs=8, batch_size=500, learning_rate=0.2, momentum=0.6, label_smoothing=0.2, optimizer="muon",
    augmentation="alternating",
)  # fmt: skip
SHORT = dataclasses.replace(FAST, epochs=2)
# SGD at the rate and momentum that are usual for such nets; Muon's rate is another unit.
SGD = {"optimizer": "sgd", "learning_rate": 0.2, "momentum": 0.9}
VARIANTS: dict[str, tuple[str, Recipe]] = {
    "fast": ("fast_net", FAST),
    "wide": ("fast_net_wide", FAST),
    "long": ("fast_net_wide", dataclasses.replace(FAST, epochs=24)),
    "short": ("fast_net", SHORT),
    "short, SGD for Muon": ("fast_net", dataclasses.replace(SHORT, **SGD)),
    "short, labels not smoothed": ("fast_net", dataclasses.replace(SHORT, label_smoothing=0.0)),
    "short, random flips": ("fast_net", dataclasses.replace(SHORT, augmentation="flip_shift")),
    "short, cosine schedule": ("fast_net", dataclasses.replace(SHORT, schedule="cosine")),
    "short, first layer not whitened": ("fast_net", SHORT),
}


def measure(name: str, data: ImageData, precision: str, seed: int = 0) -> dict[str, float | str]:
    """Trains one variant: test accuracy with and without mirror images, wall and CPU seconds."""
    training, test = Samples(data.images, data.labels), Samples(data.test_images, data.test_labels)
    model, recipe = VARIANTS[name]
    recipe = dataclasses.replace(recipe, precision=precision)
    load, possible = os.getloadavg()[0], matrix_rate(getattr(torch, precision), 1.0)
    net = build(model, tuple(training.images.shape[1:]), len(data.classes), seed).to(memory_format=torch.channels_last)
    if "not whitened" in name:
        net.body[0].ready.fill_(True)  # keeps its random weights, which are trained as others are
        net.body[0].weight.requires_grad_(True)
    begun, cpu = time.perf_counter(), time.process_time()
    train(net, training, recipe, seed, title=name)
    spent, cpu = time.perf_counter() - begun, time.process_time() - cpu
    logits = averaged_logits(net, test)
    accuracy = {column: float((each.argmax(1) == test.labels).float().mean()) for column, each in logits.items()}
    return {
        "variant": name, "model": model, "precision": precision, "epochs": recipe.epochs, "seed": seed,
        **accuracy, "seconds": spent, "cpu_seconds": cpu,
        "images_per_second": recipe.epochs * len(training) / spent, "threads": torch.get_num_threads(),
        "load_before": load, "matrix_rate": possible, "commit": records.provenance()["commit"][:7],
    }  # fmt: skip


def averaged_logits(net: Classifier, test: Samples) -> dict[str, Tensor]:
    """Logits of the test images as they are, summed over mirror images, and over mirror images and shifts by a pixel.

    Returns: float32 [N, classes] each. In the last the image in its place has half of the weight, and reflection fills
    the edge that a shift leaves. Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """

    def logits(images: Tensor) -> Tensor:
        return predict(net, dataclasses.replace(test, images=images))

    size, plain = test.images.shape[2], logits(test.images)
    mirrored = plain + logits(test.images.flip(3))
    padded = functional.pad(test.images.float(), (1, 1, 1, 1), mode="reflect").to(test.images.dtype)
    corners = [padded[:, :, start : start + size, start : start + size] for start in (0, 2)]
    moved = sum(logits(images) for corner in corners for images in (corner, corner.flip(3)))
    return {"accuracy": plain, "mirrored": mirrored, "shifted": 2 * mirrored + moved}


def main(
    variants: Sequence[str], precision: str | None = None, threads: int = 2, table: Path | None = None
) -> pd.DataFrame:
    """The named variants, one after the other, printed as they come; with the rows that `table` (CSV) has of others.

    Raises: ForgetError where the whole of CIFAR-10 is not on this machine.
    """
    set_threads(threads)
    precision = precision or fast_precision(torch.device("cpu"))
    data = load("cifar10", "local")
    if data.sampled:
        raise ForgetError(
            f"This needs the whole of CIFAR-10, and found the {data.source}. Run ./run_all.sh data cifar10."
        )
    kept = pd.read_csv(table).to_dict("records") if table is not None and table.is_file() else []
    rows = {(row["variant"], row["precision"]): row for row in kept}
    for name in variants:
        row = rows[name, precision] = measure(name, data, precision)
        print(
            f"{name:32} {row['accuracy']:.2%} ({row['mirrored']:.2%} with mirror images, {row['shifted']:.2%} with "
            f"shifts) after {row['seconds']:.0f} s, {row['cpu_seconds']:.0f} CPU s, "
            f"{row['images_per_second']:.0f} images/s",
            flush=True,
        )
        if table is not None:
            in_order(rows).to_csv(table, index=False, float_format="%.6g")
    return in_order(rows)


def in_order(rows: Mapping[tuple[str, str], Mapping]) -> pd.DataFrame:
    """The rows by variant, as they stand in VARIANTS, and precision."""
    found = [rows[name, each] for name in VARIANTS for each in PRECISIONS if (name, each) in rows]
    return pd.DataFrame(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--precision", choices=PRECISIONS, default=None)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    main(arguments.variants, arguments.precision, arguments.threads, TABLE)
