"""Relearning: how soon does a model know the forgotten samples again? It must not be sooner than a retrained one."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from forget_lib.attacks.registry import attack
from forget_lib.datasets.samples import Samples
from forget_lib.errors import ForgetError
from forget_lib.results import Measurement
from forget_lib.training import accuracy

SHARE = 0.1
"""The model counts as having relearned at (1 - SHARE) of the original's forget accuracy."""
GRID = (*range(11), 12, 15, 20, 25, 30, 40, 50, 60)
"""Mini-batches after which it is looked; the last is the limit, at which a count is censored."""
PREFIX = "relearned_accuracy_after_"


@dataclass(frozen=True)
class WeightsInput:
    """A model that may be trained on, and what it is to learn again.

    model: not changed. forget: the forget set with the labels used in training. original_accuracy: of the original
    model on it, in [0, 1]. learning_rate: of plain SGD, the same for all models compared.
    """

    model: nn.Module
    forget: Samples
    original_accuracy: float
    learning_rate: float = 0.01
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.forget) < 2 or not 0 < self.original_accuracy <= 1 or self.learning_rate <= 0:
            raise ForgetError(
                f"Relearning needs at least 2 forget samples, an original accuracy in (0, 1] and a positive rate; got "
                f"{len(self.forget)}, {self.original_accuracy} and {self.learning_rate}."
            )


def relearning_curve(inputs: WeightsInput, grid: tuple[int, ...] = GRID) -> dict[int, float]:
    """Accuracy on the forget set, in [0, 1], after each number of mini-batches of SGD on it; `grid` rises from 0.

    Ideal: the retrained model's curve. The order of batches depends on the seed alone. Weakness: coarse, and ruled by
    the rate: choose one at which the retrained model needs 20 batches or more.
    """
    student = copy.deepcopy(inputs.model)
    generator = torch.Generator().manual_seed(inputs.seed)
    forget = Samples(inputs.forget.images, inputs.forget.labels, inputs.batch_size, generator)
    batches, optimizer = forget.forever(), torch.optim.SGD(student.parameters(), inputs.learning_rate)
    curve = {}
    for step in range(grid[-1] + 1):
        if step in grid:
            curve[step] = accuracy(student, forget)
        images, labels = next(batches)
        student.train()
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(student(images), labels).backward()
        optimizer.step()
    return curve


@attack(
    "relearning",
    title="Relearning",
    paper="Chundawat et al., IEEE TIFS 2023",
    null="second retrain",
    needs="weights",
)
def relearning(inputs: WeightsInput) -> list[Measurement]:
    """Train on the forget set again and count mini-batches until 90 % of the original's forget accuracy is back.

    Far fewer than a retrained model needs: the knowledge was only hidden. Far more: over-forgotten. A count at the
    limit (`relearning_cut` is 1) is a lower bound. `relearned_accuracy_after_<n>` holds the curve.
    """
    curve = relearning_curve(inputs)
    wanted = (1 - SHARE) * inputs.original_accuracy
    reached = [step for step, value in curve.items() if value >= wanted]
    steps, cut = (reached[0], 0.0) if reached else (max(curve), 1.0)
    samples = len(inputs.forget)
    return [
        Measurement("relearning_steps", float(steps), unit="batches", n=samples),
        Measurement("relearning_cut", cut, unit="", n=samples),
        *(Measurement(f"{PREFIX}{step}", value, n=samples) for step, value in curve.items()),
    ]
