"""What is to be forgotten, and the six disjoint sets that follow from it (forget, retain, validation, unseen,
population, test)."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

import torch
import yaml
from torch import Tensor

from forget_lib.core.errors import ForgetError, UnknownNameError, first_few, unknown
from forget_lib.core.names import composed, listed_request
from forget_lib.datasets.image_data import ImageData

NAMED = {"class": "classes", "person": "person_names", "family": "family_names"}
"""Kinds of request whose members are names, and the attribute of the data that holds all of them."""
IDS = {"class": "labels", "person": "people", "family": "families"}
"""The same kinds, and the attribute with the place of each image's name among them."""
LARGEST_FILE = 50_000_000
"""Bytes of a file of indices: several million of them."""
HELD_OUT = ("validation", "unseen", "population")


@dataclass(frozen=True)
class Request:
    """A request to forget, such as `class:5,7`, `random:0.1` or `person:*20`.

    Attributes:
        kind: class, random, mislabelled, indices, person, family or official.
        members: classes, people or families by name, or sample indices; `count` of them are drawn where it is given.
        fraction: share of the training set, in (0, 1), for random and mislabelled.
        written: what stood after the colon where that may be one name as well, such as `Doe, Jane` or `*3`.
    """

    kind: str
    members: tuple[str, ...] = ()
    fraction: float | None = None
    count: int | None = None
    written: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """A name for folders and tables: letters, digits and . + - only."""
        if self.fraction is not None:
            return f"{self.kind}-{self.fraction:g}"
        if self.count is not None:
            return f"{self.kind}-any{self.count}"
        text = "+".join(map(_plain, self.members))
        if self.kind == "indices" or len(text) > 60:
            text = f"{len(self.members)}-{_digest(','.join(each.replace(',', ',,') for each in self.members), 8)}"
        return f"{self.kind}-{text}"

    @property
    def original_name(self) -> str:
        """Requests with the same value share one original model, since they share the training set and its labels."""
        if self.kind in ("class", "random"):
            return "all"
        return f"all-by-{self.kind}" if self.kind in ("person", "family") else f"all-with-{self.name}"


def _plain(name: str) -> str:
    """A name for folders, with a digest where it loses a character or could be taken for a number drawn: no two names
    share a folder."""
    text = "".join(c if c.isalnum() or c in ".-_" else "_" for c in name)
    if text == name and not re.fullmatch(r"any\d+", name):
        return text
    return f"{text}-{_digest(name, 6)}"


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def request_for(data: ImageData, kind: str, names: Sequence[str]) -> str:
    """The text of a request for exactly these classes, people or families, as short as the other names allow."""
    text = f"{kind}:{','.join(names)}"
    with suppress(ForgetError):
        if resolve(data, parse_request(text)).members == tuple(names):
            return text
    return listed_request(kind, names)


def parse_request(text: str) -> Request:
    """Reads `kind:what`.

    `class:5,7`, `class:airplane` or `class:*5` (five drawn), `random:0.1`, `mislabelled:0.1`, `indices:3,17` or
    `indices:@file` (one a line),
    `person:NAME,…`, `family:NAME,…`, or `person:*20` for 20 drawn at random; `official:list` for what the benchmark
    of the data set forgets. Names that hold commas stand in a list, `person:["Doe, Jane", Ann]`; one alone is found
    without (see `resolve`).
    Raises: ForgetError (UnknownNameError for a kind that does not exist) that says what was expected.
    """
    kind, _, what = text.strip().partition(":")
    if kind not in KINDS:
        raise unknown("kind of request", kind, KINDS)
    if not what:
        raise ForgetError(f"Request {text!r} does not say what to forget; write for example class:5 or random:0.1.")
    try:
        return READERS[kind](kind, what)
    except ValueError as error:
        raise ForgetError(f"Request {text[:200]!r}: {error}.") from error


def _read_share(kind: str, what: str) -> Request:
    with suppress(ValueError):
        if 0 < float(what) < 1:
            return Request(kind, fraction=float(what))
    raise ValueError("the fraction must be a number between 0 and 1, both excluded")


def _read_indices(kind: str, what: str) -> Request:
    if what.startswith("@"):
        try:
            with open(what[1:], encoding="utf-8-sig") as file:
                what = ",".join(file.read(LARGEST_FILE).split())
        except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a name that no file can have
            raise ValueError(f"cannot read the file of indices ({error})") from error
    members = _parts(what)
    if not all(map(_is_number, members)):
        raise ValueError("indices are whole numbers from 0 on, separated by commas")
    return _listing(kind, (str(int(member)) for member in members), what)  # 03 is 3


def _read_official(kind: str, what: str) -> Request:
    if what != "list":
        raise ValueError("there is one published list; write official:list")
    return Request(kind, ("list",))


def _read_names(kind: str, what: str) -> Request:
    what = composed(what)
    if what.startswith("*"):
        if not _is_number(what[1:]) or int(what[1:]) < 1:
            raise ValueError(
                "*N draws N classes, people or families; write for example person:*20. A name that begins with a star "
                f'stands in a list, {kind}:["{what}"]'
            )
        return Request(kind, count=int(what[1:]), written=what)
    names = None
    if what.startswith("[") and what.endswith("]"):
        with suppress(yaml.YAMLError, RecursionError):
            names = yaml.load(what, Loader=yaml.BaseLoader)  # builds text, lists and dictionaries only
    if names is None or not all(isinstance(name, str) for name in names):
        names = _parts(what)
    return _listing(kind, filter(None, names), what)


def _listing(kind: str, members: Iterable[str], what: str) -> Request:
    unique = tuple(dict.fromkeys(members))
    if not unique:
        raise ValueError("it names nothing to forget")
    return Request(kind, unique, written=what.strip())


def _parts(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


READERS = dict.fromkeys(NAMED, _read_names) | dict.fromkeys(("random", "mislabelled"), _read_share)
READERS |= {"indices": _read_indices, "official": _read_official}
KINDS = tuple(READERS)


def resolve(data: ImageData, request: Request) -> Request:
    """The request with the data's own names: what is written as a whole where that is a name, else each part.

    A number is the name that equals it, `3` for 003. Where no name is a number it is the position of a class. A person
    or family who shares an image with another goes by the name of both.
    Raises: UnknownNameError with all names that do not exist; ForgetError for text that could mean several things.
    """
    also = data.aliases.get(request.kind, {})
    names = (*getattr(data, NAMED[request.kind]), *also) if request.kind in NAMED else ()
    if request.written in names:
        return replace(request, members=(also.get(request.written, request.written),), count=None)
    if not names or request.count is not None:
        return request
    text = "" if request.written.startswith("[") else f",{','.join(_parts(request.written))},"
    whole = [name for name in names if "," in name and f",{','.join(_parts(name))}," in text]
    if whole:
        advice = f'{whole[0]!r} is one name. Write names in a list: {request.kind}:["{whole[0]}"]'
        raise ForgetError(f"Request {request.kind}:{request.written}: {advice}.")
    found = [_name(names, member, request.kind) for member in request.members]
    missing = [member for member, name in zip(request.members, found, strict=True) if name is None]
    if missing:
        raise unknown(f"{request.kind} of {data.name}", missing, names)
    members = (also.get(name, name) for name in found if name is not None)
    return replace(request, members=tuple(dict.fromkeys(members)))


def _name(names: Sequence[str], member: str, kind: str) -> str | None:
    """The name that is meant by a member of a request; a position stays as it is written. None: there is no such."""
    if member in names:
        return member
    number = _number(member)
    numbers = {name: _number(name) for name in names} if number is not None else {}
    equal = [name for name, value in numbers.items() if value is not None and value == number]
    if len(equal) > 1:
        raise ForgetError(f"The {kind} {member} could be any of {first_few(equal)}; write the name as it is.")
    if equal:
        return equal[0]
    is_position = kind == "class" and _is_number(member) and int(member) < len(names)
    return member if is_position and not any(value is not None for value in numbers.values()) else None


def _number(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text) else None


def _is_number(text: str) -> bool:
    """Whether a text is a whole number from 0 on that fits into an int64 (superscripts are digits to `isdigit`)."""
    return text.isascii() and text.isdigit() and len(text) <= 18


@dataclass(frozen=True)
class Sets:
    """Indices into the training pool, int64, disjoint and together covering it, and the labels to train with.

    `labels` (int64 [N]) differs from the data set's own only for a `mislabelled` request.
    """

    forget: Tensor
    retain: Tensor
    validation: Tensor
    unseen: Tensor
    population: Tensor
    labels: Tensor

    @property
    def trained(self) -> Tensor:
        """D: what the original model is trained on, forget and retain together, sorted."""
        return torch.cat([self.forget, self.retain]).sort().values


def draw_sets(data: ImageData, request: Request, draw: int = 0) -> Sets:
    """Draws the six sets of EVALUATION.md 0; the test set is the data set's own.

    Held-out sets come first and depend on the draw alone, so that requests of one draw share the training set. They are
    stratified by class or, for a person or family request, made of whole people or families, since only people whom
    the model never saw are exchangeable with a forgotten person. Unseen samples that do not match the forget set (other
    classes) join the population.
    Raises: ForgetError for members that do not exist, or a request that would forget nothing or everything.
    """
    request = resolve(data, request)
    name = data.drawn_as or data.name
    generator = torch.Generator().manual_seed(_seed("held out", name, draw))
    listed = _listed(data, request)
    groups = _groups(data, request)
    held = _hold_out(data, groups, listed, generator)
    trained = torch.ones(len(data.labels), dtype=torch.bool)
    trained[torch.cat(list(held.values()))] = False
    pool = trained.nonzero().flatten()

    generator.manual_seed(_seed("forget", name, request.name, draw))
    labels = data.labels.clone()
    unseen = held["unseen"]
    matches = torch.ones(len(unseen), dtype=torch.bool)
    if request.fraction is not None:
        forget = _stratified(pool, labels, request.fraction, generator)
    elif request.kind == "class":
        gone = torch.isin(labels, torch.tensor(requested_classes(data, request, draw)))
        forget, matches = pool[gone[pool]], gone[unseen]
    elif request.kind == "indices":
        forget, matches = listed, torch.isin(labels[unseen], labels[listed])
    else:
        forget = listed
        if groups is not None and request.kind != "official":
            forget = pool[torch.isin(groups[pool], _members(data, request, groups[pool], generator))]
        # Matched people are alike in class, and in sex where it is known.
        strata = data.labels if data.sexes is None else 3 * data.labels + data.sexes
        matches = _matched(strata, forget, unseen, generator)
    if request.kind == "mislabelled":
        for part in (forget, unseen):
            shift = torch.randint(1, len(data.classes), (len(part),), generator=generator)
            labels[part] = (labels[part] + shift) % len(data.classes)
    retain = pool[~torch.isin(pool, forget)]
    if len(forget) == 0 or len(retain) == 0:
        what = "nothing" if len(forget) == 0 else "the whole training set"
        raise ForgetError(
            f"Request {request.name} on {data.name} would forget {what} "
            f"({len(pool)} training samples); ask for another part."
        )
    population = torch.cat([held["population"], unseen[~matches]]).sort().values
    return Sets(forget, retain, held["validation"], unseen[matches], population, labels)


def requested_classes(data: ImageData, request: Request, draw: int = 0) -> tuple[int, ...]:
    """Indices of the classes that a class request takes away, drawn where it gives a number; empty for other requests.
    Raises: UnknownNameError for a class that does not exist; ForgetError for more classes than there are."""
    if request.kind != "class":
        return ()
    request = resolve(data, request)
    if request.count is None:
        return tuple(class_index(data, member) for member in request.members)
    if request.count >= len(data.classes):
        raise ForgetError(f"{request.name}: {data.name} has only {len(data.classes)} classes; ask for fewer.")
    generator = torch.Generator().manual_seed(_seed("classes", data.drawn_as or data.name, request.name, draw))
    return tuple(sorted(torch.randperm(len(data.classes), generator=generator)[: request.count].tolist()))


def class_index(data: ImageData, member: str) -> int:
    """Index of a class given by name, or by its position where no name is a number. Raises: UnknownNameError that lists
    the classes."""
    (name,) = resolve(data, Request("class", (member,))).members
    return data.classes.index(name) if name in data.classes else int(name)


def forgotten_words(data: ImageData, request: Request, sets: Sets) -> str:
    """Index and name of everything that goes, the first few of many; images without a name are counted."""
    names: Sequence[str] = ()
    indices = sets.forget
    if request.kind in NAMED:
        names, indices = getattr(data, NAMED[request.kind]), getattr(data, IDS[request.kind])[sets.forget].unique()
    elif request.kind == "indices":
        names = data.files
    if not names:
        return f"{len(sets.forget):,} images"
    also: dict[str, str] = {}
    for name, head in data.aliases.get(request.kind, {}).items():
        also[head] = f"{also.get(head, ', the same images as')} {name}"
    return first_few([f"{names[index]} (index {index}{also.get(names[index], '')})" for index in indices.tolist()])


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "big")


def _listed(data: ImageData, request: Request) -> Tensor:
    """Indices into the pool that the request itself lists, or the benchmark behind it; empty for other requests."""
    if request.kind == "official":
        if data.official is None:
            raise ForgetError(f"{data.name} has no published list of what to forget; ask for a person or random:0.1.")
        return data.official
    given = sorted(map(int, request.members)) if request.kind == "indices" else []
    if given and given[-1] >= len(data.labels):
        pool = f"its training pool has {len(data.labels)} samples, counted from 0"
        raise ForgetError(f"Index {given[-1]} is not in {data.name}: {pool}.")
    return torch.tensor(given, dtype=torch.int64)


def _groups(data: ImageData, request: Request) -> Tensor | None:
    """Ids of what is held out as a whole: people, or families; None where single samples are."""
    if request.kind not in ("person", "family"):
        return data.families if request.kind == "official" else None
    groups: Tensor | None = getattr(data, IDS[request.kind])
    if groups is None:
        advice = "ask to forget a class, a random share or indices instead"
        raise ForgetError(f"{data.name} has no {request.kind} ids; {advice}.")
    return groups


def _hold_out(data: ImageData, groups: Tensor | None, kept: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Parts for validation, unseen and population; `kept` samples stay in the training set."""
    strata = data.labels if groups is None else torch.zeros_like(data.labels)
    units = torch.arange(len(data.labels)) if groups is None else groups
    parts: dict[str, list[Tensor]] = {name: [] for name in HELD_OUT}
    for stratum in strata.unique():
        members = _shuffled(units[strata == stratum].unique(), generator)
        members = members[~torch.isin(members, units[kept])]
        start = 0
        for name in HELD_OUT:
            size = round(data.held_out[name] * len(members))
            parts[name].append(members[start : start + size])
            start += size
    return {name: torch.isin(units, torch.cat(chosen)).nonzero().flatten() for name, chosen in parts.items()}


def _shuffled(members: Tensor, generator: torch.Generator) -> Tensor:
    return members[torch.randperm(len(members), generator=generator)]


def _stratified(pool: Tensor, labels: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    chosen = []
    for label in labels[pool].unique():
        members = _shuffled(pool[labels[pool] == label], generator)
        chosen.append(members[: round(fraction * len(members))])
    return torch.cat(chosen).sort().values


def _members(data: ImageData, request: Request, present: Tensor, generator: torch.Generator) -> Tensor:
    trained = present.unique()
    if request.count is not None:
        if request.count >= len(trained):
            there = f"only {len(trained)} are in the training set of {data.name}"
            raise ForgetError(f"{request.name}: {there}; ask for fewer.")
        return _shuffled(trained, generator)[: request.count]
    names: Sequence[str] = getattr(data, NAMED[request.kind])
    known = {names[int(index)]: int(index) for index in trained}
    missing = [member for member in request.members if member not in known]
    if missing:
        raise UnknownNameError(
            f"{first_few(missing)}: held out at this draw, or in the test set of {data.name} only. The model never saw "
            "them; ask for others, or take another draw."
        )
    return torch.tensor([known[member] for member in request.members])


def _matched(strata: Tensor, forget: Tensor, unseen: Tensor, generator: torch.Generator) -> Tensor:
    """Which unseen samples to keep so that their mix of strata is that of the forget set, as many as there can
    be."""
    wanted = torch.bincount(strata[forget], minlength=int(strata.max()) + 1).double()
    there = torch.bincount(strata[unseen], minlength=len(wanted)).double()
    scales = (there / wanted.clamp(min=1e-9))[(wanted > 0) & (there > 0)]
    scale = scales.quantile(0.25) if len(scales) else torch.tensor(0.0)
    keep = torch.zeros(len(unseen), dtype=torch.bool)
    for label, count in enumerate(wanted):
        members = _shuffled((strata[unseen] == label).nonzero().flatten(), generator)
        keep[members[: round(float(count * scale))]] = True
    return keep
