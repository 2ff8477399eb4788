"""The original project's age weights: one archive on Google Drive, fetched by `./run_all.sh data age-weights`.

The archive could not be opened when this was written (its host was out of reach): no checksum is known, nor how its
images were normalised. A file of weights is opened without running anything in it when a model of that name is made;
one whose names or shapes do not fit is then refused, layer by layer.
"""

from pathlib import Path

from forget_lib.core.errors import DataError
from forget_lib.core.paths import data_folder, one_line, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.sources import BY_HAND, impatient

DRIVE_ID = "1KYoa8KsXjCQSv6Ka1ep9v3q1oQLNe85h"
ARCHIVE = "age-weights.zip"
MODEL = "torchvision.models:resnet18?weights={path}&mean=MEAN&std=STD"
SUFFIXES = {".pth", ".pt", ".safetensors"}


def fetch_age_weights() -> list[Path]:
    """Downloads the archive unless it is there, unpacks it, and names the models that its files make.

    Returns: the files of weights. Raises: DataError if Drive does not give it (it throttles popular files) or it is no
    archive of weights.
    """
    folder = data_folder() / "age-weights"
    archive = folder / ARCHIVE
    if not archive.is_file():
        _download(archive)
    files = [path for path in safe_extract(archive, folder) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise DataError(f"there are no weights (.pth, .pt, .safetensors) in {shown(archive)}; {BY_HAND}.")
    for path in files:
        model = MODEL.format(path=shown(path))
        print(f"{path.name}: on mufac128, model {model}, with the mean and deviation of its training")
    return files


def _download(archive: Path) -> None:
    import gdown

    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".part")
    try:
        with impatient():
            gdown.download(id=DRIVE_ID, output=str(partial))
    except Exception as error:  # gdown's own errors, and what requests and the socket raise
        raise DataError(f"the age weights cannot be downloaded ({one_line(error)}); {BY_HAND}.") from error
    if not partial.is_file():
        raise DataError(f"Google Drive did not give the age weights; {BY_HAND}.")
    partial.replace(archive)
