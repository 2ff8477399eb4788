"""Memory of the demo over 1,000 interactions: its own panels, driven as the page drives them, but without a browser.

Not part of the tests: `./run_all.sh faults demo`
"""

import asyncio
import gc
import itertools
import random
from collections.abc import Callable, Coroutine
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from forget_lib.demo import Demo
from forget_lib.demo.digit import example
from forget_lib.demo.page import CLOSER
from forget_lib.study import run
from tests.demo.test_images import BAD, encoded
from tests.demo_study import make_records

MOST = 100
"""Megabytes that the demo may grow by over all interactions."""
INTERACTIONS, WARM = 1000, 100


class Visitor:
    """Someone at the demo: each step is one thing that people do there, with choices drawn at random."""

    def __init__(self, demo: Demo) -> None:
        self.study = 0
        self.demo, self.chance, self.noise = demo, random.Random(0), np.random.default_rng(0)
        quick: list[Callable[[], Coroutine | None]] = [self.pick, self.draw_again, self.upload, self.write]
        quick += [self.compare, self.frame, self.attack, self.upload_rubbish, self.write_ready_made, self.choose_method]
        # One in twenty takes longer: another study, or a method run to its end.
        self.steps = [*quick, *quick[:-1], self.turn, *quick, *quick[:-1], self.forget]

        self.look_at_all()

    def look_at_all(self) -> None:
        for name in CLOSER:
            self.demo.section(name)

    def pick(self) -> None:
        self.demo.gallery.pick(self.chance.randrange(12))

    def draw_again(self) -> None:
        self.demo.gallery.again.click()

    def upload(self) -> None:
        picture = Image.fromarray(self.noise.integers(0, 256, (480, 640, 3), dtype=np.uint8))
        content = memoryview(encoded(picture, "JPEG"))
        self.demo.panels["own image"].input._handle_custom_msg({"picture": True}, [content])

    def upload_rubbish(self) -> None:
        self.demo.panels["own image"].read(BAD["cut off"])

    def write(self) -> None:
        pad = self.demo.digits
        pad.empty()
        for stroke in example(self.chance.randrange(10)):
            pad.begin(*stroke[0])
            for point in stroke[1:]:
                pad.go_on(*point)
            pad.end()

    def write_ready_made(self) -> None:
        self.demo.digits.sample.value = self.chance.randrange(10)

    def compare(self) -> None:
        panel = self.demo.panels["compare"]
        panel.second.value = self.chance.choice([value for _, value in panel.second.options])
        panel.select.value = self.chance.choice([value for _, value in panel.select.options])

    def frame(self) -> None:
        left, top = self.chance.randrange(200), self.chance.randrange(200)
        self.demo.panels["compare"].select_frame(left, top, left + 100, top + 100)

    def attack(self) -> None:
        panel = self.demo.panels["attack"]
        panel.model.value = self.chance.choice([value for _, value in panel.model.options])
        panel.threshold.value = self.chance.uniform(*panel.guessing.range)

    def choose_method(self) -> None:
        gallery = self.demo.gallery
        gallery.method.value = self.chance.choice([value for _, value in gallery.method.options])

    async def turn(self) -> None:
        self.study = 1 - self.study
        self.demo.turn_to(self.study)
        self.look_at_all()
        await asyncio.gather(*self.demo.live._tasks)

    async def forget(self) -> None:
        live = self.demo.live
        live.what.value = self.chance.choice([value for _, value in live.what.options])
        await live.begin()
        assert "Done in" in live.status.value, live.status.value


def megabytes() -> float:
    """Resident memory of this process."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


@pytest.mark.fault("The demo over 1,000 interactions")
def test_the_demo_does_not_grow(tmp_path: Path, record_property, capsys):
    make_records(tmp_path)
    recipe = {"epochs": 4, "batch_size": 64, "learning_rate": 0.02}
    other = run.make_scenario(tmp_path, recipe, (), dataset="mnist", model="mlp", request="class:3", start="sample")
    run.run_methods(other, {"finetune": {}, "uniform_kl": {}})
    sizes: list[float] = []

    async def story() -> None:
        visitor = Visitor(Demo(tmp_path, seed=0))
        assert len(visitor.demo.entries) == 2
        for number, step in zip(range(WARM + INTERACTIONS), itertools.cycle(visitor.steps), strict=False):
            if number >= WARM and number % 100 == 0:
                sizes.append(megabytes())
            done = step()
            if done is not None:
                await done
            said = [panel.status.value for panel in (visitor.demo, *visitor.demo.panels.values())]
            assert not any("That did not work" in each for each in said), (number, step, said)
        sizes.append(megabytes())

    asyncio.run(story())
    with capsys.disabled():
        print("\nMB after each 100 interactions:", *(f"{size:.0f}" for size in sizes), flush=True)
    record_property("tried", INTERACTIONS)
    record_property("grew by MB", round(sizes[-1] - sizes[0], 1))
    assert sizes[-1] - sizes[0] < MOST, sizes
