"""A user's own images, checked in full before anything trains: `own:PATH` wherever a data set is named.

PATH is one of
- a folder `class/file`, or `train/class/file` beside `test/class/file` (also `training` and `testing`);
- a CSV with the columns `path` (relative to it; also `file` or `filepath`) and `label`, and if wished `person`,
  `family` and `part` (train or test);
- an .npz with `images` (uint8 [N, H, W], [N, H, W, C] or [N, C, H, W]) and `labels`, and if wished `test_images`,
  `test_labels`, `classes`, `people`, `families`, `test_people`, `test_families`; pickled objects are refused;
- `package.module:function` or `path/file.py:function`, which returns a torch Dataset; it is code and must be trusted.

Options follow a question mark, `own:PATH?size=32&mode=grey`:
size: pixels, every image is resized to a square of it. mode: grey or rgb. test: share of each class (or of the people,
where a person has images of several classes or a class several people) that becomes the test set, in (0, 1); default
0.2. classes: names in order, separated by commas.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from forget_lib.core.errors import DataError, first_few
from forget_lib.core.names import OWN, composed, is_code, plain_name, short_name, split_options
from forget_lib.core.paths import locate, one_line, shown
from forget_lib.core.user_code import load_function, running
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.own_reading import (
    FORMATS,
    Options,
    OwnDataError,
    Rows,
    black,
    copies,
    fingerprint,
    list_csv,
    list_folder,
    read_dataset,
    read_images,
)
from forget_lib.datasets.stored import Arrays, read_cache, write_cache

CACHE_FROM = 1000
"""Folders and tables of fewer images are read anew each time, which takes less than a second."""


DARK = 64
"""Data of eight bits whose every value is below this are said to be dark."""


def write_folder(data: ImageData, folder: Path, each: int) -> Path:
    """Writes the first `each` training images of every class as PNGs, class/number.png, a folder as `own:` reads it."""
    for index, title in enumerate(data.classes):
        (folder / title).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(data.images[data.labels == index][:each]):
            Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()).save(
                folder / title / f"{number}.png"
            )
    return folder


def load_own(source: Any, *, test_source: Any = None, name: str = "", **options: Any) -> ImageData:
    """A user's own data as an `ImageData`.

    Args: source: a path, with options after a question mark (see the module's text), or a torch Dataset of (image,
        label). test_source: a Dataset for the test set. name: default: `names.short_name` of the source. options: size,
        mode, test, classes.
    Raises: OwnDataError with everything that is wrong, rows and files named; DataError, ForgetError.
    """
    if not isinstance(source, str | os.PathLike):
        return _from_dataset(source, test_source, name or type(source).__name__, Options.of(options))
    text = os.fspath(source).removeprefix(OWN)
    base, given = split_options(text)
    if is_code(base):
        function = load_function(base, "own data")
        with running(getattr(function, "code", None)):  # reading an image is code of the user's too
            data = load_own(function(), name=name or plain_name(OWN + text), **(given | options))
    else:
        data = read_own(source, name=name, **options)[0]
    known_as = name or short_name(OWN + text)
    return dataclasses.replace(data, name=known_as, title=known_as)


def read_own(source: str | os.PathLike, *, name: str = "", **options: Any) -> tuple[ImageData, tuple[str, ...]]:
    """As `load_own` for a path, and the path of each image of the training pool (for an .npz its row)."""
    text = os.fspath(source).removeprefix(OWN)
    base, given = split_options(text)
    chosen = Options.of(given | options)
    path = locate(base, "own data")
    name = name or plain_name(OWN + text)
    if path.suffix.lower() == ".npz":
        data = _from_npz(path, name, chosen)
        return data, data.files
    rows = list_folder(path) if path.is_dir() else list_csv(path)
    if not len(rows):
        raise OwnDataError(name, rows.problems or [f"{shown(path)} holds no images in folders of classes"])
    data = _from_files(path, name, rows, chosen)
    return data, tuple(os.path.join(data.folder, file) for file in data.files)


def cache_name(path: Path, options: Options) -> str:
    """Name of the cache of a folder's or a CSV's images; see `stored.cache_path`."""
    return f"{caches_of(path)}{options.size or 'any'}-{options.mode or 'any'}"


def caches_of(path: Path) -> str:
    """What the names of all caches of these images begin with, whatever the options."""
    return f"own-{short_name(f'{OWN}{path}')}-"


def _from_files(path: Path, name: str, rows: Rows, options: Options) -> ImageData:
    classes = _classes(rows.labels, rows.where, options, rows.problems)
    cache = cache_name(path, options)
    try:
        before = fingerprint(rows, options)
        kept = None if rows.problems else read_cache(cache)
    except DataError as error:
        print(f"{error} The images are read again.")
        kept = None
    except OSError as error:
        raise DataError(f"{name}: {one_line(error)}; the data are changing while they are read.") from error
    labels = torch.tensor([classes.index(label) if label in classes else 0 for label in rows.labels])
    people, person_names = _numbered(rows.people)
    families, family_names = _numbered(rows.families)
    test = _test_rows(rows.parts, labels, people, name, options)
    order = torch.cat([(~test).nonzero().flatten(), test.nonzero().flatten()])
    pool = int((~test).sum())
    if kept is not None and kept.origin == before:
        images = torch.cat([kept.images, kept.test_images])
    else:
        images = read_images(
            len(rows), lambda i: Image.open(rows.files[i], formats=FORMATS), rows.where, options, rows.problems
        )
        if rows.problems:
            raise OwnDataError(name, rows.problems)
        images = images[order]
        if _changed(rows, options, before):
            raise DataError(f"{name}: files changed while they were read; wait until nothing writes there, run again.")
        if len(rows) >= CACHE_FROM:
            parts = (images[:pool], labels[order][:pool], images[pool:], labels[order][pool:])
            write_cache(cache, Arrays(*parts), before)
    data = _image_data(
        name, "own files", images, labels[order], pool, classes, (people, person_names), (families, family_names),
        order, rows.names,
    )  # fmt: skip
    for note in rows.notes:
        print(f"{name}: {note}")
    return dataclasses.replace(data, folder=str(path if path.is_dir() else path.parent), caches=caches_of(path))


def _changed(rows: Rows, options: Options, before: str) -> bool:
    try:
        return fingerprint(rows, options) != before
    except OSError:
        return True


# --- arrays and Datasets ----------------------------------------------------------------------------------------------


def _from_npz(path: Path, name: str, options: Options) -> ImageData:
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
    problems: list[str] = []
    images, labels = _as_images(arrays["images"], "images", problems), arrays["labels"]
    for key in {"labels", "test_labels", "people", "families", "test_people", "test_families", "classes"} & set(arrays):
        if arrays[key].ndim != 1:
            raise DataError(f"{shown(path)}: {key} has shape {arrays[key].shape}; expected one entry an image, [N].")
    if len(images) != len(labels):
        problems.append(f"there are {len(images):,} images and {len(labels):,} labels")
    texts, parts = _texts(labels), [""] * len(labels)
    if "test_images" in arrays:
        more = _as_images(arrays["test_images"], "test_images", problems)
        more_labels = arrays.get("test_labels", np.zeros(0))
        if len(more) != len(more_labels):
            problems.append(f"there are {len(more):,} test images and {len(more_labels):,} test labels")
        if not problems and more.shape[1:] != images.shape[1:]:
            problems.append(f"test images are {more.shape[1:]}, training images {images.shape[1:]}")
        texts, parts = texts + _texts(more_labels), ["train"] * len(texts) + ["test"] * len(more)
        images = np.concatenate([images, more]) if not problems else images
    if "classes" in arrays and not options.classes:
        options = dataclasses.replace(options, classes=tuple(_texts(arrays["classes"])))
    groups = []
    for key, test_key in (("people", "test_people"), ("families", "test_families")):
        given = [text for k in (key, test_key) if k in arrays for text in _texts(arrays[k])]
        if given and len(given) != len(texts):
            problems.append(f"{key}: {len(given):,} entries for {len(texts):,} images (test_{key} for the test set)")
        groups.append(_numbered(given))
    problems += black(images) if not problems else []
    where = [f"row {row}" for row in range(len(texts))]
    numbers = np.issubdtype(labels.dtype, np.integer)
    classes = _classes(texts, where, options, problems, numbers=numbers)
    if problems:
        raise OwnDataError(name, problems)
    return _assembled(name, "own arrays", images, texts, parts, classes, groups, where, options)


def _texts(names: np.ndarray) -> list[str]:
    return [composed(str(name)) for name in names.tolist()]


def _assembled(
    name: str, source: str, images: np.ndarray, texts: Sequence[str], parts: Sequence[str], classes: Sequence[str],
    groups: Sequence[tuple[Tensor | None, tuple[str, ...]]], where: Sequence[str], options: Options,
) -> ImageData:  # fmt: skip
    place = {title: index for index, title in enumerate(classes)}
    labels = torch.tensor([place[text] if text in place else int(text) for text in texts])
    test = _test_rows(parts, labels, groups[0][0], name, options)
    order = torch.cat([(~test).nonzero().flatten(), test.nonzero().flatten()])
    pool = int((~test).sum())
    ordered = torch.from_numpy(np.ascontiguousarray(images))[order]
    return _image_data(name, source, ordered, labels[order], pool, classes, groups[0], groups[1], order, where)


def _as_images(array: np.ndarray, key: str, problems: list[str]) -> np.ndarray:
    """uint8 [N, C, H, W] from the usual layouts."""
    if array.dtype != np.uint8:
        problems.append(f"{key} are {array.dtype}; expected uint8, 0 to 255")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        problems.append(f"{key} have shape {array.shape}; expected [N, H, W], [N, H, W, C] or [N, C, H, W], C 1 or 3")
    return array


def _from_dataset(dataset: Any, test_dataset: Any, name: str, options: Options) -> ImageData:
    problems: list[str] = []
    images, labels = read_dataset(dataset, "item", options, problems)
    parts = [""] * len(labels)
    if test_dataset is not None:
        more, more_labels = read_dataset(test_dataset, "test item", options, problems)
        parts = ["train"] * len(labels) + ["test"] * len(more_labels)
        labels = labels + more_labels
        if more.shape[1:] != images.shape[1:]:
            problems.append(f"test images are {tuple(more.shape[1:])}, training images {tuple(images.shape[1:])}")
        images = torch.cat([images, more]) if not problems else images
    named = tuple(composed(str(title)) for title in getattr(dataset, "classes", ()))
    if named and not options.classes:
        options = dataclasses.replace(options, classes=named)
    where = [f"item {index}" for index in range(len(labels))]
    classes = _classes(labels, where, options, problems, numbers=all(text.isdigit() for text in labels))
    if problems:
        raise OwnDataError(name, problems)
    none = (None, ())
    return _assembled(name, "own Dataset", images.numpy(), labels, parts, classes, (none, none), where, options)


# --- classes, people, parts -------------------------------------------------------------------------------------------


def _classes(
    labels: Sequence[str], where: Sequence[str], options: Options, problems: list[str], *, numbers: bool = False
) -> tuple[str, ...]:
    """Names of the classes; labels beyond them and classes with too few images are added to `problems`.

    With `numbers` labels are positions in `options.classes`, and without these 0 to the largest.
    """
    counts = Counter(labels)
    odd = [title for title in (*counts, *options.classes) if not title.isprintable()]
    if odd:  # such as escape sequences, which would act on the terminal that shows them
        problems += [f"class {title[:80]!r} has characters in its name that cannot be printed" for title in odd]
        return ()
    twice = [title for title, number in Counter(options.classes).items() if number > 1]
    if twice:
        problems.append(f"classes: {first_few(twice)} stands there twice")
        return ()
    if numbers:
        largest = max(map(int, counts), default=-1)
        if not options.classes and largest >= len(labels):  # all classes in between might not fit in memory
            found = f"labels go up to {largest:,}, but there are {len(labels):,} images"
            problems.append(f"{found}; number classes from 0 on")
            return ()
        known = [str(index) for index in range(len(options.classes) or largest + 1)]
    else:
        known = list(options.classes) or sorted(
            counts, key=lambda label: (not label.isdecimal(), len(label.lstrip("0")) if label.isdecimal() else 0, label)
        )
    beyond = set(counts) - set(known)
    if beyond:
        names = ", ".join(options.classes[:20] or known[:20])
        problems += [
            f"{w}: label {label!r} is beyond the classes ({names})"
            for w, label in zip(where, labels, strict=False)
            if label in beyond
        ]
    for label in known:
        if counts[label] < 2:
            title = options.classes[int(label)] if numbers and options.classes else label
            number = "1 image" if counts[label] else "no image"
            problems.append(f"class {title!r} has {number}; at least 2 are needed, one to train on and one to test")
    if len(known) < 2:
        problems.append(f"there is {len(known) or 'no'} class; a classifier needs at least 2")
    return options.classes or tuple(known)


def _numbered(names: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Ids int64 [N] and the names that they stand for; None where there are none."""
    if not names:
        return None, ()
    known = sorted(set(names))
    place = {name: index for index, name in enumerate(known)}
    return torch.tensor([place[name] for name in names]), tuple(known)


def _is_one_to_one(first: Tensor, second: Tensor) -> bool:
    """Whether each label is one person and each person one label: then the people are the classes."""
    pairs = torch.stack([first, second]).unique(dim=1).shape[1]
    return pairs == len(first.unique()) == len(second.unique())


def _test_rows(parts: Sequence[str], labels: Tensor, people: Tensor | None, name: str, options: Options) -> Tensor:
    """bool [N]: the rows of the test set, as given, else drawn: a share of each class, or of the people where these are
    not the classes, since images of one person are alike."""
    if "test" in parts:
        return torch.tensor([part == "test" for part in parts])
    if "train" in parts:
        raise OwnDataError(name, ["no image is in the test set; add some, or leave the parts out to have them drawn"])
    units, strata = torch.arange(len(labels)), labels
    if people is not None and not _is_one_to_one(labels, people):
        units, strata = people, torch.zeros_like(labels)
        if len(people.unique()) < 2:
            advice = "leave the people out, or say which images are for the test (column part of a CSV)"
            raise OwnDataError(name, [f"all images are of one person, and nobody is left to test on; {advice}"])
    seed = int.from_bytes(hashlib.sha256(f"test/{name}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for stratum in strata.unique():
        members = units[strata == stratum].unique()
        size = min(max(1, round(options.test * len(members))), len(members) - 1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:size]])
    return torch.isin(units, torch.cat(chosen))


def _image_data(
    name: str, source: str, images: Tensor, labels: Tensor, pool: int, classes: Sequence[str],
    people: tuple[Tensor | None, tuple[str, ...]], families: tuple[Tensor | None, tuple[str, ...]], order: Tensor,
    files: Sequence[str],
) -> ImageData:  # fmt: skip
    groups: dict[str, Tensor] = {}
    for key, (ids, _) in (("people", people), ("families", families)):
        if ids is not None:
            groups |= {key: ids[order][:pool], f"test_{key}": ids[order][pool:]}
    left = [title for index, title in enumerate(classes) if not (labels[:pool] == index).any()]
    if left:
        raise OwnDataError(name, [f"class {title!r} has images in the test set only" for title in left])
    ordered = [files[i] for i in order.tolist()]
    untested = [title for index, title in enumerate(classes) if not (labels[pool:] == index).any()]
    notes = [f"no test image is of {first_few(untested)}"] if untested else []
    top = int(images.max())
    if top < DARK:
        notes.append(f"no value of any image is above {top} of 255: all are dark; if that is wrong, scale them")
        print(f"{name}: {notes[-1]}.")
    for note, example in copies(images, labels, pool, ordered):
        print(f"{name}: {note}, such as {example}.")
        notes.append(note)
    return ImageData(
        name=name,
        title=name,
        drawn_as=name,
        images=images[:pool],
        labels=labels[:pool],
        test_images=images[pool:],
        test_labels=labels[pool:],
        classes=tuple(classes),
        source=source,
        checksum=checksum_of(images, labels, *groups.values()),
        person_names=people[1],
        family_names=families[1],
        notes=tuple(notes),
        files=tuple(ordered[:pool]),
        test_files=tuple(ordered[pool:]),
        **groups,
    )
