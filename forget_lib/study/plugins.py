"""Files of a user's with methods, attacks, data sets or models, which then stand beside the built-in ones everywhere.

They run only where code is trusted. A broken one is named, with the reason, and the rest goes on: at loading (it cannot
be run, its function has another signature, its name is taken) and when it is used (it raises, returns something else,
or changes the data that it was given).
"""

import dataclasses
import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from forget_lib.attacks.registry import ATTACKS
from forget_lib.core.cell_code import cell_digest, is_of_a_cell
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.names import is_own, split_options
from forget_lib.core.paths import locate
from forget_lib.core.user_code import (
    hash_of,
    load_file,
    naming_failure,
    own_files,
    require_trust,
    running,
    source_hash,
)
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.registry import DATASETS
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import MODELS
from forget_lib.models.own import Spec, adapted
from forget_lib.models.train import predict
from forget_lib.unlearning.registry import METHODS
from forget_lib.unlearning.task import UnlearningTask

VARIABLE = "FORGET_PLUGINS"
"""Environment variable with the plugins of this process: paths, as PATH has them or as a JSON list."""
REGISTRIES: Mapping[str, dict[str, Any]] = {
    "method": METHODS,
    "attack": ATTACKS,
    "data set": DATASETS,
    "model": MODELS,
}
SIGNATURES = {
    "method": "model, task, *, setting=default, …",
    "attack": "inputs",
    "data set": "start",
    "model": "input_shape, number_of_classes",
}


@dataclass(frozen=True)
class Plugin:
    """What a file brought: names by kind (a key of REGISTRIES), and faults, one line each."""

    path: Path
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


LOADED: dict[Path, Plugin] = {}


def load(paths: Sequence[str | Path]) -> list[Plugin]:
    """Loads plugins, each once, and prints the faults of each. Raises: NotTrustedError unless code is trusted."""
    if paths:
        require_trust(", ".join(Path(path).name for path in paths))
    return [_load(given) for given in paths]


def _load(given: str | Path) -> Plugin:
    try:
        path = locate(given, "a plugin").resolve()
    except DataError as error:
        plugin = Plugin(Path(given), faults=(str(error),))
    else:
        if path in LOADED:
            return LOADED[path]
        plugin = LOADED[path] = _registered(path)
    for fault in plugin.faults:
        print(f"plugin {plugin.path.name}: not used, {fault}", flush=True)
    return plugin


def load_from_environment() -> list[Plugin]:
    """Loads what the workflow, or a shell, named in the environment; nothing where nothing is named."""
    given = os.environ.get(VARIABLE, "").strip()
    if not given.startswith("["):
        return load([path for path in given.split(os.pathsep) if path])
    try:
        paths = json.loads(given)
        if not all(isinstance(path, str) for path in paths):
            raise ValueError("it holds something else than text")
    except ValueError as error:
        wanted = f'write {VARIABLE}=my_method.py, several with {os.pathsep!r} between them, or ["my_method.py"]'
        raise ForgetError(f"{VARIABLE} is no JSON list of paths ({error}); {wanted}.") from error
    return load(paths)


def with_plugins(
    paths: Sequence[str | Path], methods: Mapping[str, Any], attacks: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Methods and attacks of a page with those of plugins: methods with their own defaults, attacks on logits."""
    loaded = load(paths)
    own: dict[str, Any] = {name: {} for plugin in loaded for name in plugin.names.get("method", ())}
    names = [name for plugin in loaded for name in plugin.names.get("attack", ())]
    more = [name for name in names if ATTACKS[name].needs == "target"]
    return own | dict(methods), list(dict.fromkeys([*attacks, *more]))


def own_code(model: str, function: str) -> list[str]:
    """Hashes of the user's code behind a model and the function of a recipe, for the key of a record."""
    found = [source_hash(split_options(name)[0]) for name in (model, function) if is_own(name)]
    found += [cell_digest(MODELS[model])] if is_of_a_cell(MODELS.get(model)) else []
    return found + [hash_of(own_files(each.path)) for each in LOADED.values() if model in each.names.get("model", ())]


def _registered(path: Path) -> Plugin:
    """Runs a file; what it registers is guarded, or taken back where anything is wrong."""
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    faults: list[str] = []
    try:
        load_file(path)
    except ForgetError as error:
        faults.append(str(error))
    new = [
        (kind, name)
        for kind, registry in REGISTRIES.items()
        for name, entry in registry.items()
        if before[kind].get(name) is not entry and not _function(entry).__module__.startswith("forget_lib.")
    ]
    faults += filter(None, [_fault(kind, name, before[kind]) for kind, name in new])
    if not faults and not new:
        faults.append(
            "it registers nothing; write @method(...), @attack(...), @dataset(...) or @model(...) above a function."
        )
    for kind, name in new:
        if not faults:
            REGISTRIES[kind][name] = _guarded(kind, name, path)
        elif name in before[kind]:
            REGISTRIES[kind][name] = before[kind][name]
        else:
            del REGISTRIES[kind][name]
    kept = [] if faults else new
    names = {kind: tuple(name for of, name in kept if of == kind) for kind in REGISTRIES}
    return Plugin(path, names, tuple(faults))


def _function(entry: Any) -> Callable[..., Any]:
    return getattr(entry, "function", entry)


def _fault(kind: str, name: str, before: Mapping[str, Any]) -> str:
    """A taken name, or another signature; empty where nothing is wrong."""
    if name in before:
        return f"{kind} {name!r} exists already; choose another name."
    parameters = list(inspect.signature(_function(REGISTRIES[kind][name])).parameters.values())
    free = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    wanted = SIGNATURES[kind].split(", *")[0].split(", ")
    by_name = [p.name for p in parameters[2:] if p.kind is not p.KEYWORD_ONLY] if kind == "method" else []
    if len(free) == len(wanted) and not any(p.kind is p.KEYWORD_ONLY for p in free) and not by_name:
        return ""
    given = ", ".join(map(str, parameters))
    return f"{kind} {name!r} has the signature ({given}); expected ({SIGNATURES[kind]})."


def _called(function: Callable[..., Any], what: str, path: Path, *given: Any, **settings: Any) -> Any:
    """What a plugin's function returns; its errors name the plugin."""
    with naming_failure(f"{what} failed", path), running(path):
        return function(*given, **settings)


def _guarded(kind: str, name: str, path: Path) -> Any:
    """The entry of a plugin with functions whose errors name it, and whose results are checked."""
    entry, what = REGISTRIES[kind][name], f"{kind.capitalize()} {name} ({path.name})"

    def named(function: Callable[..., Any]) -> Any:
        return functools.wraps(function)(functools.partial(_called, function, what, path))

    if kind == "model":
        function = named(entry)
        function.code = path
        return functools.partial(adapted, Spec(name), function)
    if kind == "data set":
        return functools.wraps(entry)(functools.partial(_data_set, named(entry), what))
    changed = {"function": named(entry.function)}
    if kind == "method":
        changed["function"] = functools.wraps(entry.function)(functools.partial(_method, changed["function"], what))
    elif entry.score is not None:
        changed["score"] = named(entry.score)
    return dataclasses.replace(entry, **changed)


def _data_set(function: Callable[[str], Any], what: str, start: str) -> ImageData:
    result = function(start)
    if not isinstance(result, ImageData):
        raise DataError(f"{what} returned {type(result).__name__}; it must return an ImageData, see load_own.")
    return result


def _method(
    function: Callable[..., Any], what: str, model: nn.Module, task: UnlearningTask, **settings: Any
) -> nn.Module:
    copies: dict[str, Any] = {part: _copied(getattr(task, part)) for part in ("forget", "retain", "validation")}
    result = function(model, dataclasses.replace(task, **copies), **settings)
    for part, samples in copies.items():
        given = getattr(task, part)
        if not (torch.equal(samples.images, given.images) and torch.equal(samples.labels, given.labels)):
            raise ForgetError(f"{what} changed the {part} data that it was given; work on copies (Samples.subset).")
    if not isinstance(result, nn.Module):
        raise ForgetError(f"{what} returned {type(result).__name__}; it must return a model.")
    with task.meter.paused():
        outputs = list(predict(result, task.retain.subset(torch.arange(min(2, len(task.retain))))).shape[1:])
    if outputs != [task.number_of_classes]:
        raise ForgetError(f"{what} returned a model with outputs {outputs}; expected [{task.number_of_classes}].")
    return result


def _copied(samples: Samples) -> Samples:
    return dataclasses.replace(samples, images=samples.images.clone(), labels=samples.labels.clone())
