"""The original project's age weights, an optional source: one archive on Google Drive, fetched when asked for.

    python -m forget_lib.models.age_weights                 # fetches the archive with gdown, unpacks it, says what fits
    python -m forget_lib.models.age_weights FILE…           # says of files placed by hand whether they fit, and where

A file of weights is opened without running anything in it. It is used where every name and shape fits torchvision's
ResNet-18 with eight ages, and refused by name where not. The archive could not be opened when this was written (its
host was out of reach), so no checksum is known, and how its images were normalised is not either.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.paths import data_folder, one_line, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.mufac import AGES
from forget_lib.datasets.sources import BY_HAND, impatient
from forget_lib.models.given_weights import put_weights
from forget_lib.models.own import adapted, parse_spec

DRIVE_ID = "1KYoa8KsXjCQSv6Ka1ep9v3q1oQLNe85h"
ARCHIVE = "age-weights.zip"
NET, SHAPE = "torchvision.models:resnet18", (3, 128, 128)
SUFFIXES = {".pth", ".pt", ".safetensors"}


def weights_folder() -> Path:
    """Where the archive and its files lie."""
    return data_folder() / "age-weights"


def fetch_age_weights() -> list[Path]:
    """Downloads the archive unless it is there, and unpacks it.

    Returns: the files of weights. Raises: DataError if Drive does not give it (it throttles popular files) or it is no
    archive of weights.
    """
    import gdown

    folder = weights_folder()
    archive = folder / ARCHIVE
    if not archive.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".part")
        try:
            with impatient():
                got = gdown.download(id=DRIVE_ID, output=str(partial))
        except Exception as error:  # gdown's own errors, and what requests and the socket raise
            raise DataError(f"the age weights cannot be downloaded ({one_line(error)}); {BY_HAND}.") from error
        if not got or not partial.is_file():
            raise DataError(f"Google Drive did not give the age weights; {BY_HAND}.")
        partial.replace(archive)
    return found_in(folder, safe_extract(archive, folder))


def found_in(folder: Path, files: Sequence[Path] | None = None) -> list[Path]:
    """The files of weights among `files`, or in a folder. Raises: DataError if there is none."""
    files = folder.rglob("*") if files is None else files
    weights = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
    if not weights:
        raise DataError(f"there are no weights (.pth, .pt, .safetensors) in {shown(folder)}; {BY_HAND}.")
    return weights


def model_for(path: Path) -> str:
    """The name under which the study takes a file of weights as its original model.

    Raises: DataError that names the layers that do not fit, or says that the file holds more than numbers.
    """
    from torchvision.models import resnet18

    put_weights(adapted(parse_spec(NET), resnet18, SHAPE, len(AGES)), path, NET)
    return f"{NET}?weights={path}"


def main(arguments: Sequence[str]) -> int:
    """Says for each file whether it fits; returns 0 if at least one does."""
    try:
        files = [Path(argument) for argument in arguments] or fetch_age_weights()
    except ForgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    fits = 0
    for path in files:
        try:
            print(f"{path.name}: fits; model: {model_for(path)}&mean=MEAN&std=STD, with those of its training")
            fits += 1
        except ForgetError as error:
            print(f"{path.name}: refused: {error}")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
