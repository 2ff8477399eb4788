"""MUFAC, faces of Korean families with age classes, and its synthetic stand-in in the same layout."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from forget_lib.core.errors import DataError
from forget_lib.core.paths import data_folder, samples_folder, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.face_table import (
    AGE_LETTERS,
    Face,
    decode,
    files_digest,
    find_duplicates,
    find_root,
    ids,
    read_part,
    sex_of,
)
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import fetch, first_that_works
from forget_lib.datasets.stored import LOCAL_TITLE, RESTORE, SAMPLE_TITLE, kept

AGES = ("0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80")
ARCHIVE = "custom_korean_family_dataset_resolution_128.zip"
SHAREPOINT = (
    "https://postechackr-my.sharepoint.com/:u:/g/personal/dongbinna_postech_ac_kr/"
    "EbMhBPnmIb5MutZvGicPKggBWKm5hLs0iwKfGW7_TwQIKg?download=1"
)
HUGGING_FACE = "Dasool/MUFAC"
COUNTS = {"train": 10_025, "val": 1_539, "test": 1_504}
OFFICIAL_FORGET = 1_500  # the published notebooks forget the first rows of the training table
SIZE = 64
# Shares of people (or families) for a request about them, of images otherwise: many unseen people, since they are what
# forgotten people are compared with.
HELD_OUT = {"validation": 0.1, "unseen": 0.15, "population": 0.05}
IDENTITY_TEST = 6  # images of each person in the test set
IDENTITY_HELD_OUT = {"validation": 2 / 12, "unseen": 1 / 12, "population": 0.0}  # of the other twelve


@dataclass(frozen=True)
class Table:
    """The rows of the parts of one archive; `synthetic`: the embedded sample."""

    root: Path
    parts: dict[str, list[Face]]
    synthetic: bool = False


@dataset("mufac")
def mufac(start: str = "local") -> ImageData:
    """MUFAC at 64×64, uint8 [N, 3, 64, 64]; the pool is its train and val part, the test set its test part.

    11,564 + 1,504 images of other families; where they cannot be had, the synthetic sample stands in and is marked so.
    Source: D. Choi and D. Na, "Towards machine unlearning benchmarks: forgetting the personal identities in facial
    recognition systems", 2023.
    Raises: DataError if no step of the chain from `start` on works, with the rows that are wrong.
    """
    return _ages("mufac", "MUFAC", *read_table("mufac", start))


@dataset("mufac_clean")
def mufac_clean(start: str = "local") -> ImageData:
    """`mufac` without near-duplicates (equal perceptual hashes) within and across its parts."""
    table, source = read_table("mufac_clean", start)
    return _ages("mufac_clean", "MUFAC without duplicates", cleaned(table), source)


@dataset("mufac128")
def mufac128(start: str = "local") -> ImageData:
    """`mufac` at the published 128×128, uint8 [N, 3, 128, 128]."""
    return _ages("mufac128", "MUFAC 128×128", *read_table("mufac128", start), size=128)


@dataset("synthetic_faces")
def synthetic_faces(start: str = "local") -> ImageData:
    """About 330 rendered people in 80 families, uint8 [N, 3, 64, 64], class = age; no step but the embedded sample."""
    return _ages("synthetic_faces", "Rendered faces", read_sample(), SAMPLE_TITLE)


@dataset("synthetic_faces32")
def synthetic_faces32(start: str = "local") -> ImageData:
    """`synthetic_faces` at 32×32, where a training takes a fifth of the time and age is told as well."""
    return _ages("synthetic_faces32", "Rendered faces 32×32", read_sample(), SAMPLE_TITLE, size=32)


@dataset("synthetic_identity")
def synthetic_identity(start: str = "local") -> ImageData:
    """40 rendered people × 18 photographs, uint8 [N, 3, 64, 64], class = person: 12 in the pool, 6 in the test set."""
    faces = read_part(samples_folder() / "faces", "identity")
    counts = Counter(face.person_name for face in faces)
    seen: Counter[str] = Counter()
    pool: list[Face] = []
    test: list[Face] = []
    for face in faces:
        seen[face.person_name] += 1
        (pool if seen[face.person_name] <= counts[face.person_name] - IDENTITY_TEST else test).append(face)
    people = tuple(sorted(counts))
    data = _faces("synthetic_identity", "Rendered people", pool, test, SIZE, SAMPLE_TITLE, synthetic=True)
    return replace(
        data,
        labels=ids([face.person_name for face in pool], people),
        test_labels=ids([face.person_name for face in test], people),
        classes=people,
        held_out=IDENTITY_HELD_OUT,
    )


def _ages(name: str, title: str, table: Table, source: str, size: int = SIZE) -> ImageData:
    pool = [*table.parts["train"], *table.parts["val"]]
    data = _faces(name, title, pool, table.parts["test"], size, source, synthetic=table.synthetic)
    return replace(data, official=torch.tensor(_official(table), dtype=torch.int64))


def _faces(
    name: str, title: str, pool: list[Face], test: list[Face], size: int, source: str, *, synthetic: bool
) -> ImageData:
    """Images with age classes, people and families."""
    people = sorted({face.person_name for face in (*pool, *test)})
    families = sorted({face.family for face in (*pool, *test)})
    images = [pixels(faces, size, keep=not synthetic) for faces in (pool, test)]
    labels = [ids([face.age_class for face in faces], AGE_LETTERS) for faces in (pool, test)]
    person = [ids([face.person_name for face in faces], people) for faces in (pool, test)]
    family = [ids([face.family for face in faces], families) for faces in (pool, test)]
    return ImageData(
        name=name,
        title=title,
        images=images[0],
        labels=labels[0],
        test_images=images[1],
        test_labels=labels[1],
        classes=AGES,
        source=source,
        checksum=checksum_of(*images, *labels, *person, *family),
        synthetic=synthetic,
        sampled=synthetic and name.startswith("mufac"),
        people=person[0],
        families=family[0],
        test_people=person[1],
        test_families=family[1],
        person_names=tuple(people),
        family_names=tuple(families),
        sexes=torch.tensor([sex_of(face.person) for face in pool]),
        held_out=HELD_OUT,
    )


def read_table(name: str = "mufac", start: str = "local") -> tuple[Table, str]:
    """The checked rows of MUFAC, or of the synthetic sample, and their source."""
    steps = [
        ("local", LOCAL_TITLE, lambda: _local(data_folder() / "mufac")),
        ("official", "the authors' archive", _from_sharepoint),
        ("official", f"Hugging Face {HUGGING_FACE}", _from_hugging_face),
        ("sample", f"{SAMPLE_TITLE}, synthetic", read_sample),
    ]
    return first_that_works(name, steps, start)


def read_sample() -> Table:
    """The embedded synthetic families.

    Raises: DataError if a file of the sample is missing or damaged.
    """
    root = samples_folder() / "faces"
    stated = root / "SHA256"
    files = [*root.glob("*.csv"), *root.glob("*/*.jpg")]
    if not stated.is_file() or files_digest(files) != stated.read_text(encoding="utf-8").strip():
        raise DataError(f"the files in {shown(root)} are not those of the repository; {RESTORE}.")
    return Table(root, {part: read_part(root, part) for part in COUNTS}, synthetic=True)


def _local(folder: Path) -> Table:
    archive = folder / ARCHIVE
    if not list(folder.glob("**/custom_train_dataset.csv")) and archive.is_file():
        safe_extract(archive, folder)
    return _whole(folder)


def _whole(folder: Path) -> Table:
    root = find_root(folder)
    table = Table(root, {part: read_part(root, part) for part in COUNTS})
    for part, faces in table.parts.items():
        if len(faces) != COUNTS[part]:
            print(f"mufac: {part} has {len(faces):,} images, the published archive {COUNTS[part]:,}")
    families = [{face.family for face in faces} for faces in table.parts.values()]
    if families[0] & families[2] or families[1] & families[2]:
        raise DataError(f"{shown(root)}: families of the test part are in the train or val part too.")
    return table


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


def cleaned(table: Table) -> Table:
    """The table without near-duplicates within and across its parts."""
    kept_of = find_duplicates(table.parts).kept
    parts = {part: [faces[index] for index in kept_of[part]] for part, faces in table.parts.items()}
    return Table(table.root, parts, table.synthetic)


def _official(table: Table) -> list[int]:
    train = [face.path.name for face in table.parts["train"]]
    if (table.root / "custom_forget_dataset.csv").is_file():
        listed = {face.path.name for face in read_part(table.root, "forget")}
        return [index for index, image in enumerate(train) if image in listed]
    return list(range(round(OFFICIAL_FORGET / COUNTS["train"] * len(train))))


def pixels(faces: Sequence[Face], size: int, *, keep: bool) -> torch.Tensor:
    """The decoded images; with `keep`, from a cache in data/cache that is made anew when a file has changed."""
    if not keep:
        return decode(faces, size)
    stats = [(face.path.name, (stat := face.path.stat()).st_size, stat.st_mtime_ns) for face in faces]
    key = hashlib.sha256(json.dumps([size, stats]).encode()).hexdigest()[:16]
    path = data_folder() / "cache" / f"faces-{key}.safetensors"
    return kept(path, key, lambda: decode(faces, size))
