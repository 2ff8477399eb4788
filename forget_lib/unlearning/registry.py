"""Registry of methods: `@method(...)` above `function(model, task, *, settings) -> model`."""

import contextlib
import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, cast, get_origin, get_type_hints

import torch
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, create_model
from torch import nn

from forget_lib.core.errors import DivergedError, ForgetError, NotApplicableError, unknown
from forget_lib.core.registry import Registry, Source
from forget_lib.core.settings import Settings, faults_of
from forget_lib.core.user_code import naming_failure
from forget_lib.models.train import detach_meters, not_finite
from forget_lib.unlearning.common import kernels, trained_weights
from forget_lib.unlearning.task import UnlearningTask

FIRST = ("retrain", "finetune", "negative_gradient", "negative_gradient_plus", "random_label")
"""The methods that all others build on stand first in tables; the others follow by name."""
SHARE = 0.2
"""Epochs over the retain set that are still cheap, as a share of the training's."""
RATE = 0.02
"""Rate of the trainings that the methods' default rates were chosen for."""
NEEDS: dict[str, Callable[[nn.Module, UnlearningTask], bool]] = {
    "class request": lambda model, task: bool(task.classes),
    "trained convolution": lambda model, task: bool(kernels(model, (nn.Conv2d,))),
    "linear head": lambda model, task: isinstance(getattr(model, "head", None), nn.Linear),
    "trained linear head": lambda model, task: (
        NEEDS["linear head"](model, task) and set(trained_weights(cast(nn.Linear, model.head))) == {"weight", "bias"}
    ),
    "no running statistics": lambda model, task: model.state_dict().keys() == dict(model.named_parameters()).keys(),
    "validation": lambda model, task: len(task.validation) > 0,
    "training log": lambda model, task: task.training_log is not None,
    "memorisation scores": lambda model, task: task.memorisation is not None,
}
RANGES: dict[str, tuple[Any, ...]] = {"rate": (Gt(0),), "epochs": (Ge(0),), "size": (Ge(0),), "share": (Ge(0), Le(1))}
"""Ranges by the ending of a setting's name, where its type states none: a plugin may say `learning_rate: float`."""
Function = Callable[..., nn.Module]


class _Settings(Settings):
    model_config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True)


@dataclasses.dataclass(frozen=True)
class Method:
    """One registered method.

    Attributes: title for people; uses: the data it touches ("forget, retain"); needs: keys of NEEDS; version: raised
        when its numbers change, so that records of before are made again.
    """

    name: str
    function: Function
    source: Source
    title: str
    uses: str
    family: str
    needs: tuple[str, ...] = ()
    version: int = 1

    @property
    def control(self) -> bool:
        """Whether it is not a method but a row to compare with."""
        return self.family == "control"

    @property
    def exact(self) -> bool:
        """Whether it has the same distribution as retraining; `sisa` as retraining its own ensemble."""
        return self.family == "exact"

    @property
    def paper(self) -> str:
        """Authors, venue and year; see `Source`."""
        return self.source.paper

    @property
    def code(self) -> str:
        """Published settings, and what public code does otherwise: the docstring of the method's file."""
        return inspect.cleandoc(inspect.getmodule(self.function).__doc__ or "").replace("\n", " ")

    @property
    def idea(self) -> str:
        """First paragraph of the docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0].replace("\n", " ")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings and their defaults."""
        parameters = inspect.signature(self.function).parameters
        return {name: p.default for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    @cached_property
    def model(self) -> type[BaseModel]:
        """Types, ranges and defaults of the settings: `model_fields` for tables, `model_json_schema()` for editors."""
        hints: dict[str, Any] = {}
        with contextlib.suppress(NameError):  # a type that only its checker knows
            hints = get_type_hints(self.function, include_extras=True)
        types = {name: _type_of(name, default, hints.get(name)) for name, default in self.settings.items()}
        fields: Any = {name: (types[name], default) for name, default in self.settings.items()}
        return create_model(self.name, __base__=_Settings, **fields)


METHODS: Registry[Method] = Registry("method", __package__, ("common", "parts", "registry", "task"))


def method(
    name: str, *, title: str, uses: str, family: str, paper: str = "", needs: tuple[str, ...] = (), version: int = 1
) -> Callable[[Function], Function]:
    """Registers the function below it; see `Method`. paper: where no `@source` stands below.

    What uses validation samples needs some, which `needs` does not repeat.
    """
    needs += ("validation",) if "validation" in uses else ()
    for need in needs:
        if need not in NEEDS:
            raise unknown("need of a method", need, NEEDS)

    def register(function: Function) -> Function:
        origin = vars(function).get("source", Source(paper))
        METHODS.register(name, Method(name, function, origin, title, uses, family, needs, version), function)
        return function

    return register


def list_methods(*, controls: bool = True) -> list[str]:
    """Names of all methods, the simple ones first, with or without the controls."""
    names = [*FIRST, *(name for name in METHODS.names if name not in FIRST)]
    return [name for name in names if controls or not METHODS[name].control]


def get_method(name: str) -> Method:
    """The method of that name. Raises: UnknownNameError that lists the methods."""
    return METHODS[name]


def setting_faults(name: str, settings: Mapping[str, Any]) -> list[str]:
    """All that is wrong with the settings of a method, a sentence each: unknown, of another type or out of range.

    Raises: UnknownNameError for the method.
    """
    faults = faults_of(get_method(name).model, _whole(name, settings), f"method {name}")
    return [f"Method {name}: {fault.rstrip('.')}." for fault in faults.values()]


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raises: UnknownNameError for the method; ForgetError with all that is wrong with its settings."""
    faults = setting_faults(name, settings)
    if faults:
        raise ForgetError("\n".join(faults))


def why_not_applicable(name: str, model: nn.Module, task: UnlearningTask) -> str | None:
    """The needs of a method that this model and task do not meet, in words; None where it can run."""
    missing = [need for need in get_method(name).needs if not NEEDS[need](model, task)]
    return f"{name} needs: {', '.join(missing)}" if missing else None


def unlearn(name: str, model: nn.Module, task: UnlearningTask, **settings: Any) -> nn.Module:
    """Runs a method on a copy of `model`; neither the model nor the samples are changed, and frozen weights stay.

    Returns: another model, in eval mode, on the task's device, with the same weights frozen.
    Raises: UnknownNameError, ForgetError for settings and for a method that fails on the net; NotApplicableError with
        the reason; DivergedError for weights that are not finite.
    """
    check_settings(name, settings)
    reason = why_not_applicable(name, model, task)
    if reason is not None:
        raise NotApplicableError(reason)
    trained = {key: parameter.requires_grad for key, parameter in model.named_parameters()}
    if not any(trained.values()):
        raise ForgetError("Every weight of the net is frozen: there is nothing to unlearn. Unfreeze some of them.")
    task = dataclasses.replace(task, fresh_model=_keeping_frozen(task.fresh_model, model))
    student = task.meter.attach(detach_meters(copy.deepcopy(model)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        with naming_failure(f"{name} failed on the net {type(getattr(student, 'net', student)).__name__}"):
            unlearned = get_method(name).function(student, task, **_whole(name, settings))
    if not isinstance(unlearned, nn.Module):
        raise ForgetError(f"Method {name} returned {type(unlearned).__name__}; it must return a model.")
    before = tuple(not_finite(model))  # an ensemble puts a prefix before these names
    if any(not key.endswith(before) for key in not_finite(unlearned)):
        raise DivergedError(f"Method {name} left weights that are not finite; lower its learning rate.")
    for key, parameter in unlearned.named_parameters():  # a method may have frozen some for itself
        parameter.requires_grad_(trained.get(key, parameter.requires_grad))
    return detach_meters(unlearned).eval()


def default_settings(name: str, training_epochs: int, training_rate: float = RATE) -> dict[str, Any]:
    """A method's defaults, for a model that was trained for so many epochs at such a rate.

    Where these were fewer than ten, a method that passes over the retain set gets a fifth of them, at least one, so
    that it stays a cheap alternative to retraining. Rates are in proportion to the training's, but for methods with a
    guarantee, whose rate goes with their noise.
    """
    entry = get_method(name)
    settings = entry.settings
    for key in [key for key in settings if key.endswith("rate") and entry.family != "certified"]:
        settings[key] = float(f"{settings[key] * training_rate / RATE:.6g}") if training_rate != RATE else settings[key]
    if "epochs" in settings and "retain" in entry.uses and not entry.control:
        most = max(1, int(SHARE * training_epochs))
        settings["epochs"] = min(settings["epochs"] or most, most)
    return settings


def _keeping_frozen(make: Callable[[int], nn.Module], model: nn.Module) -> Callable[[int], nn.Module]:
    """`make`, but each model has the frozen weights of `model`, and the statistics of its frozen modules.

    No training changes them. What a net derives from its training data (`prepare`) it derives anew.
    """
    frozen = {name: weight.detach() for name, weight in model.named_parameters() if not weight.requires_grad}
    for name, module in model.named_modules():
        weights = list(module.parameters(recurse=False))
        if weights and not any(weight.requires_grad for weight in weights):
            frozen |= {f"{name}.{key}".lstrip("."): value for key, value in module.named_buffers(recurse=False)}

    def fresh(seed: int) -> nn.Module:
        new = make(seed)
        state = {} if hasattr(new, "prepare") else new.state_dict()
        for name in state.keys() & frozen.keys():
            state[name].copy_(frozen[name])
        return new

    return fresh if frozen else make


def _type_of(name: str, default: Any, hint: Any) -> Any:
    """Type and range of a setting: as stated, else by its default and name."""
    if get_origin(hint) not in (Annotated, Literal) and hint not in (bool, int, float, str):
        hint = Any if default is None else type(default)
    bounds = [ends for ending, ends in RANGES.items() if name.endswith(ending) and hint in (int, float)]
    return Annotated[hint, *bounds[0]] if bounds else hint


def _whole(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with 2.0 as 2 where a whole number is asked for: tables know only floats."""
    fields = get_method(name).model.model_fields
    whole = {key: value for key, value in settings.items() if isinstance(value, float) and value.is_integer()}
    asked = {key: int(value) for key, value in whole.items() if key in fields and fields[key].annotation is int}
    return dict(settings) | asked
