"""Pictures as people save them, brought to eight bits, the right way up and on white: for own data and for the demo."""

import numpy as np
from PIL import Image, ImageOps

from forget_lib.core.errors import ForgetError

DEEPEST = 65535
"""The largest value of 16 bits."""
GREY = ("1", "L", "LA")


def plain_picture(picture: Image.Image) -> Image.Image:
    """A decoded picture in mode L or RGB: turned as its camera says, 16 bits and floats scaled to 8, transparent parts
    white.

    Raises: ForgetError for values whose range says nothing of their brightness.
    """
    picture = _upright(picture)
    picture = _with_alpha(picture) if is_deep(picture) else picture
    grey = picture.mode in GREY
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return picture.convert("L" if grey else "RGB")


def is_deep(picture: Image.Image) -> bool:
    """Whether its values have more than eight bits."""
    return picture.mode.startswith("I") or picture.mode == "F"


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a damaged orientation tag is no reason to refuse a picture that can be seen
        return picture


def largest(mode: str) -> int:
    """The value of white in a mode of more than eight bits."""
    return 1 if mode == "F" else DEEPEST


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
