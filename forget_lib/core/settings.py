"""What users write (configs, requests, recipes, options), checked once: every mistake at once, each with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from forget_lib.core.errors import ForgetError, meant, unknown

LARGEST = 1_000_000
"""Bytes; what people write is some pages of text."""
DEEPEST = 20
MOST_VALUES = 100_000
"""Values of a file with its aliases written out, so that a few lines cannot stand for billions."""
TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys with values",
    "null": "nothing",
}


class Settings(BaseModel):
    """Base of all that users write: types are not guessed, unknown keys and NaN are refused, nothing changes later."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Written:
    """A YAML file as read: its plain values, and the line (from 1) of each key by dotted name, `data.name`."""

    path: Path
    values: Any
    lines: Mapping[str, int] = field(default_factory=dict)

    def line(self, name: str) -> int:
        """The line of a key, of the nearest key above it, or 1."""
        while name and name not in self.lines:
            name = name.rpartition(".")[0]
        return self.lines.get(name, 1)

    def error(self, name: str, message: str) -> ForgetError:
        """Returns (does not raise) an error about the key of that dotted name."""
        return _error(self.path, self.line(name), message)


def read_yaml(path: str | Path, what: str, aliases: bool = False) -> Written:
    """Reads a YAML file that may come from a stranger: no object is made from a tag, and size and depth are limited.

    Args: what: the file in words, for messages ("request"). aliases: whether `*name` may repeat what was written.

    Raises: ForgetError with the line if the file cannot be read, is no YAML, gives a key twice, or is out of limits.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ForgetError(f"{path.name} has {size:,} bytes; a {what} has at most {LARGEST:,}.")
        text = path.read_text(encoding="utf-8")
        _limit_depth(path, text, aliases)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[str, int] = {}
        if node is not None:
            _count(path, node, {})
            _collect_lines(path, node, "", lines, set())
        return Written(path, yaml.SafeLoader("").construct_document(node) if node else None, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _error(
            path, mark.line + 1 if mark else 1, f"this is not YAML of plain values ({error.problem})"
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["it is too deep"])[0]
        raise ForgetError(f"The {what} {path.name} cannot be read: {reason}.") from error


def faults_of(model: type[BaseModel], values: Any, what: str) -> dict[str, str]:
    """All that is wrong with `values` as a `model`: a sentence by dotted name of the key; empty if nothing is.

    Args: what: the whole in words ("request"), for keys that do not exist.
    """
    if not isinstance(values, Mapping):
        return {"": f"A {what} is a list of `key: value` lines; it is {short(values)}"}
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        faults: dict[str, str] = {}
        for each in error.errors():
            name, sentence = _sentence(model, each, what)
            faults.setdefault(name, sentence)
        return faults
    return {}


def check_file(model: type[Model], written: Written, what: str) -> Model:
    """The file's values as a `model`.

    Raises: ForgetError with every mistake, a line each, in the order of the file's lines.
    """
    faults = faults_of(model, written.values, what)
    if faults:
        ordered = sorted(faults.items(), key=lambda item: written.line(item[0]))
        raise ForgetError("\n".join(str(written.error(name, words)) for name, words in ordered))
    return model.model_validate(written.values)


def expected(schema: Mapping[str, Any]) -> str:
    """A JSON schema of one value in words: `a whole number from 1 to 6`."""
    if "enum" in schema or "const" in schema:
        choices = [str(each) for each in schema.get("enum", [schema.get("const")])]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if "anyOf" in schema:
        return " or ".join(expected(each) for each in schema["anyOf"])
    words = TYPES.get(schema.get("type", ""), "keys of its own" if "$ref" in schema else "another value")
    if schema.get("type") == "array" and "type" in schema.get("items", {}):
        words += f" of {expected(schema['items'])} each"
    return words + _range(schema)


def short(value: Any) -> str:
    """A value as written, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


Model = TypeVar("Model", bound=BaseModel)


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    bounds = [
        f"{word} {bound:,}"
        for word, bound in (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        if bound is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""


def _sentence(model: type[BaseModel], error: Mapping[str, Any], what: str) -> tuple[str, str]:
    """Dotted name of the key that is wrong, and what is wrong with it."""
    place: Sequence[Any] = error["loc"]
    inside: Any = model
    names: list[str] = []
    found = None
    for part in place:
        if get_origin(inside) is dict:  # keys that the user names, such as scenarios
            names.append(str(part))
            inside = get_args(inside)[1]
            continue
        fields = inside.model_fields if isinstance(inside, type) and issubclass(inside, BaseModel) else {}
        if part not in fields:
            break
        names.append(str(part))
        found = fields[part]
        inside = found.annotation
    name = ".".join(names)
    if error["type"] == "extra_forbidden":
        key = str(place[-1])
        return ".".join([*names, key]), str(unknown(f"key of {name or 'a ' + what}", key, inside.model_fields))
    if found is None:
        return "", _reason(error)
    meaning = f" ({found.description})" if found.description else ""
    if error["type"] == "missing":
        return name, f"{name} is missing{meaning}"
    value = error["input"]
    if error["type"] in ("value_error", "assertion_error"):
        return name, f"{name} is {short(value)}{meant(value)}; {_reason(error)}"
    holds = "holds" if any(isinstance(part, int) for part in place) else "is"
    return name, f"{name} {holds} {short(value)}{meant(value)}; expected {expected(_schema_of(model, names))}{meaning}"


def _schema_of(model: type[BaseModel], names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a field, with its ranges."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for name in names:
        schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
    return schema


def _reason(error: Mapping[str, Any]) -> str:
    return str(error.get("ctx", {}).get("error", error["msg"])).rstrip(".")


def _error(path: Path, line: int, message: str) -> ForgetError:
    return ForgetError(f"{path.name}, line {line}: {message.rstrip('.')}.")


def _limit_depth(path: Path, text: str, aliases: bool) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:  # PyYAML's time grows with the square of the depth
            raise _error(path, _line(event), f"values are nested more than {DEEPEST} deep")
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise _error(path, _line(event), "aliases (*name) are not allowed; write the value out")


def _line(node: Node | yaml.Event) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, CollectionNode) else []


def _count(path: Path, node: Node, counted: dict[int, int]) -> int:
    """Values below a node with its aliases written out; a node within itself is refused as well."""
    if counted.get(id(node)) == 0:
        raise _error(path, _line(node), "a value holds itself through an alias; write it out")
    if id(node) not in counted:
        counted[id(node)] = 0
        counted[id(node)] = 1 + sum(_count(path, each, counted) for each in _children(node))
    if counted[id(node)] > MOST_VALUES:
        raise _error(path, _line(node), f"this stands for more than {MOST_VALUES:,} values")
    return counted[id(node)]


def _collect_lines(path: Path, node: Node, prefix: str, lines: dict[str, int], seen: set[int]) -> None:
    """Notes the line of each key by dotted name; a key that is given twice is refused."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if not isinstance(node, MappingNode):
        for each in _children(node):
            _collect_lines(path, each, prefix, lines, seen)
        return
    given: dict[str, int] = {}
    for key, value in node.value:
        line = _line(key)
        if not isinstance(key, ScalarNode):
            raise _error(path, line, "a key must be one word")
        if key.value in given:
            raise _error(path, line, f"{prefix}{key.value} is given twice; the first is in line {given[key.value]}")
        given[key.value] = line
        lines[f"{prefix}{key.value}"] = line
        _collect_lines(path, value, f"{prefix}{key.value}.", lines, seen)
