"""How a model is trained: the recipe, its checks, and the learning rate at each step."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from forget_lib.core.errors import ForgetError, NotApplicableError, meant, unknown
from forget_lib.core.names import AUGMENTATIONS, Augmentation

Optimizer = Literal["sgd", "adam", "muon"]
Precision = Literal["float32", "bfloat16"]
Schedule = Literal["constant", "cosine", "triangular"]
OPTIMIZERS, PRECISIONS, SCHEDULES = get_args(Optimizer), get_args(Precision), get_args(Schedule)
SHARE: dict[str, Any] = {"ge": 0, "lt": 1, "description": "a number from 0 to below 1"}


def _one_of(names: tuple[str, ...]) -> Any:
    return Field(description=f"one of {', '.join(names)}")


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class Recipe:
    """How a model is trained; each value is of the type and in the range that its field describes.

    Attributes: learning_rate: the peak of the schedule. schedule: constant, cosine (to 0) or triangular (up in the
        first fifth, then down to 0), by step; augmentation: see `Samples`; optimizer: sgd (Nesterov), adam, or muon
        (see `Muon`). precision: of the convolutions and products in training, float32 or bfloat16 (twice as fast where
        the processor has it, slower where not); weights, normalisation, loss and evaluation stay float32.
        function: a training of the user's in place of the built-in one, called with (model, samples, recipe, seed).
        known: false where nobody knows how the model was trained; then nothing is retrained.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000, description="a whole number from 1 to 100,000")] = 10
    batch_size: Annotated[int, Field(ge=1, le=1_000_000, description="a whole number from 1 to 1,000,000")] = 128
    learning_rate: Annotated[float, Field(gt=0, description="a number above 0")] = 0.1
    momentum: Annotated[float, Field(**SHARE)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="a number of at least 0")] = 5e-4
    label_smoothing: Annotated[float, Field(**SHARE)] = 0.0
    schedule: Annotated[Schedule, _one_of(SCHEDULES)] = "triangular"
    augmentation: Annotated[Augmentation, _one_of(AUGMENTATIONS)] = "none"
    optimizer: Annotated[Optimizer, _one_of(OPTIMIZERS)] = "sgd"
    precision: Annotated[Precision, _one_of(PRECISIONS)] = "float32"
    function: Annotated[str, Field(pattern="^(.+:.+)?$", description="file.py:function or module:function")] = ""
    known: Annotated[bool, Field(description="true or false")] = True


def recipe_faults(settings: Any) -> dict[str, str]:
    """What is wrong with the settings of a recipe: a sentence by name of the setting; empty if nothing is."""
    if not isinstance(settings, Mapping):
        return {"": f"The recipe is {settings!r}; expected settings such as epochs: 10."}
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    faults = {str(name): str(unknown("setting of a recipe", name, fields)) for name in settings if name not in fields}
    try:
        Recipe(**{name: value for name, value in settings.items() if name in fields})
    except ValidationError as error:
        for each in error.errors():
            name, value = str(each["loc"][0]), each["input"]
            expected = vars(Recipe)["__pydantic_fields__"][name].description
            faults[name] = f"{name} of the recipe is {value!r}{meant(value)}; expected {expected}."
    return faults


def make_recipe(settings: Mapping[str, Any] | None) -> Recipe:
    """A `Recipe` from the config's settings.

    Raises: ForgetError with every setting that does not exist, and every value of another type or out of range.
    """
    faults = recipe_faults(settings or {})
    if faults:
        raise ForgetError("\n".join(faults.values()))
    return Recipe(**(settings or {}))


def require_recipe(recipe: Recipe) -> None:
    """Raises: NotApplicableError where nobody knows how the model was trained."""
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
