"""Registry of methods: `@method(...)` above `function(model, task, *, settings) -> model`."""

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from forget_lib.core.errors import DivergedError, ForgetError, NotApplicableError, meant, unknown
from forget_lib.core.user_code import naming_failure
from forget_lib.models.train import detach_meters, not_finite
from forget_lib.unlearning.common import keeping_frozen, kernels, trained_weights
from forget_lib.unlearning.task import UnlearningTask

SHARE = 0.2
"""Epochs over the retain set that are still cheap, as a share of the training's."""
NEEDS = {
    "class request": lambda model, task: bool(task.classes),
    "trained convolution": lambda model, task: bool(kernels(model, (nn.Conv2d,))),
    "linear head": lambda model, task: isinstance(getattr(model, "head", None), nn.Linear),
    "trained linear head": lambda model, task: (
        isinstance(getattr(model, "head", None), nn.Linear) and set(trained_weights(model.head)) == {"weight", "bias"}
    ),
    "validation": lambda model, task: len(task.validation) > 0,
    "training log": lambda model, task: task.training_log is not None,
    "memorisation scores": lambda model, task: task.memorisation is not None,
}
RANGES = {
    "rate": (lambda value: value > 0, "a number above 0"),
    "epochs": (lambda value: value >= 0, "a whole number of at least 0"),
    "size": (lambda value: value >= 0, "a whole number of at least 0"),
    "share": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
}
"""Endings of settings' names, and what their values can be in any method."""
Function = Callable[..., nn.Module]


@dataclass(frozen=True)
class Method:
    """One registered method.

    Attributes: name; title for people; paper (source); uses: the data it touches ("forget, retain"); family; needs:
        keys of NEEDS; control: not a method but a row to compare with; exact: the same distribution as retraining;
        version: raised when its numbers change, so that records of before are made again; function.
    """

    name: str
    title: str
    paper: str
    uses: str
    family: str
    needs: tuple[str, ...]
    control: bool
    exact: bool
    version: int
    function: Function

    @property
    def settings(self) -> dict[str, Any]:
        """Settings and their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    @property
    def idea(self) -> str:
        """First paragraph of the docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0].replace("\n", " ")


METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    title: str,
    paper: str,
    uses: str,
    family: str,
    needs: tuple[str, ...] = (),
    control: bool = False,
    exact: bool = False,
    version: int = 1,
) -> Callable[[Function], Function]:
    """Registers the function below it; see `Method` for the arguments."""
    for need in needs:
        if need not in NEEDS:
            raise unknown("need of a method", need, NEEDS)

    def register(function: Function) -> Function:
        METHODS[name] = Method(name, title, paper, uses, family, needs, control, exact, version, function)
        return function

    return register


def list_methods(*, controls: bool = True) -> list[str]:
    """Names of the registered methods in the order of registration, with or without the controls."""
    return [name for name, entry in METHODS.items() if controls or not entry.control]


def get_method(name: str) -> Method:
    """The method of that name.

    Raises: UnknownNameError that lists the methods.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def setting_faults(name: str, settings: Mapping[str, Any]) -> list[str]:
    """All that is wrong with the settings of a method, a sentence each: unknown, of another type than the default, not
    finite, or out of the range that its name has in every method. Raises: UnknownNameError for the method."""
    defaults = get_method(name).settings
    faults = [str(unknown(f"setting of method {name}", key, defaults)) for key in settings if key not in defaults]
    for key, default in defaults.items():
        expected = _expected(key, default, settings[key]) if key in settings else ""
        if expected:
            value = settings[key]
            faults.append(f"Setting {key} of method {name} is {value!r}{meant(value)}; expected {expected}.")
    return faults


def _expected(key: str, default: Any, value: Any) -> str:
    """What a value should have been, or nothing where it is in order."""
    if default is None:
        return ""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return "" if isinstance(value, type(default)) else f"a value like its default {default!r}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"a value like its default {default!r}"
    if isinstance(default, int) and value != int(value):
        return "a whole number"
    for ending, (fits, words) in RANGES.items():
        if key.endswith(ending) and not fits(value):
            return words
    return ""


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raises: UnknownNameError for the method; ForgetError with all that is wrong with its settings."""
    faults = setting_faults(name, settings)
    if faults:
        raise ForgetError("\n".join(faults))


def why_not_applicable(name: str, model: nn.Module, task: UnlearningTask) -> str | None:
    """The needs of a method that this model and task do not meet, in words; None where it can run."""
    missing = [need for need in get_method(name).needs if not NEEDS[need](model, task)]
    return f"{name} needs: {', '.join(missing)}" if missing else None


def _called(name: str, student: nn.Module, task: UnlearningTask, settings: Mapping[str, Any]) -> Any:
    """What the method returns. Raises: ForgetError that names method, net, error and line for any error of the net's or
    the method's."""
    with naming_failure(f"{name} failed on the net {type(getattr(student, 'net', student)).__name__}"):
        return get_method(name).function(student, task, **settings)


def unlearn(name: str, model: nn.Module, task: UnlearningTask, **settings: Any) -> nn.Module:
    """Runs a method on a copy of `model`; neither the model nor the samples are changed.

    Frozen weights (`requires_grad` is False) and the statistics of frozen batch norm keep their bits.
    Returns: another model, in eval mode, on the task's device, with the same weights frozen.
    Raises: UnknownNameError, ForgetError for settings and for a method that fails on the net; NotApplicableError with
        the reason; DivergedError for weights that are not finite.
    """
    check_settings(name, settings)
    reason = why_not_applicable(name, model, task)
    if reason is not None:
        raise NotApplicableError(reason)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    if not any(trained.values()):
        raise ForgetError("Every weight of the net is frozen: there is nothing to unlearn. Unfreeze some of them.")
    task = dataclasses.replace(task, fresh_model=keeping_frozen(task.fresh_model, model))
    student = task.meter.attach(detach_meters(copy.deepcopy(model)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        unlearned = _called(name, student, task, settings)
    if not isinstance(unlearned, nn.Module):
        raise ForgetError(f"Method {name} returned {type(unlearned).__name__}; it must return a model.")
    before = tuple(not_finite(model))  # an ensemble puts a prefix before these names
    if any(not key.endswith(before) for key in not_finite(unlearned)):
        raise DivergedError(f"Method {name} left weights that are not finite; lower its learning rate.")
    for key, parameter in unlearned.named_parameters():  # a method may have frozen some for itself
        parameter.requires_grad_(trained.get(key, parameter.requires_grad))
    return detach_meters(unlearned).eval()


def default_settings(method: str, training_epochs: int) -> dict[str, Any]:
    """A method's defaults, for a model that was trained for so many epochs.

    Defaults fit a training of ten epochs or more. Where it was shorter, a method that passes over the retain set gets
    fewer epochs, a fifth of the training's and at least one, so that it stays a cheap alternative to retraining.
    """
    entry = get_method(method)
    settings = entry.settings
    if "epochs" in settings and "retain" in entry.uses and not entry.control:
        most = max(1, int(SHARE * training_epochs))
        settings["epochs"] = min(settings["epochs"] or most, most)
    return settings
