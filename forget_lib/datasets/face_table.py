"""Tables of faces in MUFAC's layout: reading and checking them, decoding the images, finding near-duplicates."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from forget_lib.core.errors import DataError, first_few
from forget_lib.core.paths import one_line, shown
from forget_lib.datasets.sources import BY_HAND

AGE_LETTERS = "abcdefgh"
COLUMNS = ("family_id", "person_id", "age_class", "image_path")
FAMILY, PERSON = re.compile(r"F\d{3,6}"), re.compile(r"[A-Z]{1,3}\d{0,2}")
SUFFIXES = {".jpg", ".jpeg", ".png"}
SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class Face:
    """One row: ids and age class (a-h) of the CSV, where the image lies, and `where` the row stands, for messages."""

    family: str
    person: str
    age_class: str
    path: Path
    where: str

    @property
    def person_name(self) -> str:
        """Person ids are unique within a family only."""
        return f"{self.family}_{self.person}"


def sex_of(role: str) -> int:
    """0 female: M(other), D(aughter), GM; 1 male: F(ather), S(on), GF; 2 not known, by role in the family."""
    return {"M": 0, "D": 0, "GM": 0, "F": 1, "S": 1, "GF": 1}.get(role.rstrip("0123456789"), 2)


def find_root(folder: Path) -> Path:
    """The folder that holds the CSVs: `folder` itself or one below it (the authors' archive has one more level).

    Raises: DataError if there is none.
    """
    tables = sorted(folder.glob("custom_train_dataset.csv")) + sorted(folder.glob("*/custom_train_dataset.csv"))
    if not tables:
        raise DataError(f"no custom_train_dataset.csv in {shown(folder)}")
    return tables[0].parent


def image_index(root: Path, part: str) -> dict[str, Path]:
    """Images of a part by file name, in `<part>_images/` or in folders below it (Hugging Face splits large folders)."""
    folders = sorted(path for path in root.glob(f"{part}_images*") if path.is_dir())
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return {path.name: path for path in files}


def read_part(root: Path, part: str) -> list[Face]:
    """Rows of `custom_<part>_dataset.csv`; each has an image, a class a-h, ids that parse, and no image comes twice.

    Args: root: see `find_root`. part: train, val, test, identity, forget or retain; the last two list training images.
    Raises: DataError that names the rows that are wrong.
    """
    table = root / f"custom_{part}_dataset.csv"
    images = image_index(root, "train" if part in ("forget", "retain") else part)
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(table)} cannot be read ({one_line(error)}); {BY_HAND}.") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise DataError(f"{shown(table)} must have rows under the columns {', '.join(COLUMNS)}; {BY_HAND}.")
    faces, problems, seen = [], [], set()
    for line, row in enumerate(rows, start=2):
        family, person, age, image = ((row[column] or "").strip() for column in COLUMNS)
        name = PurePosixPath(image.replace("\\", "/")).name
        wrong = {
            f"family id {family!r} is not F and digits": not FAMILY.fullmatch(family),
            f"person id {person!r} is not a role such as F, M, D2 or GM": not PERSON.fullmatch(person),
            f"class {age!r} is not one of a-h": len(age) != 1 or age.lower() not in AGE_LETTERS,
            f"image {name!r} is missing": name not in images,
            f"image {name!r} belongs to another family than {family}": not name.startswith(family),
            f"image {name!r} is listed twice": name in seen,
        }
        fault = next((words for words, is_so in wrong.items() if is_so), "")
        if fault:
            problems.append(f"line {line}: {fault}")
            continue
        seen.add(name)
        faces.append(Face(family, person, age.lower(), images[name], f"{table.name} line {line}"))
    if problems:
        told = first_few(problems, SHOWN_PROBLEMS, "; ")
        raise DataError(f"{shown(table)}: {len(problems)} of {len(rows)} rows are wrong: {told}. {BY_HAND}.")
    return faces


def decode(faces: Sequence[Face], size: int) -> Tensor:
    """The images as uint8 [N, 3, size, size], scaled down with an antialiasing filter where need be.

    Raises: DataError that names the row whose image is damaged.
    """
    pixels = np.zeros((len(faces), 3, size, size), np.uint8)

    def read(index: int) -> None:
        try:
            with Image.open(faces[index].path, formats=["JPEG", "PNG"]) as image:
                picture = image.convert("RGB")
                if picture.size != (size, size):
                    picture = picture.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
                pixels[index] = np.asarray(picture).transpose(2, 0, 1)
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            where = f"{faces[index].where}: {shown(faces[index].path)}"
            raise DataError(f"{where} is truncated or damaged ({one_line(error)}); {BY_HAND}.") from error

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(read, range(len(faces))))
    return torch.from_numpy(pixels)


def ids(names: Sequence[str], known: Sequence[str]) -> Tensor:
    """int64 [N]: place of each name in `known`."""
    places = {name: place for place, name in enumerate(known)}
    return torch.tensor([places[name] for name in names], dtype=torch.int64)


def files_digest(paths: Sequence[Path]) -> str:
    """SHA-256 (hex) over names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: (path.parent.name, path.name)):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def perceptual_hashes(faces: Sequence[Face]) -> np.ndarray:
    """64-bit perceptual hash of each image (DCT of the grey image, package ImageHash), bool [N, 64]."""
    import imagehash

    def one(face: Face) -> np.ndarray:
        with Image.open(face.path, formats=["JPEG", "PNG"]) as image:
            return imagehash.phash(image).hash.ravel()

    with ThreadPoolExecutor(2) as threads:
        return np.stack(list(threads.map(one, faces)))


def match(hashes: np.ndarray, others: np.ndarray, bits: int = 0) -> np.ndarray:
    """bool [N]: which hashes have one in `others` (bool [M, 64]) that differs in at most `bits` bits."""
    if not len(hashes) or not len(others):
        return np.zeros(len(hashes), bool)
    left, right = hashes.astype(np.float32), others.astype(np.float32)
    nearest = [
        (block.sum(1, keepdims=True) + right.sum(1) - 2 * block @ right.T).min(1)
        for block in np.array_split(left, max(1, len(left) // 1024))
    ]
    return np.concatenate(nearest) <= bits + 0.5


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates: how many images repeat an earlier one of their part, and how many repeat one of another part.

    `kept`: for each part, the indices left when test keeps all but its own repeats, then val, then train, each without
    what came before.
    """

    within: dict[str, int]
    across: dict[tuple[str, str], int]
    kept: dict[str, list[int]]


def find_duplicates(
    parts: Mapping[str, Sequence[Face]], bits: int = 0, hashes: dict[str, np.ndarray] | None = None
) -> Duplicates:
    """Counts near-duplicates by perceptual hash; `bits`: in how many of the 64 bits a duplicate may differ.

    hashes: bool [N, 64] by part, as `perceptual_hashes` gives them, where they are known already.
    """
    hashes = hashes or {part: perceptual_hashes(faces) for part, faces in parts.items()}
    within, kept, before = {}, {}, np.zeros((0, 64), bool)
    for part in sorted(parts, key=("test", "val", "train").index):
        firsts: list[int] = []
        for index in range(len(hashes[part])):
            if not match(hashes[part][index : index + 1], hashes[part][firsts], bits)[0]:
                firsts.append(index)
        within[part] = len(hashes[part]) - len(firsts)
        fresh = ~match(hashes[part][firsts], before, bits)
        kept[part] = [index for index, is_fresh in zip(firsts, fresh, strict=True) if is_fresh]
        before = np.concatenate([before, hashes[part]])
    names = list(parts)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    across = {pair: int(match(hashes[pair[0]], hashes[pair[1]], bits).sum()) for pair in pairs}
    return Duplicates(within, across, kept)
