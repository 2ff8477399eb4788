"""Pictures from outside, made safe, their faces found, in the form that a model reads; nothing touches the disk."""

import base64
import io
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.pixels import plain_picture

MOST_BYTES = 60_000_000
MOST_PIXELS = 60_000_000
FEWEST_PIXELS = 16
WORKING_SIZE = 1600
"""A picture is scaled down to this many pixels a side before anything else: a face needs no more."""
DETECTION_SIZE = 640
MARGIN, RAISE = 0.3, 0.12
"""Shares of the detected square: added on each side, and by which its middle is raised: the cascade frames eyes to
mouth, the data sets show whole heads (measured on the rendered faces)."""
NEIGHBOURS = 8
"""Overlapping detections that make a face; with fewer, ears and collars become faces too."""


def read_picture(content: bytes) -> Image.Image:
    """An uploaded JPEG or PNG as an RGB picture of at most 1,600 pixels a side, the right way up, on white.

    The size is read from the header and checked before any pixel is decoded: a small file cannot unpack into gigabytes.
    Raises: ForgetError that says what is wrong: not a JPEG or PNG, damaged, too large or too small.
    """
    if len(content) > MOST_BYTES:
        raise ForgetError(f"The file has {len(content) / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are read.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
            _check_size(*picture.size)
            picture.draft("RGB", (WORKING_SIZE, WORKING_SIZE))  # a JPEG is decoded at a fraction of its size
            picture.load()
    except UnidentifiedImageError as error:
        raise ForgetError("The file is not a JPEG or PNG picture. Choose a .jpg, .jpeg or .png file.") from error
    except Image.DecompressionBombError as error:
        raise ForgetError(f"The picture is too large: at most {MOST_PIXELS / 1e6:.0f} megapixels are read.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ForgetError("The picture is damaged or cut off and cannot be read. Choose another file.") from error
    plain = plain_picture(picture).convert("RGB")
    plain.thumbnail((WORKING_SIZE, WORKING_SIZE))
    plain.info.clear()
    return plain


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ForgetError(
            f"The picture has {width * height / 1e6:.0f} megapixels ({width}×{height}); at most "
            f"{MOST_PIXELS / 1e6:.0f} are read. Make it smaller first."
        )
    if min(width, height) < FEWEST_PIXELS:
        raise ForgetError(f"The picture is only {width}×{height} pixels; at least {FEWEST_PIXELS} a side are needed.")


def to_tensor(picture: Image.Image, shape: tuple[int, ...]) -> Tensor:
    """The middle square of a picture as uint8 [C, H, W] of that shape; C is 1 (grey) or 3."""
    channels, height, width = shape
    fitted = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.LANCZOS)
    values = np.array(fitted, dtype=np.uint8).reshape(height, width, channels)
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def data_url(picture: Image.Image | Tensor, most: int = 480) -> str:
    """A picture, or uint8 [C, H, W], as a PNG (small) or JPEG (large) inside a URL, at most `most` pixels a side."""
    if isinstance(picture, Tensor):
        array = picture.permute(1, 2, 0).cpu().contiguous().numpy()
        picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    if max(picture.size) > most:
        picture = ImageOps.contain(picture, (most, most))
    kind = "png" if max(picture.size) <= 160 else "jpeg"
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


class Box(NamedTuple):
    """A face in pixels of the picture: left, top, and length of the side."""

    left: int
    top: int
    side: int


@lru_cache(maxsize=1)
def _cascade() -> cv2.CascadeClassifier:
    folder = Path(cv2.__file__).parent / "data"
    cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
    if cascade.empty():
        raise ForgetError("The installed OpenCV has no face cascade; install opencv-python-headless 4.x, not 5.")
    return cascade


def find_faces(picture: Image.Image) -> list[Box]:
    """Frontal faces of a picture, largest first; empty where none is found.

    Source: Viola & Jones 2001, OpenCV's frontal cascade on a grey copy of at most 640 pixels a side.
    """
    scale = max(1.0, max(picture.size) / DETECTION_SIZE)
    width, height = (max(1, round(side / scale)) for side in picture.size)
    grey = np.asarray(picture.convert("L").resize((width, height)))
    least = max(24, min(width, height) // 10)
    found = _cascade().detectMultiScale(grey, scaleFactor=1.05, minNeighbors=NEIGHBOURS, minSize=(least, least))
    boxes = [Box(*(round(float(value) * scale) for value in place[:3])) for place in found]
    return sorted(boxes, key=lambda box: (-box.side, box.left, box.top))


def crop_face(picture: Image.Image, box: Box) -> Image.Image:
    """The square around a face with a margin, moved and shrunk where the picture ends."""
    side = min(round(box.side * (1 + 2 * MARGIN)), *picture.size)
    middle = (box.left + box.side / 2, box.top + box.side * (0.5 - RAISE))
    corner = np.round(np.array(middle) - side / 2)
    left, top = np.clip(corner, 0, np.array(picture.size) - side).astype(int).tolist()
    return picture.crop((left, top, left + side, top + side))


def with_frames(picture: Image.Image, boxes: list[Box], chosen: int) -> Image.Image:
    """A copy with a frame around each face, thick for the chosen one, and a number at each where there are several."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    width = max(2, max(picture.size) // 200)
    for number, (left, top, side) in enumerate(boxes):
        thick, colour = (2 * width, "#E69F00") if number == chosen else (width, "#56B4E9")
        draw.rectangle((left, top, left + side, top + side), outline=colour, width=thick)
        if len(boxes) > 1:
            draw.text((left + thick + 2, top + thick), str(number + 1), fill=colour, font_size=max(14, side // 6))
    return copy
