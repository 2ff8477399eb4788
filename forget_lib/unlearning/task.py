"""What a method of unlearning gets, and all that it gets: the task, and settings of the types here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.requests import Request
from forget_lib.datasets.samples import Samples
from forget_lib.models.log import TrainingLog
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import Meter

# A method's signature says what may be given, and the registry checks it once.
Positive = Annotated[float, Gt(0)]
Rate = Annotated[float, Gt(0)]
Factor = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]
Weight = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]
CountOrNone = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class UnlearningTask:
    """The request, the data and the means. Unseen, population and test data and the retrained model are not among them.

    Attributes: forget, retain, validation: samples on the device; batches come in an order drawn from `generator`.
        fresh_model: an untrained model of the same architecture from a seed. recipe: how the original was trained.
        classes: those requested, empty for other requests. seed, generator: the method's own randomness. training_log:
        recorded batch updates of the original's training. memorisation: float [len(forget)], higher is more memorised.
        meter: counts sample passes. on_epoch: called with (epoch, model), epoch 0 being before the first. facts: what a
        method says of this run beside its model, such as `task.facts["epsilon"] = 1.0`: plain numbers, truth values and
        texts, which its record keeps under "facts" and the table of records in columns `fact_epsilon`.
    """

    request: Request
    forget: Samples
    retain: Samples
    validation: Samples
    number_of_classes: int
    fresh_model: Callable[[int], nn.Module]
    recipe: Recipe = field(default_factory=Recipe)
    classes: tuple[int, ...] = ()
    seed: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    training_log: TrainingLog | None = None
    memorisation: Tensor | None = None
    meter: Meter = field(default_factory=Meter)
    on_epoch: Callable[[int, nn.Module], None] | None = None
    facts: dict[str, float | bool | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("forget", "retain"):
            if len(getattr(self, name)) == 0:
                raise ForgetError(f"The {name} set is empty: ask to forget some, and not all, of the training set.")

    def epoch_done(self, epoch: int, model: nn.Module) -> None:
        """Tells the runner that `epoch` epochs of unlearning are done."""
        if self.on_epoch is not None:
            with self.meter.paused():
                self.on_epoch(epoch, model)
