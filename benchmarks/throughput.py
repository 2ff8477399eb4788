"""How near training comes to what this machine can do: floating-point rate as a share of its matrix-multiply rate.

    python benchmarks/throughput.py [--nets fast_net small_cnn] [--threads 2] [--seconds 5]

The operations of a training step are those that it needs, counted by PyTorch's own counter over forward and backward
(a multiply-add is two). The machine's rate is that of a large product of matrices in the same precision, by the faster
of PyTorch's two libraries. Both are measured in turn, a second of each, in the same process; the share is the median
over the turns. Where the time goes is in the other columns: shares of the CPU time of a step by kind of operation. All
but the products are bound by memory and not by arithmetic.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.models.nets import build  # noqa: E402
from forget_lib.models.recipe import Recipe  # noqa: E402
from forget_lib.models.train import (  # noqa: E402
    fast_precision,
    set_threads,
    train,
)

FAST = fast_precision(torch.device("cpu"))
NETS: dict[str, tuple[tuple[int, int, int], int, dict]] = {
    "mlp": ((1, 28, 28), 64, {}),
    "small_cnn": ((3, 32, 32), 128, {}),
    "small_resnet": ((3, 64, 64), 64, {}),
    "resnet9": ((3, 32, 32), 128, {}),
    "fast_net": (
        (3, 32, 32),
        500,
        {"optimizer": "muon", "augmentation": "alternating", "label_smoothing": 0.2, "precision": FAST},
    ),
    "resnet18": ((3, 32, 32), 64, {}),
}
"""By name: input shape, batch size, and what the recipe has beside the usual."""
SIZE = 2048
KINDS = {
    "products": ("mkldnn_convolution", "convolution_backward", "addmm", "aten::mm", "aten::bmm", "linear"),
    "normalisation": ("batch_norm",),
    "pooling": ("pool",),
    "activations": ("gelu", "relu", "threshold", "clamp_min"),
    "optimiser": ("optimizer", "_fused_", "muon"),
}
"""Kinds of operations, by parts of their names; all else is feeding, loss, casts and Python."""
OTHER = "other"


@torch.inference_mode()
def matrix_rate(dtype: torch.dtype, seconds: float) -> float:
    """Floating-point operations a second of a product of two SIZE × SIZE matrices, by PyTorch's faster library.

    There is one of matrices, and one of convolutions, for which the same product is a 1×1 convolution. Which is
    faster depends on the processor: where only the second uses all of it, nets came to more than the first can do.
    """
    matrix, kernels = torch.randn(SIZE, SIZE, dtype=dtype), torch.randn(SIZE, SIZE, 1, 1, dtype=dtype)
    pixels = torch.randn(1, SIZE, 1, SIZE, dtype=dtype).contiguous(memory_format=torch.channels_last)
    each = (lambda: matrix @ matrix, lambda: functional.conv2d(pixels, kernels))
    return 2 * SIZE**3 / min(_seconds_each(work, seconds / len(each)) for work in each)


def _seconds_each(work: Callable[[], object], seconds: float) -> float:
    work()
    begun, rounds = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        work()
        rounds += 1
    return (time.perf_counter() - begun) / rounds


def work_of(name: str, epochs: int) -> tuple[nn.Module, Samples, Recipe]:
    """A net, made-up images for four of its batches, and its recipe."""
    shape, batch_size, special = NETS[name]
    count = 4 * batch_size
    samples = Samples(torch.randint(0, 256, (count, *shape), dtype=torch.uint8), torch.arange(count) % 10)
    recipe = Recipe(epochs=epochs, batch_size=batch_size, learning_rate=1e-3, **special)
    return build(name, shape, 10), samples, recipe


def measure(name: str, turns: int, seconds: float) -> dict[str, float | str]:
    """Images a second of training, operations a second, and their share of the matrix rate."""
    net, samples, recipe = work_of(name, epochs=1)
    count, batch_size = len(samples), recipe.batch_size
    with FlopCounterMode(display=False) as counter:
        train(net, samples, recipe, 0)
    operations = counter.get_total_flops()
    dtype = getattr(torch, recipe.precision)
    found = []
    for _ in range(turns):
        possible = matrix_rate(dtype, seconds / turns / 2)
        each = _seconds_each(lambda: train(net, samples, recipe, 0), seconds / turns)
        found.append((operations / each / possible, count / each, operations / each, possible))
    share, images, rate, possible = (statistics.median(column) for column in zip(*found, strict=True))
    return {
        "net": name,
        "precision": recipe.precision,
        "batch_size": batch_size,
        "operations_per_image": operations / count,
        "images_per_second": images,
        "operations_per_second": rate,
        "matrix_rate": possible,
        "share": share,
        "lowest": min(f[0] for f in found),
        "highest": max(f[0] for f in found),
    }


def where(name: str) -> dict[str, float]:
    """Share of the CPU time of some training steps by kind of operation, from PyTorch's profiler."""
    net, samples, recipe = work_of(name, epochs=3)
    train(net, samples, recipe, 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        train(net, samples, recipe, 0)
    spent = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in found.key_averages():
        kind = next((kind for kind, words in KINDS.items() if any(word in event.key.lower() for word in words)), OTHER)
        spent[kind] += event.self_cpu_time_total
    return {kind: value / sum(spent.values()) for kind, value in spent.items()}


def main(nets: Sequence[str], threads: int = 2, seconds: float = 6.0, turns: int = 5) -> pd.DataFrame:
    """The shares of the named nets, printed as they come."""
    set_threads(threads)
    rows = []
    for name in nets:
        rows.append(measure(name, turns, seconds) | {"threads": threads} | where(name))
        row = rows[-1]
        print(
            f"{name:14} {row['images_per_second']:8.0f} images/s, {row['operations_per_second'] / 1e9:6.1f} of "
            f"{row['matrix_rate'] / 1e9:6.1f} GFLOP/s: {row['share']:.0%}; time: "
            + ", ".join(f"{kind} {row[kind]:.0%}" for kind in [*KINDS, OTHER]),
            flush=True,
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    main(arguments.nets, arguments.threads, arguments.seconds)
