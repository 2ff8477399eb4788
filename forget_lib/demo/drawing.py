"""A drawn digit in the form of MNIST: scaled into 20×20 pixels, its centre of mass in the middle of 28×28."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from forget_lib.core.errors import ForgetError

Point = tuple[float, float]
Stroke = Sequence[Point]
PAD = 280
PEN = 22
BOX, SIDE = 20, 28

# One way to write each digit, in shares of the pad: what the keyboard offers in place of a pen.
EXAMPLES: dict[int, list[list[Point]]] = {
    0: [[(0.5, 0.15), (0.33, 0.25), (0.27, 0.5), (0.33, 0.75), (0.5, 0.85), (0.67, 0.75), (0.73, 0.5), (0.67, 0.25),
         (0.5, 0.15)]],
    1: [[(0.55, 0.15), (0.48, 0.85)]],
    2: [[(0.3, 0.3), (0.4, 0.17), (0.58, 0.17), (0.68, 0.32), (0.6, 0.5), (0.42, 0.68), (0.3, 0.83), (0.72, 0.83)]],
    3: [[(0.32, 0.2), (0.5, 0.15), (0.65, 0.25), (0.62, 0.42), (0.47, 0.5), (0.65, 0.57), (0.68, 0.73), (0.52, 0.85),
         (0.32, 0.8)]],
    4: [[(0.36, 0.18), (0.3, 0.52), (0.7, 0.5)], [(0.66, 0.18), (0.6, 0.85)]],
    5: [[(0.68, 0.17), (0.4, 0.17), (0.36, 0.46), (0.55, 0.44), (0.67, 0.58), (0.63, 0.77), (0.48, 0.85), (0.32, 0.8)]],
    6: [[(0.62, 0.15), (0.43, 0.32), (0.34, 0.58), (0.38, 0.78), (0.52, 0.85), (0.65, 0.74), (0.62, 0.58), (0.48, 0.54),
         (0.36, 0.64)]],
    7: [[(0.28, 0.2), (0.7, 0.2), (0.55, 0.5), (0.45, 0.85)]],
    8: [[(0.52, 0.5), (0.36, 0.36), (0.4, 0.2), (0.55, 0.15), (0.66, 0.25), (0.6, 0.4), (0.42, 0.58), (0.36, 0.74),
         (0.5, 0.85), (0.64, 0.76), (0.64, 0.62), (0.52, 0.5)]],
    9: [[(0.66, 0.3), (0.55, 0.17), (0.4, 0.2), (0.34, 0.36), (0.44, 0.48), (0.58, 0.44), (0.66, 0.3), (0.62, 0.6),
         (0.56, 0.85)]],
}  # fmt: skip


def rasterise(strokes: Sequence[Stroke], pad: int = PAD, pen: int = PEN) -> np.ndarray:
    """Strokes, lists of (x, y) in pixels of the pad, as an image: uint8 [pad, pad], 255 where the pen was."""
    image = Image.new("L", (pad, pad))
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(float(x), float(y)) for x, y in stroke]
        if len(points) > 1:
            draw.line(points, fill=255, width=pen, joint="curve")
        for x, y in (points[0], points[-1]) if points else ():
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return np.asarray(image)


def as_mnist(ink: np.ndarray) -> Tensor:
    """White ink on black, uint8 [h, w], as MNIST would store it: uint8 [1, 28, 28].

    The box around the ink is scaled into 20×20 with its proportions kept (grey levels come from anti-aliasing), then
    placed so that the centre of mass is at the centre of the 28×28 field. Source: LeCun et al., the MNIST database.
    Raises: ForgetError if nothing was drawn.
    """
    rows, columns = np.nonzero(ink > 0)
    if len(rows) == 0:
        raise ForgetError("Nothing is drawn yet. Draw a digit on the pad, or let one be drawn.")
    part = Image.fromarray(ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    scale = BOX / max(part.size)
    size = tuple(max(1, round(side * scale)) for side in part.size)
    digit = np.asarray(part.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC), np.float64)
    mass = digit.sum()
    middle_row = (digit.sum(1) @ np.arange(len(digit))) / mass
    middle_column = (digit.sum(0) @ np.arange(digit.shape[1])) / mass
    top = int(np.clip(round(SIDE / 2 - middle_row - 0.5), 0, SIDE - digit.shape[0]))
    left = int(np.clip(round(SIDE / 2 - middle_column - 0.5), 0, SIDE - digit.shape[1]))
    field = np.zeros((SIDE, SIDE), dtype=np.uint8)
    field[top : top + digit.shape[0], left : left + digit.shape[1]] = np.round(digit).clip(0, 255)
    return torch.from_numpy(field)[None]


def example(digit: int, pad: int = PAD) -> list[list[Point]]:
    """Strokes of a digit 0..9 in pixels of the pad."""
    return [[(x * pad, y * pad) for x, y in stroke] for stroke in EXAMPLES[digit]]
