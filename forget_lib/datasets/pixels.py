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
    picture = _eight_bits(_upright(picture))
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


def _eight_bits(picture: Image.Image) -> Image.Image:
    if not is_deep(picture):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    top = 1 if picture.mode == "F" else DEEPEST
    if not (values.min() >= 0 and values.max() <= top):  # NaN too
        kind = "float" if picture.mode == "F" else "whole"
        raise ForgetError(
            f"{kind} values from {values.min():g} to {values.max():g}; expected 0 to {top:,}, or save it with 8 bits"
        )
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8))
