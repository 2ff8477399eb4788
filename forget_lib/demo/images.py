"""Pictures from outside, made safe and brought to the form that a model reads; nothing here touches the disk."""

import base64
import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.pixels import plain_picture

FORMATS = ("JPEG", "PNG")
MOST_BYTES = 60_000_000
MOST_PIXELS = 60_000_000
FEWEST_PIXELS = 16
WORKING_SIZE = 1600
"""A picture is scaled down to this many pixels a side before anything else: a face needs no more."""


def read_picture(content: bytes) -> Image.Image:
    """An uploaded JPEG or PNG as an RGB picture of at most 1,600 pixels a side, the right way up, on white.

    The size is read from the header and checked before any pixel is decoded, so that a small file cannot unpack into
    gigabytes.
    Raises: ForgetError that says what is wrong: not a JPEG or PNG, damaged, too large or too small.
    """
    if len(content) > MOST_BYTES:
        raise ForgetError(f"The file has {len(content) / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are read.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_size(*picture.size)
            picture.draft("RGB", (WORKING_SIZE, WORKING_SIZE))  # a JPEG is decoded at a fraction of its size
            picture.load()
    except UnidentifiedImageError as error:
        raise ForgetError("The file is not a JPEG or PNG picture. Choose a .jpg, .jpeg or .png file.") from error
    except Image.DecompressionBombError as error:
        raise ForgetError(f"The picture is too large: at most {MOST_PIXELS / 1e6:.0f} megapixels are read.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ForgetError("The picture is damaged or cut off and cannot be read. Choose another file.") from error
    return _small(picture)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ForgetError(
            f"The picture has {width * height / 1e6:.0f} megapixels ({width}×{height}); at most "
            f"{MOST_PIXELS / 1e6:.0f} are read. Make it smaller first."
        )
    if min(width, height) < FEWEST_PIXELS:
        raise ForgetError(f"The picture is only {width}×{height} pixels; at least {FEWEST_PIXELS} a side are needed.")


def _small(picture: Image.Image) -> Image.Image:
    """RGB, at most WORKING_SIZE a side."""
    picture = plain_picture(picture).convert("RGB")
    picture.thumbnail((WORKING_SIZE, WORKING_SIZE))
    picture.info.clear()
    return picture


def to_tensor(picture: Image.Image, shape: tuple[int, int, int]) -> Tensor:
    """The middle square of a picture as uint8 [C, H, W] of that shape; C is 1 (grey) or 3."""
    channels, height, width = shape
    fitted = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.LANCZOS)
    array = np.array(fitted, dtype=np.uint8)
    return torch.from_numpy(array[None] if channels == 1 else array.transpose(2, 0, 1).copy())


def to_picture(image: Tensor) -> Image.Image:
    """uint8 [C, H, W] as a picture, grey or RGB."""
    array = image.cpu().numpy()
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def data_url(picture: Image.Image | Tensor, most: int = 480) -> str:
    """A picture, or uint8 [C, H, W], as a PNG (small) or JPEG (large) inside a URL, at most `most` pixels a side."""
    picture = to_picture(picture) if isinstance(picture, Tensor) else picture
    if max(picture.size) > most:
        picture = ImageOps.contain(picture, (most, most))
    kind = "png" if max(picture.size) <= 160 else "jpeg"
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
