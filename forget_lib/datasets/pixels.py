"""Pictures as people save them, brought to eight bits, the right way up and on white: for own data and for the demo."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm.auto import tqdm

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import one_line
from forget_lib.datasets.linked import same_pixels

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
FRAMED = ("GIF", "TIFF", "PNG", "WEBP")
"""Formats of which a file may hold several pictures that are no thumbnails of the first."""
MODES = {"grey": "L", "rgb": "RGB"}
GREY = ("1", "L", "LA")


class Wanted(Protocol):
    """What images are to become: a square of so many pixels, and a key of MODES; None leaves them as they are."""

    @property
    def size(self) -> int | None: ...
    @property
    def mode(self) -> str | None: ...


def plain_picture(picture: Image.Image) -> Image.Image:
    """A decoded picture in mode L or RGB: turned as its camera says, 16 bits and floats scaled to 8, transparent parts
    white. Raises: ForgetError for values whose range says nothing of their brightness."""
    with suppress(Exception):  # a damaged orientation tag is no reason to refuse a picture that can be seen
        picture = ImageOps.exif_transpose(picture)
    picture = _with_alpha(picture) if is_deep(picture) else picture
    grey = picture.mode in GREY
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return picture.convert("L" if grey else "RGB")


def is_deep(picture: Image.Image) -> bool:
    """Whether its values have more than eight bits."""
    return picture.mode.startswith("I") or picture.mode == "F"


def largest(mode: str) -> int:
    """The value of white in a mode of more than eight bits."""
    return 1 if mode == "F" else 65535


def _with_alpha(picture: Image.Image) -> Image.Image:
    """A deep picture with eight bits, L, or LA where one of its values stands for transparent."""
    values = np.asarray(picture, dtype=np.float64)
    top = largest(picture.mode)
    if not (values.min() >= 0 and values.max() <= top):  # NaN too
        kind = "float" if picture.mode == "F" else "whole"
        raise ForgetError(
            f"{kind} values from {values.min():g} to {values.max():g}; expected 0 to {top:,}, or save it with 8 bits"
        )
    grey = Image.fromarray((values * (255 / top)).round().astype(np.uint8))
    hidden = picture.info.get("transparency")
    if isinstance(hidden, int):
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def picture_of(values: np.ndarray) -> Image.Image:
    """An array [H, W], [C, H, W] or [H, W, C] as an image. Raises: ForgetError for values of an unknown range."""
    if np.issubdtype(values.dtype, np.floating):
        if not 0 <= values.min() <= values.max() <= 1:
            raise ForgetError("float values outside 0 to 1; give the images before they are normalised")
        values = (values * 255).round().astype(np.uint8)
    if values.ndim == 3:
        values = values.transpose(1, 2, 0) if values.shape[0] in (1, 3) else values
        values = values[:, :, 0] if values.shape[2] == 1 else values
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype not in (np.uint8, np.uint16) or (values.dtype == np.uint16 and values.ndim == 3):
        if not 0 <= values.min() <= values.max() <= 255:
            raise ForgetError(f"{values.dtype} values from {values.min()} to {values.max()}; expected 0 to 255")
        values = values.astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values))


def pixels(image: Image.Image, wanted: Wanted) -> np.ndarray:
    """uint8 [H, W, C] of an opened image, converted and resized as the wanted say."""
    image = plain_picture(image)
    if wanted.mode is not None:
        image = image.convert(MODES[wanted.mode])
    if wanted.size is not None and image.size != (wanted.size, wanted.size):
        image = image.resize((wanted.size, wanted.size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def read_images(
    count: int, open_one: Callable[[int], Image.Image], where: Sequence[str], wanted: Wanted, problems: list[str]
) -> Tensor:
    """Reads `count` images into uint8 [N, C, H, W]; what cannot be read or differs is added to `problems`."""
    stack = np.zeros((0, 1, 1, 1), np.uint8)
    kinds: dict[str, list[int]] = {}
    deepest: dict[str, float] = {}
    for index in tqdm(range(count), desc="reading images", unit="image", leave=False):
        try:
            with open_one(index) as image:
                if image.format in FRAMED and getattr(image, "is_animated", False):
                    problems.append(f"{where[index]}: holds several pictures; save each as a file of its own")
                    continue
                array = pixels(image, wanted)
                mode = MODES.get(wanted.mode or "", image.mode)
                if is_deep(image):
                    deepest[image.mode] = max(deepest.get(image.mode, 0), np.asarray(image).max().item())
        except UnidentifiedImageError:
            problems.append(f"{where[index]}: is no image that can be read ({', '.join(FORMATS)})")
            continue
        except Exception as error:  # a damaged file makes Pillow raise almost anything
            reason = str(error) if isinstance(error, ForgetError) else one_line(error)
            problems.append(f"{where[index]}: cannot be read as an image ({reason})")
            continue
        if not kinds:
            stack = np.zeros((count, *array.shape), np.uint8)
        kinds.setdefault(f"{array.shape[1]} × {array.shape[0]} pixels, mode {mode}", []).append(index)
        if array.shape == stack.shape[1:]:
            stack[index] = array
    problems += _mixed(kinds, where)
    for mode, top in deepest.items():
        if top < largest(mode) / 4:
            what = "float values, but none" if mode == "F" else "16 bits, but no value"
            problems.append(f"{what} is above {top:,g}: all would be dark; save them with 8 bits")
    if kinds and not problems:
        problems += black(stack)
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def black(images: np.ndarray) -> list[str]:
    """What is wrong with images uint8 that hold zeros and ones only."""
    if images.max(initial=0) > 1:
        return []
    return ["no value of any image is above 1: of 0 to 255 they would be nearly black; multiply the images by 255"]


def _mixed(kinds: dict[str, list[int]], where: Sequence[str]) -> list[str]:
    """One line for what most images are, and one for each image that is something else."""
    found = []
    strange = [kind for kind in kinds if not kind.endswith(("mode L", "mode RGB"))]
    if strange:
        found.append(f"images are {strange[0]}; L and RGB are taken as they are, else add ?mode=grey or ?mode=rgb")
    if len(kinds) > 1:
        common = max(kinds, key=lambda kind: len(kinds[kind]))
        counts = "; ".join(f"{len(kinds[kind]):,} of {kind}" for kind in sorted(kinds, key=lambda k: -len(kinds[k])))
        advice = "add ?size=32 to resize all, ?mode=grey or ?mode=rgb to convert all (both: ?size=32&mode=rgb)"
        found.append(f"sizes or modes are mixed: {counts}; {advice}")
        found += [f"{where[i]}: {kind}, most are {common}" for kind in kinds if kind != common for i in kinds[kind]]
    return found


def copies(images: Tensor, labels: Tensor, pool: int, names: Sequence[str]) -> list[tuple[str, str]]:
    """What is to be said of images whose pixels are the same to the bit, each with an example by name.

    Args: images: of the training pool, then from index `pool` on of the test set. names: one an image, for examples.
    """
    pairs = same_pixels(images).tolist()
    kinds = {
        "exact copies of training images in the test set, which the model saw": lambda a, b: a < pool <= b,
        "exact copies within the training images, of which one may be held out while the other is trained on": (
            lambda a, b: b < pool
        ),
        "exact copies of an image under two classes": lambda a, b: labels[a] != labels[b],
    }
    notes = []
    for what, belongs in kinds.items():
        found = [pair for pair in pairs if belongs(*pair)]
        if found:
            first, copy = found[0]
            notes.append((f"{what}: {len(found):,}", f"{names[copy]} and {names[first]}"))
    return notes
