"""MUFAC, faces of Korean families with age classes, and its synthetic stand-in in the same layout."""

import csv
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from forget_lib.core.errors import DataError, first_few
from forget_lib.core.paths import data_folder, one_line, samples_folder, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.linked import BITS, NO_PAIRS, Linked, alike, link_names, one_of_each
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import BY_HAND, fetch, first_that_works
from forget_lib.datasets.stored import LOCAL_TITLE, RESTORE, SAMPLE_TITLE, kept

AGES = ("0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80")
COMMIT = "5d10e563c8bac25835bbeb0793018e52c87e7be3"
GITHUB = f"https://codeload.github.com/ndb796/korean_face_age_dataset/tar.gz/{COMMIT}"
TARBALL = f"korean_face_age_dataset-{COMMIT}.tar.gz"
SIZES = "450 MB to fetch, 137 MB kept"
# `files_digest` over the three tables and all their images at that commit: GitHub packs an archive anew whenever it is
# asked for one, so that the archive itself has no checksum that lasts.
FILES_SHA256 = "6806f6456e5739c59d0aef8958a8b8cdbe136f74a70cb3df6ddb8a001827ac0c"
ARCHIVE = "custom_korean_family_dataset_resolution_128.zip"
SHAREPOINT = (
    "https://postechackr-my.sharepoint.com/:u:/g/personal/dongbinna_postech_ac_kr/"
    "EbMhBPnmIb5MutZvGicPKggBWKm5hLs0iwKfGW7_TwQIKg?download=1"
)
HUGGING_FACE = "Dasool/MUFAC"
COUNTS = {"train": 10_025, "val": 1_539, "test": 1_504}
FIRST = "custom_train_dataset.csv"
OFFICIAL_FORGET = 1_500  # the published notebooks forget the first rows of the training table
SIZE = 64
# Shares of people (or families) for a request about them, of images otherwise: many unseen people, since they are what
# forgotten people are compared with.
HELD_OUT = {"validation": 0.1, "unseen": 0.15, "population": 0.05}
SEXES = dict.fromkeys(("M", "D", "GM"), 0) | dict.fromkeys(("F", "S", "GF"), 1)  # by role in the family
IDENTITY_TEST = 6  # images of each person in the test set
IDENTITY_HELD_OUT = {"validation": 2 / 12, "unseen": 1 / 12, "population": 0.0}  # of the other twelve
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


@dataclass(frozen=True)
class Table:
    """The rows of the parts of one archive; `synthetic`: the embedded sample."""

    root: Path
    parts: dict[str, list[Face]]
    synthetic: bool = False

    @property
    def faces(self) -> list[Face]:
        """All rows, part after part: the pool (train, val), then the test set."""
        return [face for part in COUNTS for face in self.parts[part]]

    def alike(self, bits: int = BITS) -> Tensor:
        """Pairs int64 [M, 2] of `faces` that show one photograph; none of rendered faces, of whom each is known."""
        if self.synthetic:
            return NO_PAIRS
        return _cached(f"alike{bits}", self.faces, lambda: alike(perceptual_hashes(self.faces), bits))

    def by_precedence(self) -> list[int]:
        """Indices of `faces` in the order in which the first of several copies is looked for: test, val, train."""
        of_pool = len(self.faces) - len(self.parts["test"])
        train = len(self.parts["train"])
        return [*range(of_pool, len(self.faces)), *range(train, of_pool), *range(train)]


@dataset("mufac")
def mufac(start: str = "local") -> ImageData:
    """MUFAC at 64×64, uint8 [N, 3, 64, 64]; the pool is its train and val part, the test set its test part.

    11,564 + 1,504 images; where they cannot be had, the synthetic sample stands in and is marked so. One photograph
    stands under up to five families: those who share one, or nearly one, are one person and one family here.
    Source: D. Choi and D. Na, "Towards machine unlearning benchmarks: forgetting the personal identities in facial
    recognition systems", 2023.
    Raises: DataError if no step of the chain from `start` on works, with the rows that are wrong.
    """
    return _ages("mufac", "MUFAC", start)


@dataset("mufac_clean")
def mufac_clean(start: str = "local") -> ImageData:
    """`mufac` with one image of each group of copies and near copies, within and across its parts: test keeps its first
    ones, then val, then train. The published list stands for whole families here, as everybody is linked."""
    return _ages("mufac_clean", "MUFAC without copies", start, clean=True)


@dataset("mufac_published")
def mufac_published(start: str = "local") -> ImageData:
    """`mufac` under the ids of its tables, to compare with: what is held out as unseen was trained on in part."""
    return _ages("mufac_published", "MUFAC as published", start, linked=False)


@dataset("mufac128")
def mufac128(start: str = "local") -> ImageData:
    """`mufac` at the published 128×128, uint8 [N, 3, 128, 128]."""
    return _ages("mufac128", "MUFAC 128×128", start, size=128)


@dataset("synthetic_faces")
def synthetic_faces(start: str = "local") -> ImageData:
    """About 330 rendered people in 80 families, uint8 [N, 3, 64, 64], class = age; no step but the embedded sample."""
    return _ages("synthetic_faces", "Rendered faces")


@dataset("synthetic_faces32")
def synthetic_faces32(start: str = "local") -> ImageData:
    """`synthetic_faces` at 32×32, where a training takes a fifth of the time and age is told as well."""
    return _ages("synthetic_faces32", "Rendered faces 32×32", size=32)


@dataset("synthetic_identity")
def synthetic_identity(start: str = "local") -> ImageData:
    """40 rendered people × 18 photographs, uint8 [N, 3, 64, 64], class = person: 12 in the pool, 6 in the test set."""
    faces = read_part(samples_folder() / "faces", "identity")
    names = pd.Series([face.person_name for face in faces])
    is_test = names.groupby(names).cumcount(ascending=False) < IDENTITY_TEST
    parts = (torch.tensor(indices) for indices in (np.flatnonzero(~is_test), np.flatnonzero(is_test)))
    data = _faces("synthetic_identity", "Rendered people", faces, *parts, source=SAMPLE_TITLE, synthetic=True)
    assert data.people is not None
    assert data.test_people is not None
    return replace(
        data, labels=data.people, test_labels=data.test_people, classes=data.person_names, held_out=IDENTITY_HELD_OUT
    )


def _ages(
    name: str, title: str, start: str = "", size: int = SIZE, *, linked: bool = True, clean: bool = False
) -> ImageData:
    """The pool and the test set of one table; the embedded sample without a `start`."""
    table, source = read_table(name, start) if start else (read_sample(), SAMPLE_TITLE)
    faces = table.faces
    pairs = table.alike() if linked else NO_PAIRS
    stays = torch.ones(len(faces), dtype=torch.bool)
    if clean:
        stays = one_of_each(pairs, table.by_precedence())
    in_test = torch.arange(len(faces)) >= len(faces) - len(table.parts["test"])
    pool, test = (~in_test & stays).nonzero().flatten(), (in_test & stays).nonzero().flatten()
    data = _faces(name, title, faces, pool, test, pairs, size=size, source=source, synthetic=table.synthetic)
    listed = torch.isin(pool, torch.tensor(_official(table), dtype=torch.int64))
    if clean and data.families is not None:
        listed = torch.isin(data.families, data.families[listed])
    return replace(data, official=listed.nonzero().flatten())


def _faces(
    name: str,
    title: str,
    faces: list[Face],
    pool: Tensor,
    test: Tensor,
    pairs: Tensor = NO_PAIRS,
    *,
    source: str,
    size: int = SIZE,
    synthetic: bool,
) -> ImageData:
    """Images with age classes, people and families, of these indices into `faces`."""
    people = link_names([face.person_name for face in faces], pairs)
    families = link_names([face.family for face in faces], pairs)
    values = {
        "images": pixels(faces, size, keep=not synthetic),
        "labels": torch.tensor([AGE_LETTERS.index(face.age_class) for face in faces]),
        "people": people.ids,
        "families": families.ids,
    }
    parts: dict[str, Any] = {}
    for key, of_all in values.items():
        parts |= {key: of_all[pool], f"test_{key}": of_all[test]}
    return ImageData(
        **parts,
        name=name,
        title=title,
        classes=AGES,
        source=source,
        checksum=checksum_of(*parts.values()),
        synthetic=synthetic,
        sampled=synthetic and name.startswith("mufac"),
        person_names=people.names,
        family_names=families.names,
        aliases={"person": people.aliases, "family": families.aliases},
        sexes=torch.tensor([SEXES.get(faces[index].person.rstrip("0123456789"), 2) for index in pool.tolist()]),
        held_out=HELD_OUT,
        notes=_notes(people, families),
    )


def _notes(people: Linked, families: Linked) -> tuple[str, ...]:
    if not families.aliases:
        return ()
    counts = (f"{len(each.names) + len(each.aliases)} names are {len(each.names)}" for each in (people, families))
    return ("who share an image, or nearly one, count as one: {} people, {} families".format(*counts),)


def read_table(name: str = "mufac", start: str = "local") -> tuple[Table, str]:
    """The checked rows of MUFAC, or of the synthetic sample, and their source."""
    steps = [
        ("local", LOCAL_TITLE, lambda: _local(data_folder() / "mufac")),
        ("official", "the author's GitHub repository", _from_github),
        ("official", "the authors' archive", _from_sharepoint),
        ("official", f"Hugging Face {HUGGING_FACE}", _from_hugging_face),
        ("sample", f"{SAMPLE_TITLE}, synthetic", read_sample),
    ]
    return first_that_works(name, steps, start)


def read_sample() -> Table:
    """The embedded synthetic families. Raises: DataError if a file of the sample is missing or damaged."""
    root = samples_folder() / "faces"
    stated = root / "SHA256"
    files = [*root.glob("*.csv"), *root.glob("*/*.jpg")]
    if not stated.is_file() or files_digest(files) != stated.read_text(encoding="utf-8").strip():
        raise DataError(f"the files in {shown(root)} are not those of the repository; {RESTORE}.")
    return Table(root, {part: read_part(root, part) for part in COUNTS}, synthetic=True)


def _local(folder: Path) -> Table:
    if not list(folder.glob(f"**/{FIRST}")):
        if (folder / TARBALL).is_file():
            return _from_tarball(folder / TARBALL)
        if (folder / ARCHIVE).is_file():
            safe_extract(folder / ARCHIVE, folder)
    return _whole(folder)


def _whole(folder: Path) -> Table:
    """The tables in a folder or in one below it: the authors' archive has one more level."""
    found = [*folder.glob(FIRST), *sorted(folder.glob(f"*/{FIRST}"))]
    if not found:
        raise DataError(f"no {FIRST} in {shown(folder)}")
    root = found[0].parent
    table = Table(root, {part: read_part(root, part) for part in COUNTS})
    for part, faces in table.parts.items():
        if len(faces) != COUNTS[part]:
            print(f"mufac: {part} has {len(faces):,} images, the published archive {COUNTS[part]:,}")
    families = [{face.family for face in faces} for faces in table.parts.values()]
    if families[0] & families[2] or families[1] & families[2]:
        raise DataError(f"{shown(root)}: families of the test part are in the train or val part too.")
    return table


def _from_github() -> Table:
    print(f"mufac: fetching real people's faces from GitHub, {SIZES} …", flush=True)
    archive = fetch(GITHUB, data_folder() / "mufac" / TARBALL, None)
    try:
        return _from_tarball(archive)
    finally:
        archive.unlink()  # unpacked, or of no use


def _from_tarball(archive: Path) -> Table:
    """Unpacks what is needed beside the archive: all of it, or nothing where a file is not the published one."""
    name = TARBALL.removesuffix(".tar.gz")
    members = [f"{name}/custom_{part}_dataset.csv" for part in COUNTS] + [f"{name}/{part}_images/" for part in COUNTS]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".part-") as temporary:
        files = safe_extract(archive, Path(temporary), members)
        found = files_digest(files)
        if found != FILES_SHA256:
            wrong = f"its files are not the published ones (SHA-256 {found[:12]}…, expected {FILES_SHA256[:12]}…)"
            raise DataError(f"{archive.name}: {wrong}; {BY_HAND}.")
        os.replace(Path(temporary, name), archive.parent / name)
    return _whole(archive.parent)


def _from_sharepoint() -> Table:
    folder = data_folder() / "mufac"
    safe_extract(fetch(SHAREPOINT, folder / ARCHIVE, None), folder)
    return _whole(folder)


def _from_hugging_face() -> Table:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DataError("package huggingface_hub is not installed (pip install huggingface_hub)") from error
    folder = data_folder() / "mufac"
    patterns = ["custom_*_dataset.csv", *(f"{part}_images*/**" for part in COUNTS)]
    snapshot_download(
        HUGGING_FACE, repo_type="dataset", local_dir=folder, allow_patterns=[*patterns, *(f"*/{p}" for p in patterns)]
    )
    return _whole(folder)


def _official(table: Table) -> list[int]:
    train = [face.path.name for face in table.parts["train"]]
    if (table.root / "custom_forget_dataset.csv").is_file():
        listed = {face.path.name for face in read_part(table.root, "forget")}
        return [index for index, image in enumerate(train) if image in listed]
    return list(range(round(OFFICIAL_FORGET / COUNTS["train"] * len(train))))


def pixels(faces: Sequence[Face], size: int, *, keep: bool) -> Tensor:
    """The decoded images; with `keep`, from a cache in data/cache that is made anew when a file has changed."""
    return _cached(size, faces, lambda: decode(faces, size)) if keep else decode(faces, size)


def _cached(what: int | str, faces: Sequence[Face], make: Callable[[], Tensor]) -> Tensor:
    stats = [(face.path.name, (stat := face.path.stat()).st_size, stat.st_mtime_ns) for face in faces]
    key = hashlib.sha256(json.dumps([what, stats]).encode()).hexdigest()[:16]
    return kept(data_folder() / "cache" / f"faces-{key}.safetensors", key, make)


# --- tables of faces --------------------------------------------------------------------------------------------------


def read_part(root: Path, part: str) -> list[Face]:
    """Rows of `custom_<part>_dataset.csv`; each has an image, a class a-h, ids that parse, and no image comes twice.

    Images lie in `<part>_images/` or in folders below it (Hugging Face splits large folders).

    Args: root: the folder of the tables. part: train, val, test, identity or forget, which lists training images.
    Raises: DataError that names the rows that are wrong.
    """
    table = root / f"custom_{part}_dataset.csv"
    pattern = f"{'train' if part == 'forget' else part}_images*/**/*"
    images = {path.name: path for path in sorted(root.glob(pattern)) if path.suffix.lower() in SUFFIXES}
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(table)} cannot be read ({one_line(error)}); {BY_HAND}.") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise DataError(f"{shown(table)} must have rows under the columns {', '.join(COLUMNS)}; {BY_HAND}.")
    faces: dict[str, Face] = {}
    problems = []
    for line, row in enumerate(rows, start=2):
        family, person, age, image = ((row[column] or "").strip() for column in COLUMNS)
        name = PurePosixPath(image.replace("\\", "/")).name
        wrong = {
            f"family id {family!r} is not F and digits": not FAMILY.fullmatch(family),
            f"person id {person!r} is not a role such as F, M, D2 or GM": not PERSON.fullmatch(person),
            f"class {age!r} is not one of a-h": len(age) != 1 or age.lower() not in AGE_LETTERS,
            f"image {name!r} is missing": name not in images,
            f"image {name!r} belongs to another family than {family}": not name.startswith(family),
            f"image {name!r} is listed twice": name in faces,
        }
        fault = next((words for words, is_so in wrong.items() if is_so), "")
        if fault:
            problems.append(f"line {line}: {fault}")
        else:
            faces[name] = Face(family, person, age.lower(), images[name], f"{table.name} line {line}")
    if problems:
        told = first_few(problems, SHOWN_PROBLEMS, "; ")
        raise DataError(f"{shown(table)}: {len(problems)} of {len(rows)} rows are wrong: {told}. {BY_HAND}.")
    return list(faces.values())


def decode(faces: Sequence[Face], size: int) -> Tensor:
    """The images as uint8 [N, 3, size, size], scaled down with an antialiasing filter where need be. Raises: DataError
    that names the row whose image is damaged."""
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
