"""The gallery: twelve random images, and what three models say of the one picked."""

import random
from typing import NamedTuple

import ipywidgets
from torch import Tensor

from forget_lib.demo import parts
from forget_lib.demo.parts import html
from forget_lib.demo.studies import Bench

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
    """Pick an image; `choices` are those shown, `picked` the one chosen."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.choices: list[Choice] = []
        self.picked: Choice | None = None
        self.part = parts.dropdown("Images", [("mixed", "mixed"), *((title, name) for name, title in PARTS.items())])
        self.again = parts.button("New choices", "Draw twelve other images")
        self.grid = parts.PictureChoice(CHOICES, self.pick)
        self.grid.widget.add_class("fd-gallery")
        right = ipywidgets.VBox([self.result], layout={"flex": "1 1 320px"})
        controls = parts.wrapping(self.method, self.part, self.again)
        self.widget.children = [controls, self.status, parts.wrapping(self.grid.widget, right)]
        self.again.on_click(lambda _button: self.draw())
        parts.follow(self.draw, self.part)
        parts.follow(self.show_result, self.method)

    @parts.guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        self.draw()

    @parts.guarded
    def draw(self) -> None:
        self.choices = draw_choices(self.bench, self.part.value, self.chance)
        words = [(self.bench.words[label], PARTS[part]) for _, label, part in self.choices]
        items = [
            (image, f"{place}: {name}", f"Labelled {name}, {part}")
            for place, ((image, *_), (name, part)) in enumerate(zip(self.choices, words, strict=True), 1)
        ]
        self.grid.put(items)
        self.say(f"{len(self.choices)} images of {self.bench.data.label}. Pick one.")
        if self.choices:
            self.pick(0)

    @parts.guarded
    def pick(self, place: int) -> None:
        self.picked = self.choices[place]
        self.grid.mark(place)
        self.show_result()
        label = self.bench.words[self.picked.label]
        self.say(f"Image {place + 1} of {len(self.choices)}: labelled {label}, {PARTS[self.picked.part]}.")

    @parts.guarded
    def show_result(self) -> None:
        if self.picked is None or self.method.value is None:
            return
        text = f"Labelled {self.bench.words[self.picked.label]}, {PARTS[self.picked.part]}"
        self.result.value = html.picture(self.picked.image, text, caption=text) + self.bars(self.picked.image)
