"""Where the faces of a picture are: OpenCV's Haar cascade, whose file is inside its package."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from forget_lib.core.errors import ForgetError

DETECTION_SIZE = 640
MARGIN, RAISE = 0.3, 0.12
"""Shares of the detected square: added on each side, and by which its middle is raised.

The cascade frames eyes to mouth, the data sets show whole heads (measured on the rendered faces)."""
NEIGHBOURS = 8
"""Overlapping detections that make a face; with fewer, ears and collars become faces too."""


class Box(NamedTuple):
    """A face in pixels of the picture: left, top, and length of the side."""

    left: int
    top: int
    side: int


@lru_cache(maxsize=1)
def _cascade():
    try:
        import cv2
    except ImportError as error:
        raise ForgetError(
            "Finding faces needs the package opencv-python-headless 4; install it and try again."
        ) from error
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"))
    if cascade.empty():
        raise ForgetError("The installed OpenCV has no face cascade; install opencv-python-headless 4.x, not 5.")
    return cascade


def find_faces(picture: Image.Image) -> list[Box]:
    """Frontal faces of a picture, largest first; empty where none is found.

    Source: Viola & Jones 2001, OpenCV's frontal cascade on a grey copy of at most 640 pixels a side.
    """
    scale = max(1.0, max(picture.size) / DETECTION_SIZE)
    small = picture.convert("L").resize(tuple(max(1, round(side / scale)) for side in picture.size))
    grey = np.asarray(small)
    least = max(24, min(small.size) // 10)
    found = _cascade().detectMultiScale(grey, scaleFactor=1.05, minNeighbors=NEIGHBOURS, minSize=(least, least))
    boxes = [Box(*(round(float(value) * scale) for value in (left, top, side))) for left, top, side, _ in found]
    return sorted(boxes, key=lambda box: (-box.side, box.left, box.top))


def crop_face(picture: Image.Image, box: Box, margin: float = MARGIN) -> Image.Image:
    """The square around a face with a margin, moved and shrunk where the picture ends."""
    side = min(round(box.side * (1 + 2 * margin)), *picture.size)
    centre = (box.left + box.side / 2, box.top + box.side * (0.5 - RAISE))
    left, top = (
        int(np.clip(round(middle - side / 2), 0, limit - side))
        for middle, limit in zip(centre, picture.size, strict=True)
    )
    return picture.crop((left, top, left + side, top + side))


def with_frames(picture: Image.Image, boxes: list[Box], chosen: int) -> Image.Image:
    """A copy with a frame around each face: thick for the chosen one, and a number at each where there are several."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    width = max(2, max(picture.size) // 200)
    for number, (left, top, side) in enumerate(boxes):
        thick = width * (2 if number == chosen else 1)
        colour = "#E69F00" if number == chosen else "#56B4E9"
        draw.rectangle((left, top, left + side, top + side), outline=colour, width=thick)
        if len(boxes) > 1:
            draw.text((left + thick + 2, top + thick), str(number + 1), fill=colour, font_size=max(14, side // 6))
    return copy
