"""The user's folders are nobody else's business: they are taken out of executed notebooks, pages and logs."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forget_lib.core.files import write_text
from forget_lib.core.names import is_own, short_name
from forget_lib.core.paths import REPOSITORY, shown


def hide_folders(executed: Path, log: Path, parameters: Mapping[str, Any], folder: Path) -> None:
    """Rewrites an executed notebook and its log: paths among the parameters lose the folders outside the repository.

    A user's own data and models are called in the notebook's metadata as they are called in tables, so that links find
    their pages. folder: in which the notebook ran. What was not written is left out.
    """
    public = _without(_private(parameters, folder))
    if log.is_file():
        write_text(log, public(log.read_text(encoding="utf-8", errors="replace")))
    if executed.is_file():
        content = _mapped(json.loads(executed.read_text(encoding="utf-8")), public)
        told = content["metadata"].setdefault("papermill", {})
        told |= {key: Path(told[key]).name for key in ("input_path", "output_path") if told.get(key)}
        names = {key: parameters[key] for key in ("dataset", "model") if is_own(str(parameters.get(key, "")))}
        told.setdefault("parameters", {}).update({key: short_name(name) for key, name in names.items()})
        write_text(executed, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _private(parameters: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Each way to write a path among the parameters that is absolute or leads out of the repository, and its name."""
    found: dict[str, str] = {}
    for piece in (piece for text in _texts(parameters) for piece in re.split("[?&=:]", text)):
        given = Path(os.path.expanduser(piece))
        place = Path(os.path.abspath(folder / given))
        inside = place.is_relative_to(REPOSITORY)
        if "/" not in piece or (inside and not given.is_absolute()):
            continue
        for form in (piece, str(given), str(place), os.path.realpath(place)):
            found[form.rstrip("/")] = shown(place) if inside else place.name
    return {form: name for form, name in found.items() if form and name}


def _without(names: Mapping[str, str]) -> Callable[[str], str]:
    """A function that puts the names in the place of the paths; the longest path first."""
    if not names:
        return lambda text: text
    paths = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    # Whole paths only: not the start of a longer name, and not what looks like one inside a picture.
    pattern = re.compile(rf"(?<![\w/.~+-])(?:{paths})(?![\w+-])")
    return lambda text: pattern.sub(lambda match: names[match[0]], text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for each in value.items() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """JSON with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    return [_mapped(each, change) for each in value] if isinstance(value, list) else value
