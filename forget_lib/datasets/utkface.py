"""UTKFace: faces with age, sex and ethnic group in the file's name; for non-commercial research only, never part of the
repository."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from forget_lib.core.errors import DataError, first_few
from forget_lib.core.paths import data_folder, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.image_data import ImageData, Trait, checksum_of
from forget_lib.datasets.mufac import AGE_LETTERS, AGES, SUFFIXES, Face, pixels
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import BY_HAND, first_that_works
from forget_lib.datasets.stored import LOCAL_TITLE

ARCHIVE = "UTKFace.tar.gz"
LAST_AGES = tuple(int(ages.split("-")[1]) for ages in AGES)  # of each class of MUFAC
OLDEST = 116  # in the published set
SEXES = ("male", "female")
ETHNIC_GROUPS = ("White", "Black", "Asian", "Indian", "other")  # as the authors call them
TEST_SHARE = 0.2
POINTER, POINTER_BYTES = b"version https://git-lfs", 1024


@dataclass(frozen=True)
class Named:
    """What a file's name says: `age_sex_group_time.jpg`, the sex and the ethnic group as positions."""

    age: int
    sex: int
    group: int


@dataset("utkface")
def utkface(start: str = "local") -> ImageData:
    """22,783 faces up to 80 years, uint8 [N, 3, 64, 64], class = age as in MUFAC; a fifth, drawn once, is the test set.

    Files with another name and identical files are left out and counted. There are no ids of people.
    Source: Z. Zhang, Y. Song, H. Qi, "Age progression/regression by conditional adversarial autoencoder", CVPR 2017.
    Raises: DataError where the files are not there; they are fetched by hand.
    """
    return first_that_works("utkface", [("local", LOCAL_TITLE, lambda: _read(data_folder() / "utkface"))], start)[0]


def _read(folder: Path) -> ImageData:
    if (folder / ARCHIVE).is_file() and not any(path.is_dir() for path in folder.glob("*")):
        safe_extract(folder / ARCHIVE, folder)
    paths = sorted((path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES), key=lambda path: path.name)
    if not paths:
        raise DataError(f"no images in {shown(folder)}; {BY_HAND}")
    print("utkface: for non-commercial research only; the people are real")
    _refuse_pointers(paths)
    named = {path: found for path in paths if (found := read_name(path.name))}
    firsts: dict[bytes, Path] = {}
    for path in named:
        firsts.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    faces = [path for path in firsts.values() if named[path].age <= LAST_AGES[-1]]
    copies, old = len(named) - len(firsts), len(firsts) - len(faces)
    notes = [f"{copies:,} identical files left out", f"{old:,} over {LAST_AGES[-1]} years left out"]
    other = [path.name for path in paths if path not in named]
    if other:
        notes.append(f"{len(other):,} files left out, whose names are not age (0 to {OLDEST}), sex, group and time")
        print(f"utkface: {notes[-1]}: {first_few(other, 5)}")
    if not faces:
        raise DataError(f"no name in {shown(folder)} is of the form age_sex_group_time.jpg; {BY_HAND}")
    return _data(faces, [named[path] for path in faces], tuple(notes))


def read_name(name: str) -> Named | None:
    """What a file's name says, or None where a field is missing or out of range."""
    fields = name.partition(".")[0].split("_")
    if len(fields) != 4 or not all(field.isdecimal() and field.isascii() for field in fields[:3]):
        return None
    age, sex, group = map(int, fields[:3])
    fits = age <= OLDEST and sex < len(SEXES) and group < len(ETHNIC_GROUPS)
    return Named(age, sex, group) if fits else None


def _refuse_pointers(paths: list[Path]) -> None:
    small = [path for path in paths if path.stat().st_size < POINTER_BYTES]
    pointers = [path.name for path in small if path.read_bytes().startswith(POINTER)]
    if pointers:
        what = (
            f"{len(pointers):,} of {len(paths):,} files are Git LFS pointers and no images ({first_few(pointers, 3)})"
        )
        raise DataError(f"{what}; fetch the images themselves (git lfs pull); {BY_HAND}")


def _data(paths: list[Path], named: list[Named], notes: tuple[str, ...]) -> ImageData:
    labels = torch.from_numpy(np.searchsorted(LAST_AGES, [face.age for face in named]))
    letters = [AGE_LETTERS[label] for label in labels.tolist()]
    faces = [Face("", "", age, path, path.name) for age, path in zip(letters, paths, strict=True)]
    images = pixels(faces, 64, keep=True)
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    is_test = torch.zeros(len(faces), dtype=torch.bool)
    is_test[order[: round(TEST_SHARE * len(faces))]] = True
    traits = {}
    for title, names, values in (
        ("sex", SEXES, torch.tensor([face.sex for face in named])),
        ("ethnic group", ETHNIC_GROUPS, torch.tensor([face.group for face in named])),
    ):
        traits[title] = Trait(names, values[~is_test], values[is_test])
    return ImageData.split(
        is_test,
        {"images": images, "labels": labels},
        name="utkface",
        title="UTKFace",
        classes=AGES,
        source=LOCAL_TITLE,
        checksum=checksum_of(images, labels),
        traits=traits,
        notes=notes,
    )
