"""Forgetting while someone watches: progress by sample passes, time left, and a stop at any step."""

import copy
import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import Samples
from forget_lib.demo.library import Bench, load_original, scenario_for
from forget_lib.models.train import Meter, accuracy
from forget_lib.study.chosen import with_chosen
from forget_lib.study.run import make_task
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, list_methods, unlearn
from forget_lib.unlearning.registry import why_not_applicable

REPORT_SECONDS = 0.2
REPLAY_EPOCHS = 5
"""A replay goes on to this epoch, for tuned settings often stop after the first, where there is not much to see."""


class Cancelled(Exception):
    """Someone asked to stop."""


@dataclass(frozen=True)
class Progress:
    """How far a method is: share in [0, 1] of the work, seconds spent and left (None while unknown)."""

    share: float
    spent: float
    left: float | None

    @property
    def text(self) -> str:
        """For the status line."""
        left = "" if self.left is None else f", about {max(0.0, self.left):.0f} s left"
        return f"{self.share:.0%} done, {self.spent:.0f} s{left}"


class LiveMeter(Meter):
    """A meter that reports after every step how far a method is, and stops it there when asked to.

    The whole is estimated in sample passes; each epoch that is done corrects the estimate.
    """

    def __init__(self, expected: float, stop: threading.Event, report: Callable[[Progress], None]) -> None:
        super().__init__()
        self.expected, self._stop, self._report = max(1.0, expected), stop, report
        self._reported = 0.0

    def attach(self, model: nn.Module) -> nn.Module:
        """Counts all later passes of `model`, and looks at each whether to stop."""
        super().attach(model)
        model.register_forward_hook(lambda *_: self.look())
        return model

    def epoch_done(self, epoch: int, epochs: int) -> None:
        """After `epoch` of `epochs`, the whole is what was spent times epochs / epoch."""
        if 0 < epoch <= epochs:
            self.expected = max(1.0, self.passes * epochs / epoch)
        self.look()

    def look(self) -> None:
        """Raises: Cancelled if the stop was asked for. Else reports, a few times a second."""
        if self._stop.is_set():
            raise Cancelled
        now = time.perf_counter()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            share, spent = min(0.99, self.passes / self.expected), self.wall_seconds
            self._report(Progress(share, spent, spent / share * (1 - share) if share > 0.02 else None))


@dataclass(frozen=True)
class LiveResult:
    """What a live forgetting gave.

    Attributes: request (text), method, settings. scenario: with the sets of that request. model: the unlearned one.
        before, after: accuracy by name of set. seconds: of the method alone.
    """

    request: str
    method: str
    settings: dict[str, Any]
    scenario: Scenario
    original: nn.Module
    model: nn.Module
    before: dict[str, float]
    after: dict[str, float]
    seconds: float

    @property
    def title(self) -> str:
        """The name under which the model is listed."""
        return f"Live: {get_method(self.method).title}, {self.request}"


def live_methods(bench: Bench) -> list[tuple[str, str]]:
    """(title, name) of the methods that can run on the bench's scenario; the recorded ones first, then the others."""
    task, model = make_task(bench.scenario), bench.model("original")
    fits = [
        name
        for name in list_methods(controls=False)
        if why_not_applicable(name, model, task) is None and name != "retrain"
    ]
    first = [name for name in ("uniform_kl", *bench.entry.methods) if name in fits]
    return [(get_method(name).title, name) for name in dict.fromkeys([*first, *fits, "retrain"])]


def forget_live(
    bench: Bench, request: str, method: str, stop: threading.Event, report: Callable[[Progress], None]
) -> LiveResult:
    """Runs a method on the recorded original, in memory only; made for a thread of its own.

    Args: request: such as `class:3`. stop: set it to stop at the next step. report: called from this thread.
    Raises: Cancelled; ForgetError and its kinds (unknown names, methods that do not apply, diverged weights).
    """
    report(Progress(0.0, 0.0, None))
    scenario = scenario_for(bench.entry, bench.scenario.root, request, bench.scenario.start, bench.scenario.device)
    start = load_original(scenario)
    chosen = with_chosen(method, {}, *scenario.tuned_for)
    settings = get_method(method).settings | chosen
    epochs = scenario.recipe.epochs if method == "retrain" else int(settings.get("epochs", 1))
    meter = LiveMeter(expected_passes(scenario, method, epochs), stop, report)
    # Only epochs that a method has as a setting are known in number, and can correct the estimate.
    counted = epochs if "epochs" in settings or method == "retrain" else 0

    def on_epoch(epoch: int, _model: nn.Module) -> None:
        meter.epoch_done(epoch, counted)

    task = dataclasses.replace(make_task(scenario, 0, on_epoch, method), meter=meter)
    model = unlearn(method, start, task, **settings)
    seconds = meter.wall_seconds
    if stop.is_set():
        raise Cancelled
    before, after = (
        {name: accuracy(each, part) for name, part in measured(scenario).items()} for each in (start, model)
    )
    return LiveResult(request, method, settings, scenario, start, model, before, after, seconds)


def measured(scenario: Scenario) -> dict[str, Samples]:
    """What a live result is measured on: forget, retain and test set; of the test set only the classes that are kept,
    where classes are to go."""
    return {name: scenario.samples[name] for name in ("forget", "retain")} | {"test": scenario.test_kept}


def expected_passes(scenario: Scenario, method: str, epochs: int) -> float:
    """A first guess of the sample passes of a method: `epochs` of training on what it uses."""
    sizes = {part: len(scenario.samples[part]) for part in ("forget", "retain")}
    uses = get_method(method).uses
    touched = sum(size for part, size in sizes.items() if part in uses or (method == "retrain" and part == "retain"))
    return 3.0 * epochs * max(1, touched)


@dataclass
class Replay:
    """The states of a model, epoch by epoch, as uniform KL forgets; epoch 0 is the original.

    Attributes: states: weights by epoch, on the CPU. accuracies: of forget and validation set, by epoch. recorded: the
        epoch at which the study stopped.
    """

    template: nn.Module
    states: list[dict[str, torch.Tensor]]
    accuracies: list[dict[str, float]]
    recorded: int

    def __len__(self) -> int:
        return len(self.states)

    def model(self, epoch: int) -> nn.Module:
        """The model after `epoch` epochs; the same object each time, with other weights.

        Raises: ForgetError for an epoch that was not recorded.
        """
        if not 0 <= epoch < len(self.states):
            raise ForgetError(f"Epoch {epoch} was not recorded; there are epochs 0 to {len(self.states) - 1}.")
        self.template.load_state_dict(self.states[epoch])
        return self.template.eval()


def replay(bench: Bench, method: str = "uniform_kl", stop: threading.Event | None = None) -> Replay:
    """Runs a method again from the original as it was recorded, and keeps the weights after each epoch.

    It goes on to `REPLAY_EPOCHS` where the study stopped earlier.
    Raises: Cancelled; ForgetError if the method does not apply.
    """
    stop = stop or threading.Event()
    scenario, start = bench.scenario, bench.model("original")
    states: list[dict[str, torch.Tensor]] = []
    accuracies: list[dict[str, float]] = []

    def on_epoch(_epoch: int, model: nn.Module) -> None:
        states.append({name: value.detach().cpu().clone() for name, value in model.state_dict().items()})
        accuracies.append({part: accuracy(model, scenario.samples[part]) for part in ("forget", "validation")})

    settings = bench.entry.methods.get(method) or with_chosen(method, {}, *scenario.tuned_for)
    settings = get_method(method).settings | settings
    recorded = int(settings["epochs"])
    meter = LiveMeter(float("inf"), stop, lambda _progress: None)
    task = dataclasses.replace(make_task(scenario, 0, on_epoch, method), meter=meter)
    unlearn(method, start, task, **settings | {"epochs": max(recorded, REPLAY_EPOCHS)})
    return Replay(copy.deepcopy(start), states, accuracies, recorded)
