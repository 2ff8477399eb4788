"""The gallery: twelve random images, what three models say of the one picked, and the forgetting epoch by epoch."""

import asyncio
import random
import threading
from typing import NamedTuple

import ipywidgets
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.demo import parts
from forget_lib.demo.images import data_url
from forget_lib.demo.live import Cancelled, Replay, replay
from forget_lib.demo.parts import html
from forget_lib.demo.studies import Bench, probabilities
from forget_lib.show.figures import colour_of

CHOICES = 12
PARTS = {"forget": "to be forgotten", "retain": "kept in training", "unseen": "never trained on", "test": "test set"}


class Choice(NamedTuple):
    """One image of the gallery: uint8 [C, H, W], its label, and the set it is from."""

    image: Tensor
    label: int
    part: str


def draw_choices(bench: Bench, part: str, chance: random.Random) -> list[Choice]:
    """Twelve random images without repetition, or fewer; "mixed" takes four from forget, retain and test."""
    sets = ["forget", "retain", "test"] if part == "mixed" else [part]
    found = []
    for name in sets:
        samples = bench.samples(name)
        chosen = chance.sample(range(len(samples)), min(CHOICES // len(sets), len(samples)))
        found += [Choice(samples.images[index].cpu(), int(samples.labels[index]), name) for index in chosen]
    chance.shuffle(found)
    return found


class Gallery(parts.ImagePanel):
    """Pick an image; `choices` are those shown, `picked` the one chosen, `epochs` the replay once it is there."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.choices: list[Choice] = []
        self.picked: Choice | None = None
        self.epochs: Replay | None = None
        self._stop = threading.Event()
        self.part = parts.dropdown("Images", [("mixed", "mixed"), *((title, name) for name, title in PARTS.items())])
        self.again = parts.button("New choices", "Draw twelve other images")
        self.buttons = [ipywidgets.Button() for _ in range(CHOICES)]
        self.pictures = ipywidgets.HTML(layout={"display": "none"})
        self.slider = ipywidgets.IntSlider(description="Epoch of Uniform KL", min=0, max=1, disabled=True, **parts.WIDE)
        self.film = ipywidgets.HTML()
        grid = ipywidgets.Box(self.buttons)
        grid.add_class("fd-choices")
        right = ipywidgets.VBox([self.result], layout={"flex": "1 1 320px"})
        controls = parts.wrapping(self.method, self.part, self.again)
        film = ipywidgets.VBox([self.slider, self.film])
        self.widget.children = [controls, self.status, self.pictures, parts.wrapping(grid, right), film]
        for place, each in enumerate(self.buttons):
            each.add_class("fd-choice")
            each.on_click(lambda _button, place=place: self.pick(place))
        self.again.on_click(lambda _button: self.draw())
        parts.follow(self.draw, self.part)
        parts.follow(self.show_result, self.method)
        parts.follow(self.show_epoch, self.slider)

    @parts.guarded
    def show(self, bench: Bench) -> None:
        self._stop.set()
        self.epochs, self.slider.disabled, self.film.value = None, True, ""
        super().show(bench)
        self.draw()
        self._stop = threading.Event()
        self.in_background(self.make_replay())

    @parts.guarded
    def draw(self) -> None:
        self.choices = draw_choices(self.bench, self.part.value, self.chance)
        classes, rules = self.bench.data.classes, ""
        for place, each in enumerate(self.buttons):
            each.layout.display = "" if place < len(self.choices) else "none"
        for place, (each, (image, label, part)) in enumerate(zip(self.buttons, self.choices, strict=False), 1):
            each.description = f"{place}: {classes[label]}"
            each.tooltip = f"Image {place}, labelled {classes[label]}, {PARTS[part]}"
            rules += f".fd-choices .fd-choice:nth-child({place}) {{background-image:url({data_url(image)})}}"
        self.pictures.value = f"<style>{rules}</style>"
        self.say(f"{len(self.choices)} images of {self.bench.data.label}. Pick one.")
        if self.choices:
            self.pick(0)

    @parts.guarded
    def pick(self, place: int) -> None:
        self.picked = self.choices[place]
        for index, each in enumerate(self.buttons):
            (each.add_class if index == place else each.remove_class)("fd-picked")
        self.show_result()
        self.show_epoch()
        label = self.bench.data.classes[self.picked.label]
        self.say(f"Image {place + 1} of {len(self.choices)}: labelled {label}, {PARTS[self.picked.part]}.")

    @parts.guarded
    def show_result(self) -> None:
        if self.picked is None or self.method.value is None:
            return
        text = f"Labelled {self.bench.data.classes[self.picked.label]}, {PARTS[self.picked.part]}"
        self.result.value = html.picture(self.picked.image, text, caption=text) + self.bars(self.picked.image)

    async def make_replay(self) -> None:
        """Runs uniform KL once more in a thread, keeping each epoch; the slider then works."""
        stop = self._stop
        self.film.value = html.note("Uniform KL is run once more to show its epochs …")
        try:
            epochs = await asyncio.to_thread(replay, self.bench, stop)
        except Cancelled:
            return
        except ForgetError as error:
            self.film.value = html.note(f"No replay: {error}")
            return
        if not stop.is_set():
            self.epochs, self.slider.max, self.slider.disabled = epochs, max(1, len(epochs.states) - 1), False
            self.show_epoch()

    @parts.guarded
    def show_epoch(self) -> None:
        if self.epochs is None or self.picked is None:
            return
        epoch, image, last = self.slider.value, self.picked.image[None], len(self.epochs.states) - 1
        title = f"After epoch {epoch}" if epoch else "Original (epoch 0)"
        models = {title: self.epochs.model(epoch), "Retrained": self.bench.model("retrain")}
        answers = {name: probabilities(model, image)[0] for name, model in models.items()}
        colours = [colour_of("unlearned" if epoch else "original"), colour_of("retrain")]
        words = html.epoch(epoch, last, epoch == self.epochs.recorded, **self.epochs.accuracies[epoch])
        self.film.value = words + parts.probability_bars(answers, self.bench.data.classes, colours)
