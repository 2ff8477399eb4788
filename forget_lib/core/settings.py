"""What users write (configs, requests, recipes, options), checked once: every mistake at once, each with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

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
BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}


Model = TypeVar("Model", bound=BaseModel)


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
        if node is None:
            return Written(path, None)
        _walk(path, node, "", lines, {})
        return Written(path, yaml.SafeLoader("").construct_document(node), lines)
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
    faults: dict[str, str] = {}
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        schema = model.model_json_schema()
        for each in error.errors():
            name, sentence = _sentence(schema, each, what)
            faults.setdefault(name, sentence)
    return faults


def check_file(model: type[Model], written: Written, what: str) -> Model:
    """The file's values as a `model`. Raises: ForgetError with every mistake, a line each, in the order of the file's
    lines."""
    faults = faults_of(model, written.values, what)
    if faults:
        ordered = sorted(faults.items(), key=lambda item: written.line(item[0]))
        raise ForgetError("\n".join(str(written.error(name, words)) for name, words in ordered))
    return model.model_validate(written.values)


def short(value: Any) -> str:
    """A value as written, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _expected(schema: Mapping[str, Any]) -> str:
    """A JSON schema of one value in words: `a whole number from 1 to 6`."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(map(_expected, schema["anyOf"]))
    words = TYPES.get(schema.get("type", ""), "keys of its own" if "$ref" in schema else "another value")
    if schema.get("type") == "array" and "type" in schema.get("items", {}):
        words += f" of {_expected(schema['items'])} each"
    if "minimum" in schema and "maximum" in schema:
        return f"{words} from {schema['minimum']:,} to {schema['maximum']:,}"
    bounds = [f"{word} {schema[key]:,}" for key, word in BOUNDS.items() if key in schema]
    return " ".join([words, " and ".join(bounds)]).rstrip()


def _sentence(schema: Mapping[str, Any], error: Mapping[str, Any], what: str) -> tuple[str, str]:
    """Dotted name of the key that is wrong, and what is wrong with it. schema: of the whole."""
    definitions = schema.get("$defs", {})
    names: list[str] = []
    meaning = ""
    for part in error["loc"]:
        inside = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        if part in inside.get("properties", {}):
            schema = inside["properties"][part]
            meaning = f" ({schema['description']})" if "description" in schema else ""
        elif isinstance(inside.get("additionalProperties"), Mapping):  # keys that the user names, such as scenarios
            schema = inside["additionalProperties"]
        else:
            break
        names.append(str(part))
    name = ".".join(names)
    reason = str(error.get("ctx", {}).get("error", error["msg"])).rstrip(".")
    value = f"{short(error['input'])}{meant(error['input'])}"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        return ".".join([*names, key]), str(unknown(f"key of {name or 'a ' + what}", key, inside["properties"]))
    if not names:
        return "", reason
    if error["type"] == "missing":
        return name, f"{name} is missing{meaning}"
    if error["type"] in ("value_error", "assertion_error"):
        return name, f"{name} is {value}; {reason}"
    holds = "holds" if any(isinstance(part, int) for part in error["loc"]) else "is"
    return name, f"{name} {holds} {value}; expected {_expected(schema)}{meaning}"


def _error(path: Path, line: int, message: str) -> ForgetError:
    return ForgetError(f"{path.name}, line {line}: {message.rstrip('.')}.")


def _line(node: Node | yaml.Event) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _limit_depth(path: Path, text: str, aliases: bool) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:  # PyYAML's time grows with the square of the depth
            raise _error(path, _line(event), f"values are nested more than {DEEPEST} deep")
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise _error(path, _line(event), "aliases (*name) are not allowed; write the value out")


def _walk(path: Path, node: Node, prefix: str, lines: dict[str, int], counted: dict[int, int]) -> int:
    """Notes the line of each key by dotted name, and counts the values with aliases written out; a key that is given
    twice, a value within itself and too many values are refused."""
    if counted.get(id(node)) == 0:
        raise _error(path, _line(node), "a value holds itself through an alias; write it out")
    if id(node) in counted:
        return counted[id(node)]
    counted[id(node)] = 0
    count = 1
    given: dict[str, int] = {}
    for key, value in node.value if isinstance(node, MappingNode) else ():
        if not isinstance(key, ScalarNode):
            raise _error(path, _line(key), "a key must be one word")
        name = f"{prefix}{key.value}"
        if key.value in given:
            raise _error(path, _line(key), f"{name} is given twice; the first is in line {given[key.value]}")
        given[key.value] = lines[name] = _line(key)
        count += 1 + _walk(path, value, f"{name}.", lines, counted)
    for each in node.value if isinstance(node, SequenceNode) else ():
        count += _walk(path, each, prefix, lines, counted)
    if count > MOST_VALUES:
        raise _error(path, _line(node), f"this stands for more than {MOST_VALUES:,} values")
    counted[id(node)] = count
    return count
