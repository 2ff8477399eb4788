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
"""Mini-batches after which it is looked; the last is the limit, at which a count is censored."""


def relearned(
    model: nn.Module, forget: Samples, learning_rate: float, batch_size: int = 64, seed: int = 0
) -> Iterator[nn.Module]:
    """A copy of the model as it is, then after each mini-batch of plain SGD on the forget set, without end.

    It is one net that goes on learning: look at it before asking for the next. The model itself is not changed, and the
    order of batches depends on the seed alone.
    """
    student = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    batches = Samples(forget.images, forget.labels, batch_size=batch_size, generator=generator).forever()
    optimizer = SGD(trainable(student), learning_rate)
    while True:
        yield student
        images, labels = next(batches)
        train_mode(student)
        clear_gradients(optimizer)
        functional.cross_entropy(student(images), labels).backward()
        optimizer.step()


def relearning_curve(inputs: WeightsInput, grid: tuple[int, ...] = GRID) -> dict[int, float]:
    """Accuracy on the forget set, in [0, 1], after each number of mini-batches of SGD on it; `grid` rises from 0.

    Ideal: the retrained model's curve. The order of batches depends on the seed alone. Weakness: coarse, and ruled by
    the rate: choose one at which the retrained model needs 20 batches or more.
    """
    students = relearned(inputs.model, inputs.forget, inputs.learning_rate, inputs.batch_size, inputs.seed)
    seen = enumerate(islice(students, grid[-1] + 1))
    return {step: accuracy(student, inputs.forget) for step, student in seen if step in grid}


@attack("relearning", title="Relearning", null="second retrain", needs="weights", kind="table")
@source("Chundawat et al., IEEE TIFS 2023", arxiv="2201.05629")
def relearning(inputs: WeightsInput) -> list[Measurement]:
    """Train on the forget set again and count mini-batches until 90 % of the original's forget accuracy is back.

    Far fewer than a retrained model needs: the knowledge was only hidden. Far more: over-forgotten. A count at the
    limit (`relearning_cut` is 1) is a lower bound. `relearned_accuracy` holds the curve, a mini-batch count an item.
    """
    curve = relearning_curve(inputs)
    wanted = (1 - SHARE) * inputs.original_accuracy
    reached = [step for step, value in curve.items() if value >= wanted]
    steps, cut = (reached[0], 0.0) if reached else (max(curve), 1.0)
    samples = len(inputs.forget)
    return [
        Measurement("relearning_steps", float(steps), unit="batches", n=samples),
        Measurement("relearning_cut", cut, unit="", n=samples),
        *(Measurement("relearned_accuracy", value, n=samples, item=str(step)) for step, value in curve.items()),
    ]
