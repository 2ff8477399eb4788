"""A user's own images, checked in full before anything trains: `own:PATH` wherever a data set is named.

PATH is one of
- a folder `class/file`, or `train/class/file` beside `test/class/file` (also `training` and `testing`);
- a CSV with the columns `path` (relative to it; also `file` or `filepath`) and `label`, and if wished `person`,
  `family` and `part` (train or test);
- an .npz with `images` (uint8 [N, H, W], [N, H, W, C] or [N, C, H, W]) and `labels`, and if wished `test_images`,
  `test_labels`, `classes`, `people`, `families`, `test_people`, `test_families`; pickled objects are refused;
- `package.module:function` or `path/file.py:function`, which returns a torch Dataset; it is code and must be trusted.

Options follow a question mark, `own:PATH?size=32&mode=grey`; see `Options`.

Each form becomes a table with one row an image: `where` (for messages), `name` (path within the folder, or row),
`label` and `part` as text ("", "train" or "test"), and if given `person`, `family` and `file`.
"""

import csv
import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor

from forget_lib.core.errors import DataError, ForgetError, first_few
from forget_lib.core.names import OWN, composed, is_code, plain_name, short_name, split_options
from forget_lib.core.paths import locate, one_line, shown
from forget_lib.core.settings import Settings, faults_of
from forget_lib.core.user_code import load_function, running
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.linked import NO_PAIRS, Linked, link_names, same_pixels
from forget_lib.datasets.pixels import FORMATS, black, copies, picture_of, pixels, read_images
from forget_lib.datasets.stored import cache_path, kept

CACHE_FROM = 1000
"""Folders and tables of fewer images are read anew each time, which takes less than a second."""
DARK = 64
"""Data of eight bits whose every value is below this are said to be dark."""
SHOWN = 40
"""Problems written out in a message; the others are counted, and all stand in the error's `problems`."""
LONGEST = 300
"""Characters of a problem that are shown."""
READER = 4
"""Goes up when other pixels are read from the same files, so that a cache is made again."""
REREAD = 200
"""Items of a torch Dataset that are read a second time."""
COLUMNS = ("path", "label", "person", "family", "part")
PATHS = ("file", "filepath", "file_path", "filename", "image", "image_path")
"""What the column `path` is called as well."""
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
"""Folders of folders of classes, and the part that they stand for."""
ARRAYS = {"label": "labels", "person": "people", "family": "families"}
"""Columns, and the arrays of an .npz that hold them; those of the test set begin with `test_`."""


class OwnDataError(DataError):
    """Everything that is wrong with a data set, at once. `problems`: one line each, with row and file."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        lines = [_printable(line) for line in problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"… and {len(problems) - SHOWN:,} more like these")
        count = f"{len(problems):,} problem{'s' if len(problems) != 1 else ''}"
        super().__init__(f"{name}: {count}; nothing was trained.\n" + "\n".join(f"- {line}" for line in lines))


def _printable(line: str) -> str:
    """A line without what would act on a terminal, and not longer than a screen: it holds names from outside."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


class Options(Settings):
    """What may follow the question mark."""

    size: int | None = Field(None, ge=1, le=4096, description="pixels; every image is resized to a square of it")
    mode: Literal["grey", "rgb"] | None = Field(None, description="what every image is converted to")
    test: float = Field(0.2, gt=0, lt=1, description="share of each class, or of the people, that becomes the test set")
    classes: tuple[str, ...] = Field((), description="names in order, separated by commas")

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, given: Any) -> tuple[str, ...]:
        if isinstance(given, str):
            given = given.split(",")
        names = given if isinstance(given, list | tuple) else [given]
        if any(isinstance(name, bool) or not isinstance(name, str | int) for name in names):
            raise ValueError("expected names in order, classes=cat,dog")
        return tuple(composed(str(name)).strip() for name in names)

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Options":
        """Checked options. Raises: ForgetError with all that is wrong."""
        faults = faults_of(cls, given, "data set of your own")
        if faults:
            raise ForgetError("\n".join(f"{words}." for words in faults.values()))
        return cls.model_validate(given)


@dataclasses.dataclass
class Found:
    """What a source holds before pixels are read.

    Attributes: rows: see the module's text. source: kind of source, for records. numbers: whether labels are positions
        of classes. classes: their names, where the source gives them. problems: everything that is wrong. notes: what
        is to be said of it. read: reads the images, uint8 [N, C, H, W], row by row, and adds to `problems`.
    """

    rows: pd.DataFrame
    source: str
    read: Callable[[], Tensor] = lambda: torch.empty(0)
    numbers: bool = False
    classes: tuple[str, ...] = ()
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def load_own(source: Any, *, name: str = "", **options: Any) -> ImageData:
    """A user's own data as an `ImageData`.

    Args: source: a path, with options after a question mark (see the module's text), or a torch Dataset of (image,
        label). name: default: `names.short_name` of the source. options: see `Options`.
    Raises: OwnDataError with everything that is wrong, rows and files named; DataError, ForgetError.
    """
    if not isinstance(source, str | os.PathLike):
        chosen = Options.of(options)
        return _assembled(name or type(source).__name__, _of_dataset(source, chosen), chosen)
    text = os.fspath(source).removeprefix(OWN)
    base, given = split_options(text)
    if is_code(base):
        function = load_function(base, "own data")
        with running(getattr(function, "code", None)):  # reading an image is code of the user's too
            data = load_own(function(), name=name or plain_name(OWN + text), **(given | options))
    else:
        data = _of_path(locate(base, "own data"), name or plain_name(OWN + text), Options.of(given | options))
    known_as = name or short_name(OWN + text)
    return dataclasses.replace(data, name=known_as, title=known_as)


def caches_of(path: Path) -> str:
    """What the names of all caches of these images begin with, whatever the options."""
    return f"own-{short_name(f'{OWN}{path}')}-"


def _of_path(path: Path, name: str, options: Options) -> ImageData:
    if path.suffix.lower() == ".npz":
        return _assembled(name, _of_arrays(path), options)
    found = _of_folder(path) if path.is_dir() else _of_csv(path)
    if found.rows.empty:
        raise OwnDataError(name, found.problems or [f"{shown(path)} holds no images in folders of classes"])
    found.read = lambda: _of_files(path, name, found, options)
    data = _assembled(name, found, options)
    for note in found.notes:
        print(f"{name}: {note}")
    return dataclasses.replace(data, folder=str(path if path.is_dir() else path.parent), caches=caches_of(path))


def _of_files(path: Path, name: str, found: Found, options: Options) -> Tensor:
    """The images of a folder or a CSV, from the cache where no file has changed."""
    rows = found.rows

    def read() -> Tensor:
        images = read_images(
            len(rows), lambda i: Image.open(rows["file"][i], formats=FORMATS), rows["where"], options, found.problems
        )
        if not found.problems and _fingerprint(rows, options) != before:
            raise DataError(f"{name}: files changed while they were read; wait until nothing writes there, run again.")
        return images

    try:
        before = _fingerprint(rows, options)
        if len(rows) < CACHE_FROM or found.problems:
            return read()
        file = cache_path(f"{caches_of(path)}{options.size or 'any'}-{options.mode or 'any'}")
        return kept(file, before, read, lambda: not found.problems)
    except OSError as error:
        raise DataError(f"{name}: {one_line(error)}; the data are changing while they are read.") from error


def _fingerprint(rows: pd.DataFrame, options: Options) -> str:
    """SHA-256 over what would change if a file did: names, sizes and times, labels, parts and the options."""
    told = rows.drop(columns="file").to_csv()
    digest = hashlib.sha256(f"{READER}\n{options!r}\n{told}".encode("utf-8", "surrogatepass"))
    for file in rows["file"]:
        state = os.stat(file)
        digest.update(f"{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


# --- folders ----------------------------------------------------------------------------------------------------------


def _visible(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _of_folder(path: Path) -> Found:
    """The images of a folder `class/file`, or of `train/class/file` and `test/class/file`, by name; files that are left
    out beside train and test are noted, all else is a problem."""
    found = Found(pd.DataFrame(), "own files")
    rows: list[dict[str, str]] = []
    entries = _visible(path)
    inside = {entry.name: _visible(entry.path) for entry in entries if entry.is_dir()}
    deeper = [name for name, content in inside.items() if any(entry.is_dir() for entry in content)]
    parts = {name: PARTS[name.lower()] for name in sorted(inside, reverse=True) if name.lower() in PARTS}
    if sorted(parts.values()) == ["test", "train"] and set(parts) & set(deeper):
        beside = f"beside {' and '.join(parts)}"
        files = [entry.name for entry in entries if not entry.is_dir()]
        if files:
            found.notes.append(f"left out {beside}: {first_few(files)}.")
        others = [name for name in inside if name not in parts]
        found.problems += [f"{name}: a folder {beside}; move it elsewhere" for name in others]
        classes = [(entry, part) for name, part in parts.items() for entry in inside[name]]
    else:
        without_images = [name for name in deeper if all(entry.is_dir() for entry in inside[name])]
        if without_images:
            found.problems.append(
                f"{first_few(without_images)}: holds folders and no images; expected class/file, or train/class/file "
                "beside test/class/file. Rename what is called otherwise, or give the path of the folder of classes"
            )
        classes = [(entry, "") for entry in entries if entry.name not in without_images]
    for entry, part in classes:
        where = os.path.relpath(entry.path, path)
        if not entry.is_dir():
            found.problems.append(f"{where}: lies beside the folders of classes; expected class/file")
            continue
        files_of_class = _visible(entry.path)
        if not files_of_class:
            found.problems.append(f"{where}: is an empty folder; put images of this class there, or remove it")
        for file in files_of_class:
            name = f"{where}/{file.name}"
            if file.is_dir():
                found.problems.append(f"{name}: is a folder; expected class/file, no deeper")
            else:
                label = composed(entry.name)
                rows.append({"where": name, "name": name, "label": label, "part": part, "file": file.path})
    found.rows = pd.DataFrame(rows)
    return found


# --- tables -----------------------------------------------------------------------------------------------------------


def _of_csv(path: Path) -> Found:
    """The images that a CSV names, in its order; every row that cannot be taken is a problem, with its number."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = _columns(path, reader.fieldnames or [])
            reader.fieldnames = columns
            known = [column for column in COLUMNS if column in columns]
            lines = [
                [reader.line_num, None in row, *((row[column] or "").strip() for column in known)] for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(path)} cannot be read as a CSV in UTF-8: {one_line(error)}.") from error
    table = pd.DataFrame(lines, columns=["line", "too_many", *known])
    table["path"] = [os.path.normpath(file) if file else "" for file in table["path"]]  # ./a.png is a.png
    table["file"] = [str(path.parent / file) for file in table["path"]]
    for column in set(known) & {"label", "person", "family"}:
        table[column] = table[column].map(composed)
    table["where"] = [f"row {row.line}" + (f" ({row.path})" if row.path else "") for row in table.itertuples()]
    problems, wrong = _faults_of_rows(table)
    rows = table[~wrong].rename(columns={"path": "name"}).drop(columns=["line", "too_many"]).reset_index(drop=True)
    rows["part"] = rows.get("part", "")
    return Found(rows, "own files", problems=problems)


def _columns(path: Path, given: Sequence[str]) -> list[str]:
    """The head of a CSV in small letters, with a column `path` where one that is called otherwise must be it."""
    columns = [column.strip().lower() for column in given]
    twice = [column for column, number in Counter(columns).items() if number > 1]
    if twice:
        raise DataError(f"The column {_printable(first_few(twice))} stands twice in the head of the CSV.")
    paths = [column for column in columns if column in PATHS]
    if "path" not in columns and len(paths) == 1:
        columns[columns.index(paths[0])] = "path"
    missing = [column for column in ("path", "label") if column not in columns]
    if missing:
        hint = " It seems to be separated by semicolons; commas are expected." if ";" in str(columns) else ""
        there = _printable(", ".join(columns)) or "none"
        raise DataError(
            f"{shown(path)} has no column {' and no column '.join(missing)}; it has: {there}. "
            f"Columns: path, label, and if wished person, family, part.{hint}"
        )
    return columns


def _faults_of_rows(table: pd.DataFrame) -> tuple[list[str], pd.Series]:
    """A sentence for each fault of each row, in the order of the rows, and which rows have one."""
    table = table.copy()
    table["first"] = table.groupby("path")["line"].transform("first")
    faults = {f"{column} is empty": table[column] == "" for column in COLUMNS[:4] if column in table}
    faults["the same file stands in row {first}"] = (table["path"] != "") & (table["first"] != table["line"])
    faults["there is no such file beside the CSV"] = (table["path"] != "") & ~table["file"].map(os.path.isfile)
    faults["has more fields than the head has columns"] = table["too_many"]
    if "part" in table:
        faults["part is {part!r}; expected train or test"] = ~table["part"].isin(["train", "test"])
    if {"person", "family"} <= set(table):
        table["before"] = table.groupby("person")["family"].transform("first")
        changed = (table["person"] != "") & (table["before"] != table["family"])
        faults["{person!r} is of family {family!r} here and of {before!r} before"] = changed
    told = [
        (index, f"{row['where']}: {words.format(**row)}")
        for words, wrong in faults.items()
        for index, row in table[wrong].to_dict("index").items()
    ]
    return [line for _, line in sorted(told, key=lambda each: each[0])], pd.DataFrame(faults).any(axis=1)


# --- arrays and Datasets ----------------------------------------------------------------------------------------------


def _of_arrays(path: Path) -> Found:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # zip, header or dtype: NumPy raises many kinds
        pickled = "allow_pickle" in str(error)
        reason = "it holds pickled objects, which can execute code" if pickled else one_line(error)
        raise DataError(
            f"{shown(path)} cannot be read as arrays: {reason}. Save plain arrays with numpy.savez."
        ) from error
    missing = [key for key in ("images", "labels") if key not in arrays]
    if missing:
        raise DataError(
            f"{shown(path)} has no array {' and no '.join(missing)}; it has: {', '.join(arrays) or 'none'}."
        )
    for key in [prefix + key for prefix in ("", "test_") for key in ARRAYS.values()] + ["classes"]:
        if key in arrays and arrays[key].ndim != 1:
            raise DataError(f"{shown(path)}: {key} has shape {arrays[key].shape}; expected one entry an image, [N].")
    problems: list[str] = []
    images, tables = [], []
    for prefix, part in (("", "train"), ("test_", "test")):
        if f"{prefix}images" not in arrays:
            continue
        images.append(_as_images(arrays[f"{prefix}images"], f"{prefix}images", problems))
        columns: dict[str, pd.Series] = {}
        for column, key in ARRAYS.items():
            if prefix + key in arrays:
                columns[column] = pd.Series(_texts(arrays[prefix + key]), dtype=object)
                if len(columns[column]) != len(images[-1]):
                    kinds = f"{prefix}images and {len(columns[column]):,} {prefix}{key}".replace("_", " ")
                    problems.append(f"there are {len(images[-1]):,} {kinds}")
        tables.append(pd.DataFrame(columns).assign(part=part))
    rows = pd.concat(tables, ignore_index=True)
    if len(tables) == 1:
        rows["part"] = ""
    missing = [column for column in ARRAYS if column in rows and rows[column].isna().any()]
    problems += [
        f"{ARRAYS[key]}: {rows[key].isna().sum():,} images have none (see test_{ARRAYS[key]})" for key in missing
    ]
    rows = rows.dropna(subset=["label"]).fillna("").reset_index(drop=True)
    rows["where"] = rows["name"] = [f"row {row}" for row in range(len(rows))]
    if len({pictures.shape[1:] for pictures in images}) > 1:
        problems.append(f"test images are {images[1].shape[1:]}, training images {images[0].shape[1:]}")

    def read() -> Tensor:
        if problems:
            return torch.empty(0)
        together = np.concatenate(images)
        problems.extend(black(together))
        return torch.from_numpy(np.ascontiguousarray(together))

    classes = tuple(_texts(arrays["classes"])) if "classes" in arrays else ()
    numbers = np.issubdtype(arrays["labels"].dtype, np.integer)
    return Found(rows, "own arrays", read, numbers, classes, problems)


def _texts(names: np.ndarray) -> list[str]:
    return [composed(str(name)) for name in names.tolist()]


def _as_images(array: np.ndarray, key: str, problems: list[str]) -> np.ndarray:
    """uint8 [N, C, H, W] from the usual layouts."""
    array = array if array.ndim else array[None]
    if array.dtype != np.uint8:
        problems.append(f"{key} are {array.dtype}; expected uint8, 0 to 255")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        problems.append(f"{key} have shape {array.shape}; expected [N, H, W], [N, H, W, C] or [N, C, H, W], C 1 or 3")
    return array


def _of_dataset(dataset: Any, options: Options) -> Found:
    """A torch Dataset of (image, label). Its items are read here, each once, for their labels come with them; some are
    read again, for a Dataset that gives something else each time cannot be compared on. Raises: DataError for a Dataset
    without a length."""
    try:
        labels = ["0"] * len(dataset)
    except TypeError as error:
        kind = type(dataset).__name__
        raise DataError(f"{kind} has no length; a Dataset with len() and [index] is needed.") from error
    problems: list[str] = []
    where = [f"item {index}" for index in range(len(labels))]

    def open_one(index: int) -> Image.Image:
        image, labels[index] = _item(dataset, index)
        return image

    images = read_images(len(labels), open_one, where, options, problems)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    for index in [] if problems else order[:REREAD].tolist():
        image, label = _item(dataset, index)
        same = np.array_equal(pixels(image, options), images[index].permute(1, 2, 0).numpy())
        if not same or label != labels[index]:
            problems.append(
                f"item {index}: its {'label' if same else 'image'} is another one when it is read again; take random "
                "transforms out of the Dataset (the recipe augments): every model must see the same data"
            )
    rows = pd.DataFrame({"where": where, "name": where, "label": labels, "part": ""}, dtype=object)
    classes = tuple(composed(str(title)) for title in getattr(dataset, "classes", ()))
    numbers = all(text.isdecimal() for text in labels)
    return Found(rows, "own Dataset", lambda: images, numbers, classes, problems)


def _item(dataset: Any, index: int) -> tuple[Image.Image, str]:
    """Image and label of an item; tensors become images. Raises: ForgetError for what is neither."""
    image, label = dataset[index][:2]
    if isinstance(image, Tensor | np.ndarray):
        image = picture_of(np.asarray(image))
    if not isinstance(image, Image.Image):
        raise ForgetError(f"the image is a {type(image).__name__}; expected a PIL image or a tensor [C, H, W]")
    values = np.asarray(label)
    if values.size != 1:
        raise ForgetError(f"the label has {values.size} values; expected one number or name (of one-hot: argmax)")
    return image, composed(str(values.item()))


# --- what all forms have in common ------------------------------------------------------------------------------------


def _assembled(name: str, found: Found, options: Options) -> ImageData:
    """Reads the images, and splits them into the training pool and the test set. Raises: OwnDataError."""
    rows, problems = found.rows, found.problems
    titles = options.classes or found.classes
    labels_of = _labels(rows, titles, found.numbers, problems)
    classes = titles or tuple(labels_of)
    parts = set(rows["part"])
    if "train" in parts and "test" not in parts:
        problems.append("no image is in the test set; add some, or leave the parts out to have them drawn")
    images = found.read()
    if problems:
        raise OwnDataError(name, problems)
    labels = torch.tensor([labels_of[label] for label in rows["label"]])
    columns = [column for column in ("person", "family") if column in rows]
    pairs = same_pixels(images) if columns else NO_PAIRS
    linked = {column: link_names(rows[column], pairs) for column in columns}
    people, families = (linked[column].ids if column in linked else None for column in ("person", "family"))
    if not parts & {"train", "test"} and "person" in linked and len(linked["person"].names) == 1:
        advice = "leave the people out, or say which images are for the test (column part of a CSV)"
        raise OwnDataError(name, [f"all images are of one person, and nobody is left to test on; {advice}"])
    is_test = _test_rows(rows, labels, people, name, options.test)
    order = is_test.int().sort(stable=True).indices  # the training pool comes first
    files = tuple(rows["name"].iloc[order.numpy()])
    pool = len(files) - int(is_test.sum())
    arrays = {"images": images, "labels": labels, "people": people, "families": families}
    known = {key: values[order] for key, values in arrays.items() if values is not None}
    images, labels = known["images"], known["labels"]
    left = [title for index, title in enumerate(classes) if not (labels[:pool] == index).any()]
    if left:
        raise OwnDataError(name, [f"class {title!r} has images in the test set only" for title in left])
    groups = [half for key in ("people", "families") if key in known for half in known[key].tensor_split([pool])]
    return ImageData.split(
        is_test[order],
        known,
        name=name,
        title=name,
        drawn_as=name,
        classes=classes,
        source=found.source,
        checksum=checksum_of(images, labels, *groups),
        person_names=linked["person"].names if "person" in linked else (),
        family_names=linked["family"].names if "family" in linked else (),
        aliases={column: each.aliases for column, each in linked.items()},
        notes=(*_notes(name, images, labels, pool, classes, files), *_notes_of_linked(name, linked)),
        files=files[:pool],
        test_files=files[pool:],
    )


def _labels(rows: pd.DataFrame, titles: Sequence[str], numbers: bool, problems: list[str]) -> dict[str, int]:
    """The class of each label; labels beyond the classes and classes with too few images are added to `problems`.

    With `numbers` labels are positions in `titles`, and without these 0 to the largest.
    """
    counts = Counter(rows["label"])
    # Names that cannot be printed, such as escape sequences, would act on the terminal that shows them.
    odd = [title for title in (*counts, *titles) if not title.isprintable()]
    unusable = [f"class {title[:80]!r} has characters in its name that cannot be printed" for title in odd]
    twice = [title for title, number in Counter(titles).items() if number > 1]
    if twice:
        unusable.append(f"classes: {first_few(twice)} stands there twice")
    largest = max(map(int, counts), default=-1) if numbers and not titles else -1
    if largest >= len(rows):  # all classes in between might not fit in memory
        told = f"labels go up to {largest:,}, but there are {len(rows):,} images"
        unusable.append(f"{told}; number classes from 0 on")
    if unusable:
        problems += unusable
        return {}
    if numbers:
        known = [str(index) for index in range(len(titles) or largest + 1)]
    else:
        known = list(titles) or sorted(counts, key=_as_numbers)
    for where, label in zip(rows["where"], rows["label"], strict=True):
        if label not in known:
            problems.append(f"{where}: label {label!r} is beyond the classes ({', '.join((titles or known)[:20])})")
    for label, title in zip(known, titles or known, strict=True):
        if counts[label] < 2:
            number = "1 image" if counts[label] else "no image"
            problems.append(f"class {title!r} has {number}; at least 2 are needed, one to train on and one to test")
    if len(known) < 2:
        problems.append(f"there is {len(known) or 'no'} class; a classifier needs at least 2")
    return {label: index for index, label in enumerate(known)}


def _as_numbers(label: str) -> tuple[bool, int, str]:
    """Sorts numbers by size (10 after 2), and before all other names."""
    is_number = label.isdecimal()
    return not is_number, len(label.lstrip("0")) if is_number else 0, label


def _notes_of_linked(name: str, linked: Mapping[str, Linked]) -> list[str]:
    notes = []
    for column, found in linked.items():
        if found.aliases:
            notes.append(f"{len(found.aliases)} of the {column} names share an image with another one and count as one")
            other, head = next(iter(found.aliases.items()))
            print(f"{name}: {notes[-1]}, such as {other} with {head}: who asks to forget one forgets both.")
    return notes


def _test_rows(rows: pd.DataFrame, labels: Tensor, people: Tensor | None, name: str, share: float) -> Tensor:
    """bool [N]: the rows of the test set, as given, else drawn: a share of each class, or of the people where these are
    not the classes, since images of one person are alike."""
    if (rows["part"] == "test").any():
        return torch.from_numpy((rows["part"] == "test").to_numpy(copy=True))
    units, strata = torch.arange(len(labels)), labels
    if people is not None:
        pairs = torch.stack([labels, people]).unique(dim=1).shape[1]
        if not pairs == len(labels.unique()) == len(people.unique()):
            units, strata = people, torch.zeros_like(labels)
    seed = int.from_bytes(hashlib.sha256(f"test/{name}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for stratum in strata.unique():
        members = units[strata == stratum].unique()
        size = min(max(1, round(share * len(members))), len(members) - 1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:size]])
    return torch.isin(units, torch.cat(chosen))


def _notes(
    name: str, images: Tensor, labels: Tensor, pool: int, classes: Sequence[str], files: Sequence[str]
) -> tuple[str, ...]:
    """What a reader of results must know of the images; what may be a mistake is printed as well."""
    notes = []
    untested = [title for index, title in enumerate(classes) if not (labels[pool:] == index).any()]
    if untested:
        notes.append(f"no test image is of {first_few(untested)}")
    top = int(images.max())
    if top < DARK:
        notes.append(f"no value of any image is above {top} of 255: all are dark; if that is wrong, scale them")
        print(f"{name}: {notes[-1]}.")
    for note, example in copies(images, labels, pool, files):
        print(f"{name}: {note}, such as {example}.")
        notes.append(note)
    return tuple(notes)
