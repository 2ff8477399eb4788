"""Files of a user's with methods, attacks, data sets or models, which then stand beside the built-in ones everywhere.

`plugins: [my_method.py]` in a config, or `load(["my_method.py"])`. They are code, and run only where code is trusted.
A plugin that is broken is named, with the reason, and the rest goes on: at loading (it cannot be run, its function has
another signature, its name is taken) and when it is used (it raises, returns nothing, changes the data it was given,
leaves weights that are not finite, or does not end).
"""

import copy
import dataclasses
import functools
import inspect
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from forget_lib.core.user_code import hash_of, load_file, own_files, require_trust, running, source_hash, where
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.registry import DATASETS
from forget_lib.models import nets
from forget_lib.models.own import Spec, adapted
from forget_lib.models.train import predict
from forget_lib.unlearning.registry import METHODS
from forget_lib.unlearning.task import UnlearningTask

VARIABLE = "FORGET_PLUGINS"
"""Environment variable with the plugins of this process: paths, as PATH has them or as a JSON list."""
LIMIT = "FORGET_PLUGIN_SECONDS"
"""Environment variable with the seconds that one call of a plugin may take; left out: `DEFAULT_LIMIT`."""
DEFAULT_LIMIT = 600.0
REGISTRIES: Mapping[str, dict[str, Any]] = {
    "method": METHODS,
    "attack": ATTACKS,
    "data set": DATASETS,
    "model": nets.MODELS,
}
PARTS = ("forget", "retain", "validation")


@dataclass(frozen=True)
class Plugin:
    """What a file brought: names by kind (a key of REGISTRIES), and faults, one line each."""

    path: Path
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


LOADED: dict[Path, Plugin] = {}


def load(paths: Sequence[str | Path]) -> list[Plugin]:
    """Loads plugins, each once, and prints the faults of each; what is in order can be used from now on.

    Raises: NotTrustedError, with all the files, unless code is trusted.
    """
    if paths:
        require_trust(", ".join(Path(path).name for path in paths))
    found = []
    for given in paths:
        try:
            path = locate(given, "a plugin").resolve()
        except DataError as error:
            found.append(Plugin(Path(given), faults=(str(error),)))
        else:
            if path not in LOADED:
                LOADED[path] = _load_one(path)
            found.append(LOADED[path])
        for fault in found[-1].faults:
            print(f"plugin {found[-1].path.name}: not used, {fault}", flush=True)
    return found


def load_from_environment() -> list[Plugin]:
    """Loads what the workflow, or a shell, named in the environment; nothing where nothing is named.

    Raises: ForgetError for what begins as a JSON list and is none.
    """
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
    """Methods and attacks of a page with those of plugins: methods with their own defaults, attacks on logits.

    Raises: NotTrustedError. What is broken in a plugin is printed, and left out.
    """
    loaded = load(paths)
    own = {name: {} for plugin in loaded for name in plugin.names.get("method", ())}
    names = [name for plugin in loaded for name in plugin.names.get("attack", ())]
    more = [name for name in names if ATTACKS[name].needs == "target"]
    return own | dict(methods), list(dict.fromkeys([*attacks, *more]))


def own_code(model: str, function: str) -> list[str]:
    """Hashes of the user's code behind a model, in a file or a notebook's cell, and the function of a recipe, for the
    key of a record; empty for built-in ones."""
    found = [source_hash(split_options(name)[0]) for name in (model, function) if is_own(name)]
    found += [cell_digest(nets.MODELS[model])] if is_of_a_cell(nets.MODELS.get(model)) else []
    return found + [hash_of(own_files(each.path)) for each in LOADED.values() if model in each.names.get("model", ())]


def _load_one(path: Path) -> Plugin:
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    faults: list[str] = []
    try:
        with time_limit(path.name):
            load_file(path)
    except ForgetError as error:
        faults.append(str(error))
    names: dict[str, tuple[str, ...]] = {}
    for kind, registry in REGISTRIES.items():
        new = [name for name, entry in registry.items() if before[kind].get(name) is not entry]
        for name in list(new):
            fault = f"{kind} {name!r} exists already; choose another name." if name in before[kind] else ""
            fault = fault or ("" if not faults else "left out with the file.") or SIGNATURES[kind](name)
            if fault:
                new.remove(name)
                registry.pop(name)
                registry |= {name: before[kind][name]} if name in before[kind] else {}
                faults.append(fault)
            else:
                registry[name] = GUARDS[kind](name, path)
        names[kind] = tuple(new)
    if not faults and not any(names.values()):
        faults.append(
            "it registers nothing; write @method(...), @attack(...), @dataset(...) or @model(...) above a function."
        )
    return Plugin(path, names, tuple(faults))


# --- signatures -------------------------------------------------------------------------------------------------------


def _positional(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters that must be given by place."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]


def _method_fault(name: str) -> str:
    parameters = list(inspect.signature(METHODS[name].function).parameters.values())
    settings = parameters[2:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    empty = [p.name for p in settings if p.kind is not keyword or p.default is inspect.Parameter.empty]
    if len(_positional(METHODS[name].function)) != 2 or empty:
        given = ", ".join(str(p) for p in parameters)
        return f"method {name!r} has the signature ({given}); expected (model, task, *, setting=default, …)."
    return ""


def _places_fault(kind: str, expected: str) -> Callable[[str], str]:
    def fault(name: str) -> str:
        entry = REGISTRIES[kind][name]
        places = _positional(getattr(entry, "function", entry))
        if len(places) == len(expected.split(", ")):
            return ""
        return f"{kind} {name!r} has the signature ({', '.join(places)}); expected ({expected})."

    return fault


SIGNATURES: Mapping[str, Callable[[str], str]] = {
    "method": _method_fault,
    "attack": _places_fault("attack", "inputs"),
    "data set": _places_fault("data set", "start"),
    "model": _places_fault("model", "input_shape, number_of_classes"),
}


# --- guards -----------------------------------------------------------------------------------------------------------


class _TimeUpError(BaseException):
    """Ends a plugin; no `except Exception` of the plugin's can stop it."""


@contextmanager
def time_limit(what: str) -> Iterator[None]:
    """Ends what takes longer than `LIMIT` seconds; only in the main thread, where signals arrive.

    Raises: ForgetError that says so.
    """
    seconds = float(os.environ.get(LIMIT, DEFAULT_LIMIT))
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def end(*_: object) -> None:
        raise _TimeUpError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TimeUpError as error:
        raise ForgetError(f"{what} did not end within {seconds:g} s ({LIMIT} sets the limit).") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _called(function: Callable[..., Any], what: str, path: Path, *given: Any, **settings: Any) -> Any:
    """What a plugin's function returns; its errors name the plugin."""
    with time_limit(what):
        try:
            with running(path):
                return function(*given, **settings)
        except Exception as error:
            if type(error).__module__.startswith("forget_lib"):
                raise  # a method may say that it does not apply, and the runner may end it
            raise ForgetError(f"{what} failed: {where(error, path)}.") from error


def _guarded_method(name: str, path: Path) -> Any:
    entry, what = METHODS[name], f"Method {name} ({path.name})"

    @functools.wraps(entry.function)
    def run(model: nn.Module, task: UnlearningTask, **settings: Any) -> nn.Module:
        own = {part: _copied(getattr(task, part)) for part in PARTS}
        result = _called(entry.function, what, path, model, dataclasses.replace(task, **own), **settings)
        for part, samples in own.items():
            given = getattr(task, part)
            if not (torch.equal(samples.images, given.images) and torch.equal(samples.labels, given.labels)):
                raise ForgetError(f"{what} changed the {part} data that it was given; work on copies (Samples.subset).")
        if not isinstance(result, nn.Module):
            raise ForgetError(f"{what} returned {type(result).__name__}; it must return a model.")
        with task.meter.paused():
            logits = predict(result, task.retain.subset(torch.arange(min(2, len(task.retain)))))
        if logits.shape[1:] != (task.number_of_classes,):
            raise ForgetError(
                f"{what} returned a model with outputs {list(logits.shape[1:])}; expected [{task.number_of_classes}]."
            )
        return result

    return dataclasses.replace(entry, function=run)


def _copied(samples: Any) -> Any:
    return dataclasses.replace(samples, images=samples.images.clone(), labels=samples.labels.clone())


def _guarded_attack(name: str, path: Path) -> Any:
    entry = ATTACKS[name]

    def guard(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        if function is None:
            return None
        return functools.wraps(function)(
            lambda inputs: _called(function, f"Attack {name} ({path.name})", path, copy.deepcopy(inputs))
        )

    return dataclasses.replace(entry, function=guard(entry.function), score=guard(entry.score))


def _guarded_dataset(name: str, path: Path) -> Any:
    function, what = DATASETS[name], f"Data set {name} ({path.name})"

    @functools.wraps(function)
    def run(start: str) -> ImageData:
        result = _called(function, what, path, start)
        if not isinstance(result, ImageData):
            raise DataError(f"{what} returned {type(result).__name__}; it must return an ImageData, see load_own.")
        return result

    return run


def _guarded_model(name: str, path: Path) -> Any:
    function = nets.MODELS[name]
    guarded = functools.wraps(function)(functools.partial(_called, function, f"Model {name} ({path.name})", path))
    guarded.code = path
    return functools.partial(adapted, Spec(name), guarded)


GUARDS: Mapping[str, Callable[[str, Path], Any]] = {
    "method": _guarded_method,
    "attack": _guarded_attack,
    "data set": _guarded_dataset,
    "model": _guarded_model,
}
