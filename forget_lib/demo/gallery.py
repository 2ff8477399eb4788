"""The gallery: twelve random images, what three models say of the one picked, and the forgetting epoch by epoch."""

import asyncio
import random
import threading
from typing import NamedTuple

import ipywidgets
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.demo import markup
from forget_lib.demo.images import data_url
from forget_lib.demo.library import Bench, probabilities
from forget_lib.demo.live import Cancelled, Replay, replay
from forget_lib.demo.panel import PREFERRED, WIDE, Panel, bars_of, button, dropdown, guarded, set_options, wrapping

CHOICES = 12
PARTS = {
    "forget": "to be forgotten",
    "retain": "kept in training",
    "unseen": "never trained on",
    "test": "test set",
}


class Choice(NamedTuple):
    """One image of the gallery: uint8 [C, H, W], its label, and the set it is from."""

    image: Tensor
    label: int
    part: str


def draw_choices(bench: Bench, part: str, chance: random.Random) -> list[Choice]:
    """Twelve random images without repetition (fewer where there are fewer); "mixed" takes four from forget, retain
    and test."""
    parts = ["forget", "retain", "test"] if part == "mixed" else [part]
    found = []
    for name in parts:
        samples = bench.samples(name)
        count = min(CHOICES // len(parts), len(samples))
        chosen = chance.sample(range(len(samples)), count)
        found += [Choice(samples.images[index].cpu(), int(samples.labels[index]), name) for index in chosen]
    chance.shuffle(found)
    return found


class Gallery(Panel):
    """Pick an image; `choices` are those shown, `picked` the one chosen, `epochs` the replay once it is there."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.choices: list[Choice] = []
        self.picked: Choice | None = None
        self.epochs: Replay | None = None
        self._stop = threading.Event()
        self.method = dropdown("Unlearned by")
        self.part = dropdown("Images", [("mixed", "mixed"), *((title, name) for name, title in PARTS.items())])
        self.again = button("New choices", "Draw twelve other images")
        self.buttons = [ipywidgets.Button() for _ in range(CHOICES)]
        self.pictures = ipywidgets.HTML(layout={"display": "none"})
        self.grid = ipywidgets.Box(self.buttons)
        self.result = ipywidgets.HTML()
        self.slider = ipywidgets.IntSlider(
            description="Epoch of Uniform KL",
            min=0,
            max=1,
            disabled=True,
            style=WIDE,
            layout={"width": "100%", "max_width": "640px"},
        )
        self.film = ipywidgets.HTML()
        self._connect()

    def _connect(self) -> None:
        self.grid.add_class("fd-choices")
        for place, each in enumerate(self.buttons):
            each.add_class("fd-choice")
            each.on_click(lambda _button, place=place: self.pick(place))
        self.again.on_click(lambda _button: self.draw())
        self.part.observe(lambda _change: self.draw(), "value")
        self.method.observe(lambda _change: self.show_result(), "value")
        self.slider.observe(lambda _change: self.show_epoch(), "value")
        controls = wrapping(self.method, self.part, self.again)
        right = ipywidgets.VBox([self.result], layout={"flex": "1 1 320px"})
        film = ipywidgets.VBox([self.slider, self.film])
        self.widget.children = [controls, self.status, self.pictures, wrapping(self.grid, right), film]

    @guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        self.refresh()
        self.draw()
        self._stop.set()
        self._stop = threading.Event()
        self.epochs, self.slider.disabled, self.film.value = None, True, ""
        self.in_background(self.make_replay())

    def refresh(self) -> None:
        """Lists the models there are, after one was added."""
        set_options(self.method, self.bench.unlearned, PREFERRED)

    @guarded
    def draw(self) -> None:
        """New random images, the first of them picked."""
        if self.bench is None:
            return
        self.choices = draw_choices(self.bench, self.part.value, self.chance)
        classes, rules = self.bench.data.classes, []
        for place, each in enumerate(self.buttons):
            each.layout.display = "" if place < len(self.choices) else "none"
            if place >= len(self.choices):
                continue
            image, label, part = self.choices[place]
            each.description = f"{place + 1}: {classes[label]}"
            each.tooltip = f"Image {place + 1}, labelled {classes[label]}, {PARTS[part]}"
            rules.append(f".fd-choices .fd-choice:nth-child({place + 1}) {{background-image:url({data_url(image)})}}")
        self.pictures.value = f"<style>{''.join(rules)}</style>"
        self.say(f"{len(self.choices)} images of {self.bench.data.label}. Pick one.")
        if self.choices:
            self.pick(0)

    @guarded
    def pick(self, place: int) -> None:
        """Shows what the models say of an image of the gallery."""
        self.picked = self.choices[place]
        for index, each in enumerate(self.buttons):
            (each.add_class if index == place else each.remove_class)("fd-picked")
        self.show_result()
        self.show_epoch()
        label = self.bench.data.classes[self.picked.label]
        self.say(f"Image {place + 1} of {len(self.choices)}: labelled {label}, {PARTS[self.picked.part]}.")

    @guarded
    def show_result(self) -> None:
        """Bars for the picked image."""
        if self.picked is None or self.method.value is None:
            return
        label = self.bench.data.classes[self.picked.label]
        place = next((i for i, each in enumerate(self.choices) if each is self.picked), 0)
        text = f"Image {place + 1}, labelled {label}, {PARTS[self.picked.part]}"
        bars = bars_of(self.bench, self.method.value, self.picked.image)
        self.result.value = markup.picture(self.picked.image, text, caption=text) + bars

    async def make_replay(self) -> None:
        """Runs uniform KL once more in a thread, keeping each epoch; the slider then works."""
        bench, stop = self.bench, self._stop
        self.film.value = markup.note("Uniform KL is run once more to show its epochs …")
        try:
            epochs = await asyncio.to_thread(replay, bench, PREFERRED, stop)
        except Cancelled:
            return
        except ForgetError as error:
            self.film.value = markup.note(f"No replay: {error}")
            return
        if stop.is_set() or bench is not self.bench:
            return
        self.use_replay(epochs)

    def use_replay(self, epochs: Replay) -> None:
        """Lets the slider run over the epochs of a replay."""
        self.epochs = epochs
        self.slider.max = max(1, len(epochs) - 1)
        self.slider.disabled = False
        self.show_epoch()

    @guarded
    def show_epoch(self) -> None:
        """Bars for the picked image at the epoch of the slider."""
        if self.epochs is None or self.picked is None:
            return
        epoch = self.slider.value
        image = self.picked.image[None]
        title = "Original (epoch 0)" if epoch == 0 else f"After epoch {epoch}"
        found = {
            title: probabilities(self.epochs.model(epoch), image)[0],
            "Retrained": self.bench.probabilities("retrain", image)[0],
        }
        shares = self.epochs.accuracies[epoch]
        stop = ", where the study stopped" if epoch == self.epochs.recorded else ""
        words = markup.note(
            f"After {epoch} of {len(self.epochs) - 1} epochs{stop}: {100 * shares['forget']:.0f} % of the forget set "
            f"and {100 * shares['validation']:.0f} % of the validation set are recognised."
        )
        colours = [markup.UNLEARNED if epoch else markup.ORIGINAL, markup.RETRAINED]
        self.film.value = words + markup.probability_bars(found, self.bench.data.classes, colours)
