"""The first panel: one face, three answers, a button that makes a model forget it, and what a closer look finds."""

import asyncio
import copy
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.demo import hidden, live, parts
from forget_lib.demo.live import REPORT_SECONDS, Cancelled, LiveMeter, LiveResult, live_methods
from forget_lib.demo.parts import html
from forget_lib.demo.studies import Bench, by_person, first_image, live_choices, names_image, probabilities
from forget_lib.models.train import accuracy
from forget_lib.study.run import load_model
from forget_lib.study.scenario import Scenario

MOST_LOOKED_AT = 120
"""Images of each set on which the moving accuracies are measured."""
OTHERS, SIZE = 10, 400
ROLES = ("original", "unlearned", "retrain")
TITLES = ("The original", "After forgetting", "Never seen (retrained)")
COLOURS = (parts.ORIGINAL, parts.UNLEARNED, parts.RETRAINED)
WAITING = ("", "Press the button on the picture.", "is trained in the background …")


class Opening(parts.Panel):
    """Runs one method at a time in a thread. `models` holds what there is of original, unlearned and retrained."""

    def __init__(self, done: Callable[[LiveResult], None]) -> None:
        """done: called with each result."""
        super().__init__()
        self._done = done
        self._stop, self._stop_training = threading.Event(), threading.Event()
        self._quiet = False
        self.models: dict[str, nn.Module] = {}
        self._retrained: dict[tuple[int, str], nn.Module] = {}
        self._accuracies: dict[str, list[float]] = {}
        self.place = 0
        self._order: list[tuple[Tensor, int]] = []
        self.what, self.method = parts.dropdown("Forget"), parts.dropdown("Method")
        self.start = parts.button("Forget now", "Run the method on a copy of the original model", "primary")
        self.cancel = parts.button("Cancel", "Stop at the next step")
        self.other = parts.button("Another picture", "Show the next picture of what is to be forgotten")
        self.check = parts.button("Did it only hide it?", "Relearning, a probe and the share left", "primary")
        self.bar = ipywidgets.FloatProgress(description="Progress", min=0, max=1, **parts.WIDE)
        self.picture, self.closer = ipywidgets.HTML(), ipywidgets.HTML()
        self.choices = parts.PictureChoice(OTHERS, self.choose)
        self.start.on_click(lambda _button: self.begin())
        self.cancel.on_click(lambda _button: self.stop())
        self.other.on_click(lambda _button: self.next_picture())
        self.check.on_click(lambda _button: self.in_background(self.look_closer()))
        parts.follow(self.turn_to, self.what)
        face = ipywidgets.VBox([self.picture, self.start])
        face.add_class("fd-face")
        controls = parts.wrapping(self.what, self.method, self.other, self.cancel)
        left = ipywidgets.VBox([face, self.choices.widget])
        right = ipywidgets.VBox([self.result, controls, self.bar, self.status, self.check, self.closer])
        columns = parts.wrapping(left, right)
        columns.add_class("fd-columns")
        self.widget.children = [columns]
        self._busy(False)

    @parts.guarded
    def show(self, bench: Bench) -> None:
        self._stop.set()
        super().show(bench)
        self._quiet = True
        options = live_choices(bench)
        parts.set_options(self.what, options, _recorded(bench, options))
        parts.set_options(self.method, live_methods(bench), parts.PREFERRED)
        self._quiet = False
        self.start.disabled = not options
        self.turn_to()
        if not options:
            self.say("No original model is recorded for class, person or family requests here.")

    @parts.guarded
    def turn_to(self) -> None:
        """Another person or class is to be forgotten."""
        if self._quiet:
            return
        self._stop_training.set()
        self.place, self.bar.value, self.closer.value = 0, 0, ""
        self.models, self._accuracies, self.check.disabled = {}, {}, True
        if self.what.value is None:
            self.result.value = self.picture.value = ""
            self.choices.put([])
            return
        self.scenario: Scenario = self.bench.scenario.asking(self.what.value)
        self.models["original"] = load_model(self.scenario, "original")
        self._order = surest_first(self.models["original"], _some(self.scenario.samples["forget"]))
        if torch.equal(self.scenario.sets.retain, self.bench.scenario.sets.retain):
            self.models["retrain"] = self.bench.model("retrain")
        elif self._key in self._retrained:
            self.models["retrain"] = self._retrained[self._key]
        self._offer_others()
        self.draw()
        self.say("Ready.")
        if "retrain" not in self.models:
            self.in_background(self.train_the_retrained())

    @property
    def _key(self) -> tuple[int, str]:
        return id(self.bench), str(self.what.value)

    @property
    def who(self) -> str:
        """What is to be forgotten, in words."""
        return str(self.what.label)

    @property
    def of_person(self) -> bool:
        return by_person(self.bench.data) or self.scenario.parsed.kind == "person"

    def _offer_others(self) -> None:
        """A picture of the chosen one and of those that follow it in the list."""
        options = list(self.what.options)
        at = self.what.index
        self._offered = [options[(at + step) % len(options)] for step in range(min(OTHERS, len(options)))]
        data = self.bench.data
        self.choices.put([(first_image(data, request), words, f"Choose {words}") for words, request in self._offered])
        self.choices.mark(0)

    def choose(self, place: int) -> None:
        if not self.what.disabled:
            self.what.value = self._offered[place][1]

    def next_picture(self) -> None:
        self.place += 1
        self.draw()
        self.say(f"Picture {self.place % len(self._order) + 1} of {len(self._order)}.")

    @property
    def _shown(self) -> tuple[Tensor, int]:
        """The picture, uint8 [C, H, W], and its label."""
        return self._order[self.place % len(self._order)]

    @parts.guarded
    def draw(self, words: str = "") -> None:
        """Shows picture and answers as they are now. words: how far the training of the retrained model is."""
        image, label = self._shown
        data, name = self.bench.data, self.bench.words[label]
        of_whom = f"{self.who}: a picture to be forgotten"
        rendered = "A rendered person: nobody real is shown." if data.synthetic and self.of_person else data.label
        self.picture.value = html.picture(image, of_whom, SIZE, f"{self.who}. {rendered}")
        self.start.description = "Forget this person now" if self.of_person else f"Forget {self.who} now"
        rows: list[tuple[str, str, float | None, str]] = []
        shares: dict[str, list[float | None]] = {"Pictures to be forgotten": [], "Test pictures of what is kept": []}
        measured: list[float | None]
        for role, title, colour, waiting in zip(ROLES, TITLES, COLOURS, WAITING, strict=True):
            model = self.models.get(role)
            if model is None:
                text = words if role == "retrain" and words else waiting
                rows.append((title, colour, None, text))
                measured = [None, None]
            else:
                answer = probabilities(model, image[None])[0]
                best = int(answer.argmax())
                text = (
                    f"says “{name}”"
                    if best == label
                    else f"says “{self.bench.words[best]}”, {parts.percent(float(answer[best]))}"
                )
                rows.append((title, colour, float(answer[label]), text))
                measured = [*self._measured(role, model)]
            for column, value in zip(shares.values(), measured, strict=True):
                column.append(value)
        table = html.bars(shares, list(TITLES), list(COLOURS), "Recognised, of each set", keyed=False)
        self.result.value = html.answers(name, rows) + table

    def _measured(self, role: str, model: nn.Module) -> list[float]:
        """Accuracy on some images to be forgotten and on some test images of what is kept."""
        if role not in self._accuracies:
            sets = self.scenario.samples["forget"], self.scenario.test_kept
            self._accuracies[role] = [accuracy(model, _some(each)) for each in sets]
        return self._accuracies[role]

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
        self._stop_training.set()
        self._stop = stop
        self.closer.value = ""
        self.models.pop("unlearned", None)
        self._busy(True)
        self.say("Starting …")
        copied = copy.deepcopy(self.models["original"])

        def tick(meter: LiveMeter) -> None:
            self.bar.value = meter.share
            self.say(meter.words)
            if meter.weights.keys() == copied.state_dict().keys():
                copied.load_state_dict(meter.weights)
                self._show_as("unlearned", copied)

        try:
            result = await self._watched(bench, self.method.value, stop, tick)
            if bench is self.bench:
                self._finish(result)
        except Cancelled:
            self.bar.value = 0
            self.models.pop("unlearned", None)
            self.draw()
            self.say("Cancelled; nothing was changed. You can start again.")
        except Exception as error:
            self.complain(error)
        finally:
            stop.set()
            self._busy(False)
        if bench is self.bench and "retrain" not in self.models:
            self.in_background(self.train_the_retrained())

    async def _watched(
        self, bench: Bench, method: str, stop: threading.Event, tick: Callable[[LiveMeter], Any]
    ) -> LiveResult:
        """Runs a method in a thread and calls `tick` with its meter some times a second."""
        meters: list[LiveMeter] = []
        asked = (bench, self.what.value, method, stop, meters.append)
        work = asyncio.ensure_future(asyncio.to_thread(live.forget_live, *asked))
        while not (await asyncio.wait([work], timeout=REPORT_SECONDS))[0]:
            if meters and not stop.is_set():
                tick(meters[0])
        return work.result()

    def _show_as(self, role: str, model: nn.Module) -> None:
        self.models[role] = model.eval()
        self._accuracies.pop(role, None)
        self.draw()

    async def train_the_retrained(self) -> None:
        """Trains a model without what is to be forgotten, in the background, until something else is asked for."""
        bench, stop, key = self.bench, threading.Event(), self._key
        self._stop_training = stop
        try:
            result = await self._watched(
                bench, "retrain", stop, lambda meter: self.draw(f"is being trained: {meter.words}")
            )
        except Cancelled:
            return
        except ForgetError as error:
            self.draw(f"cannot be trained: {error}")
            return
        finally:
            stop.set()
        self._retrained[key] = result.model
        if key == self._key:
            self._show_as("retrain", result.model)
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        for control in (self.what, self.method, self.start):
            control.disabled = busy
        self.cancel.disabled = not busy
        self.check.disabled = busy or len(self.models) < len(ROLES)

    def _finish(self, result: LiveResult) -> None:
        self.bar.value = 1
        self._show_as("unlearned", result.model)
        self._done(result)
        still, kept = (parts.percent(result.after[part]) for part in ("forget", "test"))
        words = (
            f"Done in {result.seconds:.1f} s: {still} of the pictures are still recognised, and {kept} of what is kept."
        )
        if "retrain" in self.models:
            never = parts.percent(self._measured("retrain", self.models["retrain"])[0])
            words += f" A model that never saw them recognises {never} of them."
        self.say(words)

    async def look_closer(self) -> None:
        """Runs the checks of `hidden` in a thread and shows a lamp for each."""
        models = {title: self.models[role] for role, title in zip(ROLES, TITLES, strict=True)}
        scenario, key = self.scenario, self._key
        self._busy(True)
        self.say("Looking closer …")
        try:
            lamp, curves = await asyncio.to_thread(hidden.relearning, scenario, models)
            others = [await asyncio.to_thread(look, scenario, models) for look in (hidden.probing, hidden.share_left)]
            lamps = [lamp, *others]
            if key == self._key:
                self.closer.value = html.lamps(lamps, hidden.STATES) + html.steps(curves, COLOURS)
                self.say(
                    "Looked closer: " + "; ".join(f"{each.title}: {hidden.STATES[each.state]}" for each in lamps) + "."
                )
        except Exception as error:
            self.complain(error)
        finally:
            self._busy(False)


def _recorded(bench: Bench, options: list[tuple[str, str]]) -> str | None:
    """The request among the choices that the recorded retrained model belongs to."""
    sets, data = bench.scenario.sets, bench.data
    named = [request for _, request in options if names_image(data, request, int(sets.forget[0]))]
    wanted = (request for request in named if torch.equal(bench.scenario.asking(request).sets.retain, sets.retain))
    return next(wanted, None)


def surest_first(model: nn.Module, samples: Samples) -> list[tuple[Tensor, int]]:
    """Images, uint8 [C, H, W], with their labels, that of which the model is surest first."""
    labels = samples.labels.cpu()
    sure = probabilities(model, samples.images)[torch.arange(len(labels)), labels]
    order = sure.argsort(descending=True, stable=True).tolist()
    return [(samples.images[index].cpu(), int(labels[index])) for index in order]


def _some(samples: Samples) -> Samples:
    """At most `MOST_LOOKED_AT` of them, evenly spread."""
    number = min(MOST_LOOKED_AT, len(samples))
    return samples.subset(torch.linspace(0, len(samples) - 1, number).round().long().to(samples.labels.device))
