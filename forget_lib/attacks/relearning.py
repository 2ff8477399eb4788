"""Relearning: how soon does a model know the forgotten samples again? It must not be sooner than a retrained one."""

import copy
from collections.abc import Iterator
from itertools import islice

import torch
from torch import nn
from torch.nn import functional

from forget_lib.attacks import WeightsInput, attack, source
from forget_lib.datasets.samples import Samples
from forget_lib.models.optimizers import SGD, clear_gradients, trainable
from forget_lib.models.train import accuracy, train_mode
from forget_lib.statistics.measurement import Measurement

SHARE = 0.1
"""The model counts as having relearned at (1 - SHARE) of the original's forget accuracy."""
GRID = (*range(11), 12, 15, 20, 25, 30, 40, 50, 60)
"""Mini-batches after which the curve is looked at."""
LIMIT = (80, 100, 120, 160, 200, 240)
"""Mini-batches beyond it, where the accuracy is not back yet; at the last a count is censored."""


def relearned(
    model: nn.Module, forget: Samples, learning_rate: float, batch_size: int = 64, seed: int = 0
) -> Iterator[nn.Module]:
    """A copy of the model as it is, then after each mini-batch of plain SGD on the forget set, without end.

    It is one net that goes on learning: look at it before asking for the next. The model itself is not changed, and the
    order of batches depends on the seed alone. Models that vote learn each by itself, at the pace of a single one: of
    the loss of all together each would get a share of the gradient.
    """
    student = copy.deepcopy(model)
    members = getattr(student, "members", None)
    votes = isinstance(members, nn.ModuleList) and hasattr(student, "vote")
    nets = list(members or ()) if votes else [student]
    generator = torch.Generator().manual_seed(seed)
    batches = Samples(forget.images, forget.labels, batch_size=batch_size, generator=generator).forever()
    optimizer = SGD(trainable(student), learning_rate)
    while True:
        yield student
        images, labels = next(batches)
        train_mode(student)
        clear_gradients(optimizer)
        for net in nets:
            functional.cross_entropy(net(images), labels).backward()
        optimizer.step()


def relearning_curve(inputs: WeightsInput, grid: tuple[int, ...] = GRID) -> dict[int, float]:
    """Accuracy on the forget set, in [0, 1], after each number of mini-batches of SGD on it; `grid` rises from 0.

    Ideal: the retrained model's curve. The order of batches depends on the seed alone. Weakness: coarse, and ruled by
    the rate: choose one at which the retrained model needs 20 batches or more.
    """
    students = relearned(inputs.model, inputs.forget, inputs.learning_rate, inputs.batch_size, inputs.seed)
    seen = enumerate(islice(students, grid[-1] + 1))
    return {step: accuracy(student, inputs.forget) for step, student in seen if step in grid}


def relearning_steps(inputs: WeightsInput) -> tuple[int, bool, dict[int, float]]:
    """Mini-batches until 90 % of the original's forget accuracy is back; whether that is censored, at the last of
    `LIMIT`; and the curve of `relearning_curve`."""
    wanted, reached, curve = (1 - SHARE) * inputs.original_accuracy, None, {}
    students = relearned(inputs.model, inputs.forget, inputs.learning_rate, inputs.batch_size, inputs.seed)
    for step, student in enumerate(islice(students, LIMIT[-1] + 1)):
        if step not in GRID + LIMIT:
            continue
        value = accuracy(student, inputs.forget)
        if step <= GRID[-1]:
            curve[step] = value
        if reached is None and value >= wanted:
            reached = step
        if reached is not None and step >= GRID[-1]:
            break
    return LIMIT[-1] if reached is None else reached, reached is None, curve


@attack("relearning", title="Relearning", null="second retrain", needs="weights", kind="table", version=2)
@source("Chundawat et al., IEEE TIFS 2023", arxiv="2201.05629")
def relearning(inputs: WeightsInput) -> list[Measurement]:
    """Train on the forget set again and count mini-batches until 90 % of the original's forget accuracy is back.

    Far fewer than a model retrained for as long needs: the knowledge was only hidden. Far more: over-forgotten. A count
    at the limit (`relearning_cut` is 1) is a lower bound. `relearned_accuracy` holds the curve, a mini-batch count an
    item.
    """
    steps, cut, curve = relearning_steps(inputs)
    samples = len(inputs.forget)
    return [
        Measurement("relearning_steps", float(steps), unit="batches", n=samples),
        Measurement("relearning_cut", float(cut), unit="", n=samples),
        *(Measurement("relearned_accuracy", value, n=samples, item=str(step)) for step, value in curve.items()),
    ]
