"""Draw a digit with mouse or finger, or have one drawn; the MNIST models read it."""

import json
from collections.abc import Sequence
from itertools import pairwise

import ipywidgets
import numpy as np
import torch
from ipycanvas import Canvas, hold_canvas
from PIL import Image, ImageDraw
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.demo import parts
from forget_lib.demo.parts import html

Stroke = list[tuple[float, float]]
PAD, PEN, BOX, SIDE = 280, 22, 20, 28
"""In pixels: the pad, the pen, the box that MNIST scales a digit into, and MNIST's field around that."""
NOTHING = -1
FAINTEST = 24
"""Grey levels by which ink differs from the ground at least."""


def example(digit: int) -> list[Stroke]:
    """Strokes of a digit 0..9 in pixels of the pad: one way to write it, which the keyboard offers instead of a pen."""
    strokes = json.loads((parts.ASSETS / "digits.json").read_text())[str(digit)]
    return [[(x * PAD, y * PAD) for x, y in stroke] for stroke in strokes]


def rasterise(strokes: Sequence[Stroke]) -> np.ndarray:
    """Strokes in pixels of the pad as an image: uint8 [PAD, PAD], 255 where the pen was."""
    image = Image.new("L", (PAD, PAD))
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        if len(stroke) > 1:
            draw.line(stroke, fill=255, width=PEN, joint="curve")
        for x, y in (stroke[0], stroke[-1]):
            draw.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), fill=255)
    return np.asarray(image)


def as_ink(picture: Image.Image) -> np.ndarray:
    """A picture of one digit as white ink on black, uint8 [h, w]: what differs from its ground is ink.

    The ground is what the edge of the picture shows; ink may be brighter or darker.
    """
    grey = np.asarray(picture.convert("L"), np.float64)
    ground = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    ink = np.abs(grey - ground)
    ink[ink < max(FAINTEST, ink.max() / 3)] = 0
    return (ink * 255 / max(1, ink.max())).astype(np.uint8)


def as_mnist(ink: np.ndarray) -> Tensor:
    """White ink on black, uint8 [h, w], as MNIST would store it: uint8 [1, 28, 28].

    The box around the ink is scaled into 20×20 with its proportions kept (grey levels come from anti-aliasing), then
    placed so that the centre of mass is at the centre of the 28×28 field. Source: LeCun et al., the MNIST database.
    Raises: ForgetError if nothing was drawn.
    """
    rows, columns = np.nonzero(ink)
    if len(rows) == 0:
        raise ForgetError("Nothing is drawn here. Draw a digit on the pad, or take a picture of one on a plain ground.")
    part = Image.fromarray(ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    scale = BOX / max(part.size)
    width, height = (max(1, round(side * scale)) for side in part.size)
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    digit = np.asarray(part.resize((width, height), way), np.float64)
    middle = [digit.sum(1) @ np.arange(height) / digit.sum(), digit.sum(0) @ np.arange(width) / digit.sum()]
    corner = np.round(SIDE / 2 - np.array(middle) - 0.5)
    top, left = np.clip(corner, 0, [SIDE - height, SIDE - width]).astype(int)
    field = np.zeros((SIDE, SIDE), dtype=np.uint8)
    field[top : top + height, left : left + width] = np.round(digit).clip(0, 255)
    return torch.from_numpy(field)[None]


class DigitPad(parts.ImagePanel):
    """`strokes` are the lines drawn so far, in pixels of the pad; `digit` what the models saw last."""

    def __init__(self) -> None:
        super().__init__()
        self.strokes: list[Stroke] = []
        self.digit: Tensor | None = None
        self._drawing = False
        self.canvas = Canvas(width=PAD, height=PAD, layout={"width": f"{PAD}px", "height": f"{PAD}px"})
        self.clear = parts.button("Clear", "Empty the pad")
        self.sample = parts.dropdown("Without a mouse: write a", [("–", NOTHING), *((str(d), d) for d in range(10))])
        self.canvas.add_class("fd-pad")
        self.canvas.on_client_ready(self.paint)  # what was painted before a page was there is lost
        self.canvas.on_mouse_down(self.begin)
        self.canvas.on_mouse_move(self.go_on)
        self.canvas.on_touch_start(lambda points: self.begin(*points[0]))
        self.canvas.on_touch_move(lambda points: self.go_on(*points[0]))
        for leaves in ("mouse_up", "mouse_out", "touch_end", "touch_cancel"):
            getattr(self.canvas, f"on_{leaves}")(self.end)
        self.clear.on_click(lambda _button: self.empty())
        parts.follow(self.write, self.sample)
        parts.follow(self.recognise, self.method)
        help_text = ipywidgets.HTML(html.note("Draw one digit on the black pad, with the mouse or a finger."))
        pad = ipywidgets.VBox([self.canvas, self.clear])
        side = ipywidgets.VBox([self.method, self.sample, self.status, self.result], layout={"flex": "1 1 300px"})
        self.widget.children = [help_text, parts.wrapping(pad, side)]

    def begin(self, x: float, y: float) -> None:
        self._drawing = True
        self.strokes.append([(x, y)])
        self.canvas.fill_style = "#fff"
        self.canvas.fill_circle(x, y, PEN / 2)

    def go_on(self, x: float, y: float) -> None:
        if self._drawing:
            self.strokes[-1].append((x, y))
            self._draw(self.strokes[-1][-2:])

    def end(self, *_where: object) -> None:
        if self._drawing:
            self._drawing = False
            self.recognise()

    def empty(self) -> None:
        self.strokes, self.digit, self._drawing = [], None, False
        self.sample.value, self.result.value = NOTHING, ""
        self.paint()
        self.say("The pad is empty.")

    def write(self) -> None:
        """Draws the digit that was chosen."""
        if self.sample.value != NOTHING:
            self.strokes = example(self.sample.value)
            self.paint()
            self.recognise()

    def paint(self) -> None:
        self.canvas.fill_style = "#000"
        self.canvas.fill_rect(0, 0, PAD, PAD)
        for stroke in self.strokes:
            self._draw(stroke)

    def _draw(self, stroke: Stroke) -> None:
        with hold_canvas():
            self.canvas.stroke_style, self.canvas.line_width, self.canvas.line_cap = "#fff", PEN, "round"
            for start, end in pairwise(stroke):
                self.canvas.stroke_line(*start, *end)

    @parts.guarded
    def recognise(self) -> None:
        if not self.strokes or self.method.value is None:
            return
        self.digit = as_mnist(rasterise(self.strokes))
        says = [
            f"{self.bench.titles[name]} {int(shares.argmax())}" for name, shares in self.answers(self.digit).items()
        ]
        self.say(f"Recognised as: {', '.join(says)}.")
        seen = html.picture(self.digit, "The drawn digit as the models see it, 28 by 28", 84, "As the models see it")
        self.result.value = seen + self.bars(self.digit)
