"""Forget live: choose what and how, watch it happen, stop it if you like, see what it did."""

import asyncio
import copy
import dataclasses
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets
from torch import Tensor, nn

from forget_lib.demo import parts
from forget_lib.demo.parts import html
from forget_lib.demo.studies import Bench, live_choices, probabilities
from forget_lib.models.train import Meter, accuracy
from forget_lib.study.chosen import with_chosen
from forget_lib.study.run import load_model, make_task
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, list_methods, unlearn
from forget_lib.unlearning.registry import why_not_applicable

REPORT_SECONDS = 0.2
REPLAY_EPOCHS = 5
"""A replay goes on to this epoch, for tuned settings often stop after the first, where there is not much to see."""
SHOWN = 6
NAMES = {"forget": "to be forgotten", "retain": "kept", "test": "test set of what is kept"}


class Cancelled(Exception):
    """Someone asked to stop."""


class LiveMeter(Meter):
    """A meter that knows how far a method is, and ends it at the next step once `stop` is set.

    expected: sample passes of the whole, an estimate that each epoch corrects.
    """

    def __init__(self, stop: threading.Event, expected: float = math.inf) -> None:
        super().__init__()
        self.stop, self.expected = stop, expected

    def attach(self, model: nn.Module) -> nn.Module:
        super().attach(model)
        model.register_forward_hook(lambda *_: self.check())
        return model

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
        return f"{share:.0%} done, {spent:.0f} s{left}"


@dataclass(frozen=True)
class LiveResult:
    """What a live forgetting gave.

    title: under which the model is listed. original, model: before and after. before, after: accuracy by name of set:
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
    title = f"Live: {get_method(method).title}, {request}"
    return LiveResult(title, scenario, original, model, sizes, before, after, seconds)


@dataclass
class Replay:
    """A model epoch by epoch as it forgets; epoch 0 is the original.

    recorded: the epoch at which the study stopped. states: weights by epoch, on the CPU. accuracies: of forget and
    validation set, by epoch.
    """

    template: nn.Module
    recorded: int
    states: list[dict[str, Tensor]] = dataclasses.field(default_factory=list)
    accuracies: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def model(self, epoch: int) -> nn.Module:
        """The model after `epoch` epochs; the same object each time, with other weights."""
        self.template.load_state_dict(self.states[epoch])
        return self.template.eval()


def replay(bench: Bench, stop: threading.Event) -> Replay:
    """Runs uniform KL again from the original as it was recorded, or on to `REPLAY_EPOCHS`, keeping all weights.

    Raises: Cancelled; ForgetError if the method does not apply.
    """
    scenario, original = bench.scenario, bench.model("original")
    recorded = bench.entry.methods.get(parts.PREFERRED) or with_chosen(parts.PREFERRED, {}, *scenario.tuned_for)
    settings = get_method(parts.PREFERRED).settings | dict(recorded)
    found = Replay(copy.deepcopy(original), int(settings["epochs"]))

    def on_epoch(_epoch: int, model: nn.Module) -> None:
        found.states.append({name: value.detach().cpu().clone() for name, value in model.state_dict().items()})
        found.accuracies.append({part: accuracy(model, scenario.samples[part]) for part in ("forget", "validation")})

    task = dataclasses.replace(make_task(scenario, 0, on_epoch, parts.PREFERRED), meter=LiveMeter(stop))
    unlearn(parts.PREFERRED, original, task, **settings | {"epochs": max(found.recorded, REPLAY_EPOCHS)})
    return found


class LivePanel(parts.Panel):
    """Runs one method at a time in a thread."""

    def __init__(self, picked: Callable[[], Tensor | None], done: Callable[[LiveResult], None]) -> None:
        """picked: gives the image chosen in the gallery, uint8 [C, H, W]. done: called with each result."""
        super().__init__()
        self._picked, self._done = picked, done
        self._stop = threading.Event()
        self._meter: LiveMeter | None = None
        self.what, self.method = parts.dropdown("Forget"), parts.dropdown("Method")
        self.start = parts.button("Forget now", "Run the method on the original model", "primary")
        self.cancel = parts.button("Cancel", "Stop at the next step")
        self.cancel.disabled = True
        self.bar = ipywidgets.FloatProgress(description="Progress", min=0, max=1, **parts.WIDE)
        self.start.on_click(lambda _button: self.begin())
        self.cancel.on_click(lambda _button: self.stop())
        controls = parts.wrapping(self.what, self.method, self.start, self.cancel)
        self.widget.children = [ipywidgets.HTML(html.live_note()), controls, self.bar, self.status, self.result]

    @parts.guarded
    def show(self, bench: Bench) -> None:
        self._stop.set()
        super().show(bench)
        options = live_choices(bench)
        parts.set_options(self.what, options, bench.entry.request)
        parts.set_options(self.method, live_methods(bench), parts.PREFERRED)
        self.result.value, self.bar.value, self.start.disabled = "", 0, not options
        self.say("Ready." if options else "No original model is recorded for class, person or family requests here.")

    def begin(self) -> asyncio.Task | None:
        """Starts the chosen method in the background, unless one is running."""
        running = not self.cancel.disabled
        return None if running else self.in_background(self.run())

    def stop(self) -> None:
        self._stop.set()
        self.say("Stopping …")

    async def run(self) -> None:
        """Runs the chosen method to its end, or until it is stopped; the controls come back in any case."""
        bench, stop = self.bench, threading.Event()
        self._stop, self._meter = stop, None
        self._busy(True)
        self.say("Starting …")
        asked = (bench, self.what.value, self.method.value, stop, self._started)
        work = asyncio.ensure_future(asyncio.to_thread(forget_live, *asked))
        try:
            while not (await asyncio.wait([work], timeout=REPORT_SECONDS))[0]:
                if self._meter is not None and not stop.is_set():
                    self.bar.value = self._meter.share
                    self.say(self._meter.words)
            result = work.result()
            if bench is self.bench:
                self._finish(result)
        except Cancelled:
            self.bar.value = 0
            self.say("Cancelled; nothing was changed. You can start again.")
        except Exception as error:
            self.complain(error)
        finally:
            self._busy(False)

    def _started(self, meter: LiveMeter) -> None:
        self._meter = meter

    def _busy(self, busy: bool) -> None:
        for control in (self.what, self.method, self.start):
            control.disabled = busy
        self.cancel.disabled = not busy

    def _finish(self, result: LiveResult) -> None:
        self.bar.value = 1
        before, after = result.before, result.after
        groups = {f"{words} ({result.sizes[name]})": [before[name], after[name]] for name, words in NAMES.items()}
        caption = f"Accuracy before and after: {result.title.removeprefix('Live: ')}"
        bars = html.bars(groups, ["Before", "After"], [parts.ORIGINAL, parts.UNLEARNED], caption)
        self.result.value = bars + self._images(result)
        self._done(result)
        self.say(
            f"Done in {result.seconds:.1f} s: of the images to be forgotten {100 * after['forget']:.0f} % are still "
            f"recognised, of the test images of what is kept {100 * after['test']:.0f} %."
        )

    def _images(self, result: LiveResult) -> str:
        """Some images to be forgotten with the probability of their own label, and the image picked in the gallery."""
        forget, classes = result.scenario.samples["forget"], result.scenario.data.classes
        models = {"Before": result.original, "After": result.model}
        before, after = (probabilities(model, forget.images[:SHOWN]) for model in models.values())
        items = []
        for place, label in enumerate(forget.labels[:SHOWN].tolist()):
            change = f"{100 * before[place, label]:.0f} % → {100 * after[place, label]:.0f} %"
            items.append((forget.images[place], f"{classes[label]}: {change}"))
        alt = "An image to be forgotten; probability of its label, before and after: "
        found = html.note("Images to be forgotten, with the probability of their own label before and after:")
        found += html.pictures(items, alt, 84)
        picked = self._picked()
        if picked is not None and picked.shape == forget.images.shape[1:]:
            shares = {name: probabilities(model, picked[None])[0] for name, model in models.items()}
            found += html.note("The image picked in the gallery:") + html.picture(picked, "The picked image", 84)
            found += parts.probability_bars(shares, classes, [parts.ORIGINAL, parts.UNLEARNED])
        return found
