"""The request: a YAML file with a versioned schema, read by a safe loader; every mistake names its line.

`SCHEMA` is the documentation: name, what it means, and its default; `describe_schema` shows it as a table. Worked
examples are in workflow/config/requests. Every path in it is relative to the file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.names import located_name, public_name, request_text, seen_from
from forget_lib.datasets.requests import parse_request
from forget_lib.models.recipe import recipe_faults
from forget_lib.unlearning import METHODS
from forget_lib.unlearning.registry import check_settings

VERSION = 1
LARGEST = 1_000_000
"""Bytes; a request is a page of text."""
DEEPEST = 20
NEEDED = object()
AVAILABLE = ("forget", "retain")
EXPLICIT = ("class", "person", "family", "indices")
FILES = "files"
INDICES_OF = "indices:@"
BASE = ".base"
"""Suffix of the note beside a copied request."""


class RequestError(ForgetError):
    """A mistake in a request file; the message names the file and the line."""


@dataclass(frozen=True)
class Entry:
    """One key of the schema: type, default (`NEEDED`: none), meaning, and a check that returns what is wrong or ""."""

    kind: type | tuple[type, ...]
    default: Any
    meaning: str
    check: Callable[[Any], str] = lambda _value: ""


def _between(low: float, high: float, *, open_: bool = False) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        inside = low < value < high if open_ else low <= value <= high
        return "" if inside and math.isfinite(value) else f"expected a number from {low:g} to {high:g}"

    return check


def _forget(value: Any) -> str:
    if isinstance(value, Mapping) and FILES in value:
        fits = list(value) == [FILES] and isinstance(value[FILES], list) and value[FILES]
        return "" if fits and all(isinstance(each, str) for each in value[FILES]) else "expected files: [name, …]"
    try:
        request = parse_request(request_text(value))
    except ForgetError as error:
        return str(error)
    if request.kind not in EXPLICIT or request.count is not None:
        return f"a deletion request names what is to go; kinds: {', '.join(EXPLICIT)}, with names or numbers"
    return ""


def _subset_of(known: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        fits = value and all(each in known for each in value)
        return "" if fits else f"expected a list with some of {', '.join(known)}"

    return check


SCHEMA: dict[str, Entry | dict[str, Entry]] = {
    "version": Entry(
        int, NEEDED, f"of this schema: {VERSION}", lambda v: "" if v == VERSION else f"this program reads {VERSION}"
    ),
    "title": Entry(str, "", "a line for the report"),
    "data": {
        "name": Entry(str, NEEDED, "a registered data set, or own:PATH"),
        "start": Entry(str, "local", "first step of the data chain: local, official, mirror or sample"),
    },
    "model": {
        "name": Entry(str, NEEDED, "a registered model, or module:function"),
        "weights": Entry(str, "", "file of the trained weights; empty: the model is trained here by the recipe"),
        "seed": Entry(int, 0, "of the training, where it is trained here", _between(0, 2**31 - 1)),
    },
    "recipe": Entry(dict, NEEDED, "how the model was trained; keys of forget_lib.models.recipe.Recipe"),
    "forget": Entry(
        (str, dict), NEEDED,
        "class:NAME, person:NAME, family:NAME, indices:1,2, a list {person: [NAME, …]}, or {files: [PATH, …]}", _forget,
    ),
    "held_out": {
        "draw": Entry(int, 0, "images that the model never saw, as the study draws them", _between(0, 10**6)),
        "indices": Entry(str, "", "or: a file with the pool indices of images that the model never saw, one a line"),
        "drop_requested": Entry(bool, False, "take held-out images of the requested people or files out of the sets"),
    },
    "available": Entry(list, list(AVAILABLE), "data that are still there: forget, retain", _subset_of(AVAILABLE)),
    "method": Entry(str, "auto", "auto, or the name of a method"),
    "settings": Entry(dict, {}, "of that method; left out: as chosen by tuning, else its defaults"),
    "budget": {
        "references": Entry(int, 8, "retrained reference models", _between(3, 200)),
        "originals": Entry(int, 4, "models trained on everything, to measure along", _between(3, 100)),
        "kept": Entry(int, 4, "retrainings that keep a quarter of the forget set, for the power", _between(0, 100)),
        "shares": Entry(int, 1, "retrainings for each further share of the error curve", _between(0, 20)),
        "trials": Entry(int, 2, "settings tried for each method of the trial", _between(1, 6)),
        "methods": Entry(int, 3, "methods in the trial", _between(1, 20)),
        "method_cost": Entry(float, 0.2, "most that a method may cost, in retrainings", _between(0, 1)),
        "processes": Entry(int, 0, "trainings at a time; 0: one a core", _between(0, 256)),
    },
    "margin": Entry(
        float, 0.2, "largest trace at the outputs that counts as none, above 0 and below 0.25",
        _between(0, 0.25, open_=True),
    ),
    "write": {
        "folder": Entry(str, "", "where; empty: results/forget/<name of the file>"),
        "images": Entry(bool, False, "show requested images in the report"),
        "ledger": Entry(str, "", "the ledger; empty: ledger.jsonl beside the folder"),
    },
    "device": Entry(str, "cpu", "cpu, cuda, mps or auto"),
    "seed": Entry(int, 0, "of references, trials and the method", _between(0, 2**31 - 1)),
}  # fmt: skip


@dataclass(frozen=True)
class DeletionRequest:
    """A request as read: every key of `SCHEMA` with its value or default.

    Attributes: path: of the file. values: nested as in the file. lines: line (from 1) of each key that was given, by
        dotted name. base: folder that paths in the file are relative to.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    base: Path = Path()

    def __getitem__(self, name: str) -> Any:
        """The value of a dotted name, such as `data.name`."""
        value: Any = self.values
        for part in name.split("."):
            value = value[part]
        return value

    @property
    def name(self) -> str:
        """The file's name without suffix: letters, digits and . + _ - only."""
        return "".join(c if c.isalnum() or c in ".+_-" else "_" for c in self.path.stem) or "request"

    def wrong(self, name: str, message: str) -> RequestError:
        """Returns (does not raise) an error about the key of that dotted name."""
        return _wrong(self.path, self.lines.get(name, self.lines.get(name.split(".")[0], 1)), message)

    def located(self, name: str) -> Path:
        """The path in a value, relative to the request's file, or where that was copied from."""
        return Path(seen_from(self.base, self[name]))


def read_request(path: str | Path) -> DeletionRequest:
    """Reads and checks a request file; nothing is computed.

    Raises: RequestError with the line of the first mistake.
    """
    path = Path(path)
    node = _compose(path)
    if not isinstance(node, MappingNode):
        raise _wrong(path, 1, "a request is a list of `key: value` lines; the first one is `version: 1`")
    lines: dict[str, int] = {}
    base = _base(path)
    given = _located(_mapping(path, node, "", lines), base)
    request = DeletionRequest(path, _complete(path, given, lines), lines, base)
    faults = recipe_faults(request["recipe"])
    if faults:
        raise RequestError("\n".join(str(request.wrong(f"recipe.{name}", words)) for name, words in faults.items()))
    if request["held_out.indices"] and "held_out.draw" in lines:
        raise request.wrong("held_out.indices", "give held_out.draw or held_out.indices, not both")
    if request["method"] == "auto" and request["settings"]:
        raise request.wrong("settings", "settings belong to a method; name it in `method`")
    if request["method"] != "auto":
        try:
            check_settings(request["method"], request["settings"])
        except ForgetError as error:
            raise request.wrong("settings" if request["method"] in METHODS else "method", str(error)) from error
    return request


def keep_copy(path: Path, kept: Path) -> None:
    """Copies a request to `kept`, with a note of the folder that its paths are relative to. Raises: OSError."""
    if path.resolve() != kept.resolve():
        kept.parent.mkdir(parents=True, exist_ok=True)
        base = _base(path)
        kept.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        kept.with_suffix(BASE).write_text(os.path.relpath(base, kept.parent.resolve()), encoding="utf-8")


def _base(path: Path) -> Path:
    note = path.with_suffix(BASE)
    return path.resolve().parent / (note.read_text(encoding="utf-8").strip() if note.is_file() else "")


def _wrong(path: Path, line: int, message: str) -> RequestError:
    return RequestError(f"{path.name}, line {line}: {message.rstrip('.')}.")


def _compose(path: Path) -> Node | None:
    """The file as YAML nodes, which know their lines; no object is ever made from a tag, and aliases are refused."""
    try:
        if path.stat().st_size > LARGEST:
            raise RequestError(f"{path.name} has {path.stat().st_size:,} bytes; a request has at most {LARGEST:,}.")
        text = path.read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:  # PyYAML's time grows with the square of the depth
                raise _wrong(path, event.start_mark.line + 1, f"values are nested more than {DEEPEST} deep")
            if isinstance(event, yaml.AliasEvent):
                raise _wrong(path, event.start_mark.line + 1, "aliases (*name) are not allowed; write the value out")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _wrong(path, line, f"this is not YAML ({error.problem})") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise RequestError(f"The request {path.name} cannot be read: {reason}.") from error


def _mapping(path: Path, node: MappingNode, prefix: str, lines: dict[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode):
            raise _wrong(path, line, "a key must be one word")
        name = key_node.value
        if name in found:
            raise _wrong(path, line, f"{prefix}{name} is given twice; the first is in line {lines[prefix + name]}")
        lines[prefix + name] = line
        found[name] = _value(path, value_node, f"{prefix}{name}.", lines)
    return found


def _value(path: Path, node: Node, prefix: str, lines: dict[str, int]) -> Any:
    if isinstance(node, MappingNode):
        return _mapping(path, node, prefix, lines)
    if isinstance(node, SequenceNode):
        return [_value(path, each, prefix, lines) for each in node.value]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except yaml.MarkedYAMLError as error:
        raise _wrong(path, node.start_mark.line + 1, f"{node.tag} is no plain value ({error.problem})") from error
    except ValueError as error:
        raise _wrong(path, node.start_mark.line + 1, str(error)) from error


def _located(given: dict[str, Any], base: Path) -> dict[str, Any]:
    """The values with the paths in names of data, models and functions seen from `base`, wherever the program runs."""
    found = dict(given)
    for key, name in (("data", "name"), ("model", "name"), ("recipe", "function")):
        part = given.get(key)
        if isinstance(part, Mapping) and isinstance(part.get(name), str):
            found[key] = {**part, name: located_name(part[name], base)}
    forget = given.get("forget")
    if isinstance(forget, str) and forget.startswith(INDICES_OF):
        found["forget"] = INDICES_OF + seen_from(base, forget.removeprefix(INDICES_OF))
    return found


def _complete(path: Path, given: Mapping[str, Any], lines: Mapping[str, int]) -> dict[str, Any]:
    """All keys of the schema, checked, defaults filled in."""
    for name in given:
        if name not in SCHEMA:
            raise _wrong(path, lines[name], str(unknown("key of a request", name, SCHEMA)))
    values: dict[str, Any] = {}
    for name, entry in SCHEMA.items():
        if isinstance(entry, Entry):
            values[name] = _checked(path, name, entry, given, lines, lines.get(name, 1))
            continue
        part, line = given.get(name, {}), lines.get(name, 1)
        if not isinstance(part, Mapping):
            raise _wrong(path, line, f"{name} holds keys of its own: {', '.join(entry)}")
        for inner in part:
            if inner not in entry:
                raise _wrong(path, lines[f"{name}.{inner}"], str(unknown(f"key of {name}", inner, entry)))
        values[name] = {
            inner: _checked(path, f"{name}.{inner}", each, part, lines, line) for inner, each in entry.items()
        }
    return values


def _checked(path: Path, name: str, entry: Entry, given: Mapping[str, Any], lines: Mapping[str, int], near: int) -> Any:
    key = name.rpartition(".")[2]
    if key not in given:
        if entry.default is NEEDED:
            raise _wrong(path, near, f"{name} is missing ({entry.meaning})")
        return entry.default
    value, line = given[key], lines[name]
    if entry.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    fits = isinstance(value, entry.kind) and (entry.kind is bool or not isinstance(value, bool))
    if not fits:
        kinds = entry.kind if isinstance(entry.kind, tuple) else (entry.kind,)
        words = " or ".join(
            {"str": "text", "dict": "keys", "list": "a list"}.get(k.__name__, k.__name__) for k in kinds
        )
        raise _wrong(path, line, f"{name} is {value!r}; expected {words} ({entry.meaning})")
    problem = entry.check(value)
    if problem:
        raise _wrong(path, line, f"{name} is {value!r}; {problem}")
    return value


def describe_schema() -> pd.DataFrame:
    """The schema as a table: key, meaning, default."""
    rows = []
    for name, entry in SCHEMA.items():
        inner = {name: entry} if isinstance(entry, Entry) else {f"{name}.{key}": each for key, each in entry.items()}
        for key, each in inner.items():
            rows.append([key, each.meaning, "needed" if each.default is NEEDED else repr(each.default)])
    return pd.DataFrame(rows, columns=["key", "meaning", "default"])


def as_written(request: DeletionRequest) -> dict[str, Any]:
    """The request for the report: all values, folders left out of paths."""

    def public(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: public(each) for key, each in value.items()}
        return public_name(value) if isinstance(value, str) and "/" in value else value

    def without_home(name: str) -> str:
        return public_name(name) if name.startswith(("/", "~")) else name

    values = dict(request.values)
    asked, title = values.pop("forget"), values.pop("title")  # both may hold a slash that belongs to no path
    if isinstance(asked, Mapping):
        asked = {
            kind: [without_home(name) if kind == FILES else name for name in names] for kind, names in asked.items()
        }
    return public(values) | {"title": title, "forget": asked}
