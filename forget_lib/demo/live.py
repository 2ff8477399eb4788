"""Forgetting live: a method on a copy of the original, which can be watched and stopped."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forget_lib.demo import parts
from forget_lib.demo.studies import Bench
from forget_lib.models.train import Meter, accuracy
from forget_lib.study.chosen import with_chosen
from forget_lib.study.run import load_model, make_task
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, list_methods, unlearn
from forget_lib.unlearning.registry import why_not_applicable

REPORT_SECONDS = 0.2


class Cancelled(Exception):
    """Someone asked to stop."""


class LiveMeter(Meter):
    """A meter that knows how far a method is, and ends it at the next step once `stop` is set.

    expected: sample passes of the whole, an estimate that each epoch corrects. weights: of the net that learns, copied
    some times a second.
    """

    def __init__(self, stop: threading.Event, expected: float = math.inf) -> None:
        super().__init__()
        self.stop, self.expected = stop, expected
        self.weights: dict[str, Tensor] = {}
        self._next = 0.0

    def attach(self, model: nn.Module) -> nn.Module:
        super().attach(model)
        model.register_forward_hook(lambda module, *_: self._passed(module))
        return model

    def _passed(self, module: nn.Module) -> None:
        self.check()
        now = time.monotonic()
        if torch.is_grad_enabled() and now >= self._next:
            self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
            self._next = now + REPORT_SECONDS

    def epoch_done(self, epoch: int, epochs: int) -> None:
        """After `epoch` of `epochs`, the whole is what was spent times epochs / epoch."""
        if 0 < epoch <= epochs:
            self.expected = max(1.0, self.passes * epochs / epoch)
        self.check()

    def check(self) -> None:
        """Raises: Cancelled if the stop was asked for."""
        if self.stop.is_set():
            raise Cancelled

    @property
    def share(self) -> float:
        """How much of the work is done, in [0, 1)."""
        return min(0.99, self.passes / self.expected)

    @property
    def words(self) -> str:
        """How far the method is, for the status line."""
        share, spent = self.share, self.wall_seconds
        left = f", about {spent / share * (1 - share):.0f} s left" if share > 0.02 else ""
        return f"{100 * share:.0f} % done, {spent:.0f} s{left}"


@dataclass(frozen=True)
class LiveResult:
    """What a live forgetting gave.

    title: of the method. original, model: before and after. before, after: accuracy by name of set:
    forget, retain and test, of which only classes that are kept; sizes: images of each. seconds: of the method alone.
    """

    title: str
    scenario: Scenario
    original: nn.Module
    model: nn.Module
    sizes: dict[str, int]
    before: dict[str, float]
    after: dict[str, float]
    seconds: float


def live_methods(bench: Bench) -> list[tuple[str, str]]:
    """(title, name) of the methods that can run on the bench's scenario; the recorded ones first, then the others."""
    task, model = make_task(bench.scenario), bench.model("original")
    fits = [name for name in list_methods(controls=False) if why_not_applicable(name, model, task) is None]
    first = [name for name in (parts.PREFERRED, *bench.entry.methods, *fits) if name in fits and name != "retrain"]
    return [(get_method(name).title, name) for name in dict.fromkeys([*first, "retrain"])]


def forget_live(
    bench: Bench, request: str, method: str, stop: threading.Event, started: Callable[[LiveMeter], None]
) -> LiveResult:
    """Runs a method on the recorded original, in memory only; made for a thread of its own.

    request: such as `class:3`. stop: set it to stop at the next step. started: called with the meter to look at.
    Raises: Cancelled; ForgetError and its kinds (unknown names, methods that do not apply, diverged weights).
    """
    scenario = bench.scenario.asking(request)
    original = load_model(scenario, "original")
    settings = get_method(method).settings | with_chosen(method, {}, *scenario.tuned_for)
    # Only epochs that a method has as a setting are known in number, and can correct the estimate.
    epochs = scenario.recipe.epochs if method == "retrain" else int(settings.get("epochs", 0))
    uses = "retain" if method == "retrain" else get_method(method).uses
    touched = sum(len(scenario.samples[part]) for part in ("forget", "retain") if part in uses)
    meter = LiveMeter(stop, max(1.0, 3.0 * max(1, epochs) * touched))
    started(meter)
    task = make_task(scenario, 0, lambda epoch, _model: meter.epoch_done(epoch, epochs), method)
    model = unlearn(method, original, dataclasses.replace(task, meter=meter), **settings)
    seconds = meter.wall_seconds
    meter.check()
    sets = {name: scenario.samples[name] for name in ("forget", "retain")} | {"test": scenario.test_kept}
    before, after = ({name: accuracy(each, part) for name, part in sets.items()} for each in (original, model))
    sizes = {name: len(part) for name, part in sets.items()}
    return LiveResult(get_method(method).title, scenario, original, model, sizes, before, after, seconds)
