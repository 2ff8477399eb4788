"""What a user's own files hold, read and checked: rows of folders and CSVs, pixels of images, items of Datasets."""

import csv
import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from forget_lib.core.errors import DataError, ForgetError, first_few, meant, unknown
from forget_lib.core.names import composed
from forget_lib.core.paths import one_line, shown
from forget_lib.datasets.pixels import is_deep, largest, plain_picture

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
MODES = {"grey": "L", "rgb": "RGB"}
SHOWN = 40
"""Problems written out in a message; the others are counted, and all stand in the error's `problems`."""
LONGEST = 300
"""Characters of a problem that are shown."""
FRAMED = ("GIF", "TIFF", "PNG", "WEBP")
"""Formats of which a file may hold several pictures that are no thumbnails of the first."""
READER = 3
"""Goes up when other pixels are read from the same files, so that a cache is made again."""
REREAD = 200
"""Items of a torch Dataset that are read a second time."""
COLUMNS = ("path", "label")
PATHS = ("file", "filepath", "file_path", "filename", "image", "image_path")
"""What the column `path` is called as well."""
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
"""Folders of folders of classes, and the part that they stand for."""


class OwnDataError(DataError):
    """Everything that is wrong with a data set, at once. `problems`: one line each, with row and file."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        left = len(problems) - SHOWN
        lines = [
            *(_printable(line) for line in problems[:SHOWN]),
            *([f"… and {left:,} more like these"] if left > 0 else []),
        ]
        count = f"{len(problems):,} problem{'s' if len(problems) != 1 else ''}"
        super().__init__(f"{name}: {count}; nothing was trained.\n" + "\n".join(f"- {line}" for line in lines))


def _printable(line: str) -> str:
    """A line without what would act on a terminal, and not longer than a screen: it holds names from outside."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


@dataclass(frozen=True)
class Options:
    """What may follow the question mark; see the module's text."""

    size: int | None = None
    mode: str | None = None
    test: float = 0.2
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Options":
        """Checked options. Raises: UnknownNameError, ForgetError."""
        for name in given:
            if name not in [each.name for each in dataclasses.fields(cls)]:
                raise unknown("option of own data", name, [each.name for each in dataclasses.fields(cls)])
        classes = given.get("classes", ())
        classes = classes.split(",") if isinstance(classes, str) else [classes] if isinstance(classes, int) else classes
        if not isinstance(classes, list | tuple) or any(
            isinstance(each, bool) or not isinstance(each, str | int) for each in classes
        ):
            raise ForgetError(f"classes is {given['classes']!r}; expected names in order, classes=cat,dog.")
        options = cls(**(given | {"classes": tuple(composed(str(each)).strip() for each in classes)}))
        if options.mode is not None and options.mode not in MODES:
            raise unknown("mode", options.mode, MODES)
        if options.size is not None and not (type(options.size) is int and 1 <= options.size <= 4096):
            raise ForgetError(
                f"size is {options.size!r}{meant(options.size)}; it must be a whole number of pixels, 1 to 4096."
            )
        if not isinstance(options.test, int | float) or not 0 < options.test < 1:
            raise ForgetError(
                f"test is {options.test!r}{meant(options.test)}; the share of the test set lies between 0 and 1."
            )
        return options


@dataclass
class Rows:
    """What was found before pixels are read, one entry an image: where (for messages), name within the folder, file,
    label, part, person, family; and what is wrong, and what is to be said of it."""

    where: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


# --- what there is ----------------------------------------------------------------------------------------------------


def _visible(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def list_folder(path: Path) -> Rows:
    """The images of a folder `class/file`, or of `train/class/file` and `test/class/file`, by name; what lies elsewhere
    is in `problems`, and files that were left out beside train and test in `notes`."""
    rows, entries = Rows(), _visible(path)
    inside = {entry.name: _visible(Path(entry.path)) for entry in entries if entry.is_dir()}
    deeper = [name for name, found in inside.items() if any(each.is_dir() for each in found)]
    parts = {name: PARTS[name.lower()] for name in sorted(inside, reverse=True) if name.lower() in PARTS}
    if sorted(parts.values()) == ["test", "train"] and set(parts) & set(deeper):
        files = [entry.name for entry in entries if not entry.is_dir()]
        rows.notes += [f"left out beside {' and '.join(parts)}: {first_few(files)}."] if files else []
        others = [name for name in inside if name not in parts]
        rows.problems += [f"{name}: a folder beside {' and '.join(parts)}; move it elsewhere" for name in others]
        for name, part in parts.items():
            for entry in inside[name]:
                _add_class(rows, f"{name}/{entry.name}", part, entry)
        return rows
    without_images = [name for name in deeper if all(each.is_dir() for each in inside[name])]
    if without_images:
        rows.problems.append(
            f"{first_few(without_images)}: holds folders and no images; expected class/file, or train/class/file "
            "beside test/class/file. Rename what is called otherwise, or give the path of the folder of classes"
        )
    for entry in entries:
        if entry.name not in without_images:
            _add_class(rows, entry.name, "", entry)
    return rows


def _add_class(rows: Rows, where: str, part: str, entry: os.DirEntry) -> None:
    if not entry.is_dir():
        rows.problems.append(f"{where}: lies beside the folders of classes; expected class/file")
        return
    files = _visible(Path(entry.path))
    if not files:
        rows.problems.append(f"{where}: is an empty folder; put images of this class there, or remove it")
    for file in files:
        name = f"{where}/{file.name}"
        if file.is_dir():
            rows.problems.append(f"{name}: is a folder; expected class/file, no deeper")
            continue
        rows.where.append(name)
        rows.names.append(name)
        rows.files.append(Path(file.path))
        rows.labels.append(composed(entry.name))
        rows.parts.append(part)


def list_csv(path: Path) -> Rows:
    """The images that a CSV names, in its order, with labels and the columns that are optional; every row that cannot
    be taken is in `problems`, with its number."""
    rows, seen, family_of = Rows(), {}, {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = _columns(reader.fieldnames or [])
            reader.fieldnames = columns
            missing = [column for column in COLUMNS if column not in columns]
            if missing:
                hint = " It seems to be separated by semicolons; commas are expected." if ";" in str(columns) else ""
                there = _printable(", ".join(columns)) or "none"
                raise DataError(
                    f"{shown(path)} has no column {' and no column '.join(missing)}; it has: {there}. "
                    f"Columns: path, label, and if wished person, family, part.{hint}"
                )
            for row in reader:
                _add_csv_row(rows, path, reader.line_num, row, columns, seen, family_of)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(path)} cannot be read as a CSV in UTF-8: {one_line(error)}.") from error
    return rows


def _columns(given: Sequence[str]) -> list[str]:
    """The head of a CSV in small letters, with a column `path` where one that is called otherwise must be it."""
    columns = [column.strip().lower() for column in given]
    twice = [column for column, number in Counter(columns).items() if number > 1]
    if twice:
        raise DataError(f"The column {_printable(first_few(twice))} stands twice in the head of the CSV.")
    paths = [column for column in columns if column in PATHS]
    if "path" in columns or len(paths) != 1:
        return columns
    return ["path" if column == paths[0] else column for column in columns]


def _add_csv_row(
    rows: Rows, path: Path, line: int, row: dict, columns: list[str], seen: dict[str, int], family_of: dict[str, str]
) -> None:
    too_many = None in row
    row = {column: (row.get(column) or "").strip() for column in columns}
    file, where = row["path"], f"row {line}" + (f" ({row['path']})" if row["path"] else "")
    file = os.path.normpath(file) if file else ""  # ./a.png is a.png
    found = [f"{where}: {column} is empty" for column in (*COLUMNS, "person", "family") if row.get(column, "x") == ""]
    if file and seen.setdefault(file, line) != line:
        found.append(f"{where}: the same file stands in row {seen[file]}")
    if file and not (path.parent / file).is_file():
        found.append(f"{where}: there is no such file beside the CSV")
    if too_many:
        found.append(f"{where}: has more fields than the head has columns")
    if row.get("part", "train") not in ("train", "test"):
        found.append(f"{where}: part is {row['part']!r}; expected train or test")
    person, family = composed(row.get("person", "")), composed(row.get("family", ""))
    if person and family_of.setdefault(person, family) != family:
        found.append(f"{where}: {person!r} is of family {family!r} here and of {family_of[person]!r} before")
    rows.problems += found
    if found:
        return
    rows.where.append(where)
    rows.names.append(file)
    rows.files.append(path.parent / file)
    rows.labels.append(composed(row["label"]))
    rows.parts.append(row.get("part", ""))
    if "person" in columns:
        rows.people.append(person)
    if "family" in columns:
        rows.families.append(family)


# --- pixels -----------------------------------------------------------------------------------------------------------


def fingerprint(rows: Rows, options: Options) -> str:
    """SHA-256 over what would change if a file did: names, sizes and times, labels, parts and the options."""
    digest = hashlib.sha256(repr((READER, options, rows.labels, rows.parts, rows.people, rows.families)).encode())
    for where, file in zip(rows.where, rows.files, strict=True):
        found = os.stat(file)
        digest.update(f"{where}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def pixels(image: Image.Image, options: Options) -> np.ndarray:
    """uint8 [H, W, C] of an opened image, converted and resized as the options say."""
    image = plain_picture(image)
    if options.mode is not None:
        image = image.convert(MODES[options.mode])
    if options.size is not None and image.size != (options.size, options.size):
        image = image.resize((options.size, options.size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def _describe(image: Image.Image, options: Options, array: np.ndarray) -> str:
    mode = MODES.get(options.mode or "", image.mode)
    return f"{array.shape[1]} × {array.shape[0]} pixels, mode {mode}"


def read_images(
    count: int, open_one: Callable[[int], Image.Image], where: Sequence[str], options: Options, problems: list[str]
) -> Tensor:
    """Reads `count` images into uint8 [N, C, H, W]; what cannot be read or differs is added to `problems`."""
    from tqdm.auto import tqdm

    stack: np.ndarray | None = None
    kinds: dict[str, list[int]] = {}
    deepest: dict[str, float] = {}
    for index in tqdm(range(count), desc="reading images", unit="image", leave=False):
        try:
            with open_one(index) as image:
                if image.format in FRAMED and getattr(image, "is_animated", False):
                    problems.append(f"{where[index]}: holds several pictures; save each as a file of its own")
                    continue
                array = pixels(image, options)
                kind = _describe(image, options, array)
                if is_deep(image):
                    deepest[image.mode] = max(deepest.get(image.mode, 0), image.getextrema()[1])
        except UnidentifiedImageError:
            problems.append(f"{where[index]}: is no image that can be read ({', '.join(FORMATS)})")
            continue
        except Exception as error:  # a damaged file makes Pillow raise almost anything
            reason = str(error) if isinstance(error, ForgetError) else one_line(error)
            problems.append(f"{where[index]}: cannot be read as an image ({reason})")
            continue
        kinds.setdefault(kind, []).append(index)
        if stack is None:
            stack = np.zeros((count, *array.shape), np.uint8)
        if array.shape == stack.shape[1:] and array.dtype == np.uint8:
            stack[index] = array
    problems += _mixed(kinds, where)
    dark = {mode: top for mode, top in deepest.items() if top < largest(mode) / 4}
    for mode, top in dark.items():
        what = f"float values, but none is above {top:g}" if mode == "F" else f"16 bits, but no value is above {top:,}"
        problems.append(f"{what}: all would be dark; save them with 8 bits")
    if stack is None:
        return torch.zeros(0, 1, 1, 1, dtype=torch.uint8)
    problems += [] if dark or problems else black(stack)
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def black(images: np.ndarray) -> list[str]:
    """What is wrong with images uint8 that hold zeros and ones only."""
    if images.max(initial=0) > 1:
        return []
    return ["no value of any image is above 1: of 0 to 255 they would be nearly black; multiply the images by 255"]


def _mixed(kinds: dict[str, list[int]], where: Sequence[str]) -> list[str]:
    """One line for what most images are, and one for each image that is something else."""
    found = []
    strange = [kind for kind in kinds if not kind.endswith(("mode L", "mode RGB"))]
    if strange:
        found.append(f"images are {strange[0]}; L and RGB are taken as they are, else add ?mode=grey or ?mode=rgb")
    if len(kinds) > 1:
        common = max(kinds, key=lambda kind: len(kinds[kind]))
        counts = "; ".join(f"{len(kinds[kind]):,} of {kind}" for kind in sorted(kinds, key=lambda k: -len(kinds[k])))
        advice = "add ?size=32 to resize all, ?mode=grey or ?mode=rgb to convert all (both: ?size=32&mode=rgb)"
        found.append(f"sizes or modes are mixed: {counts}; {advice}")
        found += [f"{where[i]}: {kind}, most are {common}" for kind in kinds if kind != common for i in kinds[kind]]
    return found


def copies(images: Tensor, labels: Tensor, pool: int, names: Sequence[str]) -> list[tuple[str, str]]:
    """What is to be said of images whose pixels are the same to the bit, each with an example by name.

    Args: images: of the training pool, then from index `pool` on of the test set. names: one an image, for examples.
    """
    first_of: dict[bytes, int] = {}
    pairs = []
    for index, image in enumerate(images.numpy()):
        first = first_of.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), index)
        if first != index:
            pairs.append((first, index))
    kinds = {
        "exact copies of training images in the test set, which the model saw": lambda a, b: a < pool <= b,
        "exact copies within the training images, of which one may be held out while the other is trained on": (
            lambda a, b: b < pool
        ),
        "exact copies of an image under two classes": lambda a, b: labels[a] != labels[b],
    }
    notes = []
    for what, belongs in kinds.items():
        found = [pair for pair in pairs if belongs(*pair)]
        if found:
            first, copy = found[0]
            notes.append((f"{what}: {len(found):,}", f"{names[copy]} and {names[first]}"))
    return notes


# --- torch Datasets ---------------------------------------------------------------------------------------------------


def item(dataset: Any, index: int) -> tuple[Image.Image, str]:
    """Image and label of an item; tensors become images.

    Raises: ForgetError for what is neither.
    """
    image, label = dataset[index][:2]
    if isinstance(image, Tensor | np.ndarray):
        image = _picture_of(np.asarray(image))
    if not isinstance(image, Image.Image):
        raise ForgetError(f"the image is a {type(image).__name__}; expected a PIL image or a tensor [C, H, W]")
    if np.size(np.asarray(label)) != 1:
        raise ForgetError(
            f"the label has {np.size(np.asarray(label))} values; expected one number or name (of one-hot: argmax)"
        )
    return image, composed(str(label.item() if isinstance(label, Tensor | np.ndarray) else label))


def _picture_of(values: np.ndarray) -> Image.Image:
    """An array [H, W], [C, H, W] or [H, W, C] as an image. Raises: ForgetError for values of an unknown range."""
    if np.issubdtype(values.dtype, np.floating):
        if not 0 <= values.min() <= values.max() <= 1:
            raise ForgetError("float values outside 0 to 1; give the images before they are normalised")
        values = (values * 255).round().astype(np.uint8)
    if values.ndim == 3:
        values = values.transpose(1, 2, 0) if values.shape[0] in (1, 3) else values
        values = values[:, :, 0] if values.shape[2] == 1 else values
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype not in (np.uint8, np.uint16) or (values.dtype == np.uint16 and values.ndim == 3):
        if not 0 <= values.min() <= values.max() <= 255:
            raise ForgetError(f"{values.dtype} values from {values.min()} to {values.max()}; expected 0 to 255")
        values = values.astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values))


def read_dataset(dataset: Any, word: str, options: Options, problems: list[str]) -> tuple[Tensor, list[str]]:
    """Images uint8 [N, C, H, W] and labels as text of a torch Dataset of (image, label), each read once; some are read
    again, for a Dataset that gives something else each time cannot be compared on. word: for messages, with the index.

    What cannot be taken is added to `problems`. Raises: DataError for a Dataset without a length.
    """
    try:
        size = len(dataset)
    except TypeError as error:
        raise DataError(
            f"{type(dataset).__name__} has no length; a Dataset with len() and [index] is needed."
        ) from error
    labels = ["0"] * size

    def open_one(index: int) -> Image.Image:
        image, labels[index] = item(dataset, index)
        return image

    where = [f"{word} {index}" for index in range(size)]
    images = read_images(size, open_one, where, options, problems)
    again = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:REREAD].tolist() if not problems else []
    for index in again:
        image, label = item(dataset, index)
        same = np.array_equal(pixels(image, options), images[index].permute(1, 2, 0).numpy())
        if not same or label != labels[index]:
            what = "image" if not same else "label"
            problems.append(
                f"{word} {index}: its {what} is another one when it is read again; take random transforms out of "
                "the Dataset (the recipe's augmentation does that), every model must see the same data"
            )
    return images, labels
