"""Settings chosen by tuning, committed with the trials behind them:
workflow/config/settings/<dataset>-<model>-<kind>.yaml, and <…>-<checksum>.yaml for another version of the data; for a
user's own data <name>-<checksum>-<model>-<kind>.yaml: a name says nothing about them."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from forget_lib.core.errors import ForgetError
from forget_lib.core.names import is_own, plain_name, short_name
from forget_lib.core.paths import REPOSITORY

FOLDER = REPOSITORY / "workflow" / "config" / "settings"
SAME_AS = {"indices": "random", "family": "person", "official": "person"}
"""Kinds of request that are not tuned by themselves, and the kind whose settings they take."""
SAME_DATA = {"cifar10_part": "cifar10"}
"""Data sets that are a part of another, whose settings they take."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Files of settings are long: the safe loader in C reads them ten times as fast; not every build has it."""


def settings_file(dataset: str, model: str, request_kind: str, checksum: str = "") -> Path:
    """Where the chosen settings for this data set, model and kind of request are, if there are any.

    Settings tuned on exactly the data of this checksum go before those tuned on another version of the data set, such
    as its sample: they do not carry over well. A user's own data have those of exactly these data, or none.
    """
    known_as = f"{plain_name(dataset)}-{checksum[:8]}" if is_own(dataset) else SAME_DATA.get(dataset, dataset)
    shared = FOLDER / f"{known_as}-{short_name(model)}-{SAME_AS.get(request_kind, request_kind)}.yaml"
    exact = _exact(shared, checksum)
    return exact if checksum and exact.is_file() else shared


def file_to_write(dataset: str, model: str, request_kind: str, checksum: str) -> Path:
    """Where settings tuned on data of this checksum go: beside those of another version, and not in their place; a
    damaged file is made again."""
    path = settings_file(dataset, model, request_kind, checksum)
    try:
        other = path.is_file() and _content(path).get("checksum") != checksum
    except ForgetError:
        return path
    return _exact(path, checksum) if other else path


def _exact(shared: Path, checksum: str) -> Path:
    return shared.with_name(f"{shared.stem}-{checksum[:8]}.yaml")


@lru_cache
def read_settings(path: Path) -> dict[str, Any]:
    """The content of a file of chosen settings, read once: settings by name under "methods", and what they were tuned
    on; no methods where there is no file. Raises: ForgetError if the file is damaged."""
    return _content(path) if path.is_file() else {"methods": {}}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
        return content | {"methods": {name: dict(entry) for name, entry in content["methods"].items()}}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ForgetError(
            f"{path.name} cannot be read ({error}); make it again with python -m workflow.tuning."
        ) from error


def with_chosen(
    method: str, given: Mapping[str, Any], dataset: str, model: str, request_kind: str, checksum: str = ""
) -> dict[str, Any]:
    """The settings given, on top of those chosen by tuning (see `settings_file`); what neither names stays at the
    method's default. Raises: ForgetError if the file of chosen settings is damaged."""
    chosen = read_settings(settings_file(dataset, model, request_kind, checksum))["methods"]
    return chosen.get(method, {}) | dict(given)
