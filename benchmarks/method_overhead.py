"""CPU time of each method against a bare loop over the very same forward and backward passes.

    python benchmarks/method_overhead.py [--dataset mnist --model mlp --request class:5]

Each forward pass of a method is recorded with its size and whether a backward pass followed. The bare loop replays
the record on tensors in memory: index, normalise, forward, cross-entropy, backward, SGD. Ratio 1: the method costs
no more than that.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import study  # noqa: E402
from forget_lib.datasets.samples import Samples, normalise  # noqa: E402
from forget_lib.training import Meter  # noqa: E402
from forget_lib.unlearning import list_methods, unlearn, why_not_applicable  # noqa: E402

REPEATS = 7


class Recorder(Meter):
    """Keeps [samples, backward pass done] of each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.record: list[list] = []

    def attach(self, model: nn.Module) -> nn.Module:
        def after(_module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            entry = [len(inputs[0]), False]
            self.record.append(entry)
            if output.requires_grad:
                output.register_hook(lambda _gradient: entry.__setitem__(1, True))

        model.register_forward_hook(after)
        return model


def replay(model: nn.Module, samples: Samples, record: list[list]) -> float:
    """CPU seconds of the bare loop."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-6, 0.9, weight_decay=5e-4)
    order, start = torch.randperm(len(samples)).repeat(2), 0
    begun = time.process_time()
    for size, backward in record:
        part = order[start % len(samples) :][:size]
        start += size
        images, labels = normalise(samples.images[part]), samples.labels[part]
        with torch.set_grad_enabled(backward):
            logits = model(images)
        if backward:
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
    return time.process_time() - begun


def main() -> None:
    """Prints one line a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--request", default="class:5")
    options = vars(parser.parse_args())
    recipe = {"epochs": 2, "batch_size": 64, "learning_rate": 0.02}
    scenario = study.make_scenario(REPOSITORY / "results" / "benchmark", recipe, (), start="sample", **options)
    original = study.original(scenario)
    print(f"{'method':24} {'passes':>8} {'method s':>9} {'bare s':>8} {'ratio':>6}")
    for name in list_methods():
        if name == "do_nothing" or why_not_applicable(name, original, study.make_task(scenario)):
            continue
        own, bare = [], []
        for _ in range(REPEATS):
            task, recorder = study.make_task(scenario), Recorder()
            # A second run, because to record is not free.
            unlearn(name, original, dataclasses.replace(task, meter=recorder))
            task = study.make_task(scenario)
            begun = time.process_time()
            unlearn(name, original, task)
            own.append(time.process_time() - begun)
            net = scenario.new_model(0).train()
            bare.append(replay(net, scenario.samples["trained"], recorder.record))
        ratio = min(own) / min(bare)
        print(f"{name:24} {task.meter.passes:8} {min(own):9.3f} {min(bare):8.3f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
