"""Settings chosen by tuning, committed with the trials behind them:
workflow/config/settings/<dataset>-<model>-<kind>.yaml, and <…>-<checksum>.yaml for another version of the data; for a
user's own data <name>-<checksum>-<model>-<kind>.yaml: a name says nothing about them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from forget_lib.core.errors import ForgetError
from forget_lib.core.names import is_own, plain_name, short_name
from forget_lib.core.paths import CONFIG
from forget_lib.statistics.rules import BASELINES, CONTROLS, PLACEBOS

RULE = 2
"""Number of the rule of choice, see `tuning.CRITERION`; settings chosen by an older one count as not tuned."""
TUNED, UNACCEPTABLE, NOT_TUNED = "tuned", "no acceptable setting", "not tuned"
"""What a record says of its settings: chosen on exactly these data, net and kind of request; tried there, and none was
acceptable; all else. Empty where there is nothing to tune."""
NOTHING_TO_TUNE = frozenset((*CONTROLS, *PLACEBOS, *BASELINES, "sisa"))
"""Records without a choice of settings."""
FOLDER = CONFIG / "settings"
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


@dataclass(frozen=True)
class Choice:
    """The settings of a method, apart from its defaults; whether they are tuned (see `TUNED`), and if not, why."""

    settings: Mapping[str, Any]
    tuned: str
    why: str = ""


def choice(
    method: str, given: Mapping[str, Any], dataset: str, model: str, request_kind: str, checksum: str = ""
) -> Choice:
    """The settings given, on top of those chosen by tuning (see `settings_file`); what neither names stays at the
    method's default. Raises: ForgetError if the file of chosen settings is damaged."""
    if method in NOTHING_TO_TUNE:
        return Choice(dict(given), "")
    about = read_settings(settings_file(dataset, model, request_kind, checksum))
    refused = about.get("no_acceptable_setting", {}).get(method)
    known = method in about["methods"] or refused is not None
    settings = refused["runs_with"] if refused is not None else about["methods"].get(method, {})
    if not known:
        return Choice(dict(given), NOT_TUNED, "settings given by hand" if given else "its defaults")
    if settings | dict(given) != settings:
        return Choice(settings | dict(given), NOT_TUNED, "settings given by hand")
    if about.get("rule") != RULE:
        return Choice(settings, NOT_TUNED, "settings chosen by an older rule")
    if about.get("checksum") != checksum or about.get("kind") != request_kind:
        return Choice(settings, NOT_TUNED, f"settings of other data ({about.get('source')}, {about.get('kind')})")
    return Choice(settings, TUNED) if refused is None else Choice(settings, UNACCEPTABLE, refused["reason"])


def with_chosen(
    method: str, given: Mapping[str, Any], dataset: str, model: str, request_kind: str, checksum: str = ""
) -> dict[str, Any]:
    """The settings of `choice`; where they are not tuned, it says so, once."""
    found = choice(method, given, dataset, model, request_kind, checksum)
    say_once(method, found.tuned, found.why, f"{plain_name(dataset)}, {short_name(model)}, {request_kind}")
    return dict(found.settings)


@cache
def say_once(method: str, tuned: str, why: str, where: str) -> None:
    """Prints that a method runs on settings that are not tuned for where it runs."""
    if why:
        print(f"{method} on {where}: {tuned} ({why}).", flush=True)


def digest(
    dataset: str, model: str, request_kind: str, checksum: str = "", methods: Iterable[str] | None = None
) -> str:
    """What stands for the chosen settings of a scenario, or of some methods: the same as long as they are the same."""
    about = read_settings(settings_file(dataset, model, request_kind, checksum))
    names = methods or sorted({*about["methods"], *about.get("no_acceptable_setting", {})})
    found = [choice(name, {}, dataset, model, request_kind, checksum) for name in names]
    return digest_of([[name, each.settings, each.tuned] for name, each in zip(names, found, strict=True)])


def digest_of(content: Any) -> str:
    """16 hex digits of SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def is_current(record: Mapping[str, Any]) -> bool:
    """Whether a record (as `records.read_record` gives it) was made with the settings that stand in the repository."""
    if record["method"] in NOTHING_TO_TUNE:
        return True
    of_pool = "mislabelled" if record.get("drawn") == "mislabelled" else "random"
    kind = record["request_text"].partition(":")[0] if "request_text" in record else of_pool
    where = (record.get("dataset_given", record["dataset"]), record["model"], kind, record.get("data_checksum", ""))
    if "settings_digest" in record:
        return record["settings_digest"] == digest(*where, [record["method"]])
    wanted = choice(record["method"], {}, *where).settings
    return all(record["settings"].get(key) == value for key, value in wanted.items())
