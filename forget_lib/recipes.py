"""How a model is trained: the recipe, its checks, and the learning rate at each step."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forget_lib.datasets.samples import AUGMENTATIONS
from forget_lib.errors import ForgetError, NotApplicableError, unknown

OPTIMIZERS = ("sgd", "adam", "muon")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("constant", "cosine", "triangular")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes: epochs (>= 1); batch_size (>= 1); learning_rate (> 0, the peak of the schedule); momentum in [0, 1);
        weight_decay (>= 0); label_smoothing in [0, 1); schedule: constant, cosine (to 0) or triangular (up in the first
        fifth, then down to 0), by step; augmentation: see `Samples`; optimizer: sgd (Nesterov), adam, or muon (see
        `Muon`). precision: of the convolutions and products in training, float32 or bfloat16 (twice as fast where the
        processor has it, slower where not); weights, normalisation, loss and evaluation stay float32.
        function: a training of the user's in place of the built-in one, `file.py:function`, called with (model,
        samples, recipe, seed). known: false where nobody knows how the model was trained; then nothing is retrained.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    schedule: str = "triangular"
    augmentation: str = "none"
    optimizer: str = "sgd"
    precision: str = "float32"
    function: str = ""
    known: bool = True

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("augmentation", self.augmentation, AUGMENTATIONS),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise unknown(kind, value, known)
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ForgetError(f"A recipe needs epochs >= 1, batch_size >= 1 and learning_rate > 0; got {self}.")


def make_recipe(settings: Mapping[str, Any] | None) -> Recipe:
    """A `Recipe` from the config's settings.

    Raises: UnknownNameError for a setting that does not exist; ForgetError for a value out of range.
    """
    known = [field.name for field in dataclasses.fields(Recipe)]
    for name in settings or {}:
        if name not in known:
            raise unknown("setting of a recipe", name, known)
    return Recipe(**(settings or {}))


def require_recipe(recipe: Recipe) -> None:
    """Raises NotApplicableError where nobody knows how the model was trained."""
    if not recipe.known:
        raise NotApplicableError(
            "needs the recipe of the original's training, which is not known; without it there is no retrained model, "
            "and what was forgotten cannot be compared with what never was known"
        )


def rate_at(recipe: Recipe, progress: float) -> float:
    """Learning rate at `progress` in [0, 1] of the training."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + float(np.cos(np.pi * progress)))
    return recipe.learning_rate * min(1.0, (progress + 0.01) / 0.2, (1 - progress) / 0.8)
