"""A user's own model: `package.module:function` or `path/file.py:function` wherever a model is named, and its weights.

The function makes an untrained `nn.Module` that gives logits [B, K]. It is called with what its signature asks for:
`num_classes` or `number_of_classes` (K), `input_shape` (C, H, W), `in_channels` (C). torchvision's builders work as
they are: `torchvision.models:resnet18`. Options follow a question mark, see `Options`.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
from pydantic import BeforeValidator, Field, FiniteFloat
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import ForgetError, meant
from forget_lib.core.names import split_options
from forget_lib.core.paths import one_line
from forget_lib.core.settings import Settings, faults_of
from forget_lib.core.user_code import imports_late, load_function, running


def _decimals(value: Any) -> Any:
    """`0.485,0.456,0.406` or one number as a tuple of numbers."""
    with suppress(TypeError, ValueError):
        return tuple(map(float, value.split(",") if isinstance(value, str) else [value]))
    return value


DECIMALS = BeforeValidator(_decimals)


class Options(Settings):
    """Options of a model's name; others than these go to the function.

    A net that is trained here and has no mean and std sees the images as the study has them, (x - 0.5) / 0.25.
    """

    weights: str = Field(default="", description="file of the original's weights, which is then not trained here")
    channels: int | None = Field(default=None, ge=1, le=16, description="to which grey images are repeated")
    size: int | None = Field(default=None, ge=1, le=4096, description="side to which images are resized, pixels")
    mean: Annotated[tuple[FiniteFloat, ...], DECIMALS] = Field(
        default=(), description="of values in [0, 1]: finite numbers, one or one a channel, such as 0.485,0.456,0.406"
    )
    std: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], DECIMALS] = Field(
        default=(), description="of the same: finite numbers larger than 0"
    )


class Spec(NamedTuple):
    """What a model's name says: the function, the options, and arguments of the function."""

    function: str
    options: Options = Options()
    arguments: tuple[tuple[str, Any], ...] = ()


def parse_spec(name: str) -> Spec:
    """Reads a model's name with its options. Raises: ForgetError for all values that cannot be."""
    function, given = split_options(name)
    known = {key: given.pop(key) for key in Options.model_fields if key in given}
    faults = list(faults_of(Options, known, "model's name").values())
    faults += [f"{key} is {value!r}{meant(value)}" for key, value in given.items() if meant(value)]
    if faults:
        raise ForgetError(f"Options of {function}: {'; '.join(faults)}.")
    return Spec(function, Options(**known), tuple(sorted(given.items())))


class OwnModel(nn.Module):
    """A user's net with its preprocessing: logits from the study's batches.

    Input: float32 [B, C, H, W] as `Samples.batches` gives it. `net` is the user's model; its state dict is the user's.
    `code`: the user's file, if its functions import modules when they are called.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, spec: Spec, code: Path | None = None) -> None:
        super().__init__()
        self.net, self.spec, self.code = net, spec, code
        for name, default in (("mean", 0.0), ("std", 1.0)):
            values = torch.tensor(getattr(spec.options, name) or (default,))
            self.register_buffer(name, values.reshape(1, -1, 1, 1), persistent=False)

    def preprocessed(self, images: Tensor) -> Tensor:
        """The study's batches as the net wants them: a copy, contiguous, since nets view their input and some change it
        in place."""
        options = self.spec.options
        if options.channels is not None and images.shape[1] != options.channels:
            grey = images.mean(1, keepdim=True) if images.shape[1] > 1 else images
            images = grey.expand(-1, options.channels, -1, -1)
        if options.size is not None and images.shape[2:] != (options.size, options.size):
            images = functional.interpolate(images, (options.size, options.size), mode="bilinear", antialias=True)
        if options.mean or options.std:
            images = (images * 0.25 + 0.5 - self.mean) / self.std
        return images.clone(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        with running(self.code):
            return self.net(self.preprocessed(images))


class OwnClassifier(OwnModel):
    """A user's net whose logits come from its last `nn.Linear`: with features and head, as the built-in ones."""

    def __init__(self, net: nn.Module, spec: Spec, head_name: str, code: Path | None = None) -> None:
        super().__init__(net, spec, code)
        self.head_name = head_name

    @property
    def head(self) -> nn.Linear:
        """The linear layer that gives the logits."""
        return cast(nn.Linear, self.net.get_submodule(self.head_name))

    def features(self, images: Tensor) -> Tensor:
        """What the head sees, float32 [B, D]."""
        seen: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            self.forward(images)
        finally:
            handle.remove()
        return seen[-1]


def build_own(name: str, input_shape: tuple[int, int, int], number_of_classes: int) -> OwnModel:
    """A new model of the user's, with random weights from the global generator. Raises: NotTrustedError; ForgetError,
    see `adapted`."""
    spec = parse_spec(name)
    return adapted(spec, load_function(spec.function, "own model"), input_shape, number_of_classes)


def adapted(
    spec: Spec, function: Callable[..., Any], input_shape: tuple[int, int, int], number_of_classes: int
) -> OwnModel:
    """The net that a function makes, tried once, in the study's form; an `OwnClassifier` where it ends in a linear
    layer, so that what needs features applies.

    Raises: ForgetError if the function fails, or gives something else than a model whose output is logits [B, K].
    """
    head = _head_of(spec, function, input_shape, number_of_classes)
    net, code = _made(spec, function, input_shape, number_of_classes), _late(function)
    return OwnModel(net, spec, code) if head is None else OwnClassifier(net, spec, head, code)


def _late(function: Callable[..., Any]) -> Path | None:
    code = getattr(function, "code", None)
    return code if code is not None and imports_late(code) else None


def _made(spec: Spec, function: Callable[..., Any], input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Calls the factory with what its signature asks for."""
    size = spec.options.size
    shape = (spec.options.channels or input_shape[0], *((size, size) if size else input_shape[1:]))
    known = {"num_classes": classes, "number_of_classes": classes, "input_shape": shape, "in_channels": shape[0]}
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}
    given = {key: value for key, value in known.items() if key in parameters}
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    if takes_any and "number_of_classes" not in given:
        given["num_classes"] = classes
    given |= dict(spec.arguments)
    try:
        net = function(**given)
    except ForgetError:
        raise
    except Exception as error:  # the user's code can raise anything
        asked = ", ".join(given) or "nothing"
        raise ForgetError(f"{spec.function} made no model from {asked}: {one_line(error)}.") from error
    if not isinstance(net, nn.Module):
        raise ForgetError(f"{spec.function} gave a {type(net).__name__}; it must return an nn.Module.")
    if isinstance(net, torch.jit.ScriptModule) or hasattr(net, "_orig_mod"):  # of torch.jit.script, torch.compile
        raise ForgetError(
            f"{spec.function} gave a compiled net, whose layers can be neither watched nor changed; expected the net "
            "itself. Leave out torch.compile or torch.jit.script."
        )
    if next(net.parameters(), None) is None:
        raise ForgetError(f"{spec.function} gave a model without parameters; there is nothing to unlearn.")
    return net


@lru_cache(maxsize=32)
def _head_of(spec: Spec, function: Callable[..., Any], input_shape: tuple[int, int, int], classes: int) -> str | None:
    """Tries the model on two images, in both modes; the name of its linear head within the net, or None.

    Raises: ForgetError for an output that is not logits.
    """
    channels = spec.options.channels or input_shape[0]
    if not {len(spec.options.mean), len(spec.options.std)} <= {0, 1, channels}:
        raise ForgetError(f"mean and std do not fit images of {channels} channels; give one number or {channels}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = OwnModel(_made(spec, function, input_shape, classes), spec, _late(function))
        images = torch.randn(2, *input_shape)
        for training in (True, False):
            output, calls = _tried(model.train(training), images, classes)
            _check_output(spec.function, output, classes, "train" if training else "eval")
    return _linear_head(output, calls)


def wrapped(net: nn.Module, batch: Tensor) -> OwnModel:
    """A trained net that is at hand, in the form of `adapted`. batch: inputs as the net takes them."""
    spec = Spec(type(net).__name__)
    with torch.no_grad():
        classes = net(batch).shape[1]
    output, calls = _tried(OwnModel(net, spec), batch, classes)
    head = _linear_head(output, calls)
    return OwnModel(net, spec) if head is None else OwnClassifier(net, spec, head)


def _linear_head(output: Tensor, calls: list[tuple[str, Tensor, Tensor]]) -> str | None:
    """Name of the last linear layer that gives the logits."""
    return next((name for name, seen, out in reversed(calls) if seen.ndim == 2 and torch.equal(out, output)), None)


def _tried(model: OwnModel, images: Tensor, classes: int) -> tuple[Any, list[tuple[str, Tensor, Tensor]]]:
    """The model's output, and name, input and output of each linear layer with as many outputs as classes."""
    calls: list[tuple[str, Tensor, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _m, inputs, output, name=name: calls.append((name, inputs[0], output)))
        for name, module in model.net.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and module.bias is not None
    ]
    try:
        with torch.no_grad():
            return model(images), calls
    except Exception as error:  # the user's code can raise anything
        shape, function = " × ".join(map(str, model.preprocessed(images).shape[1:])), model.spec.function
        raise ForgetError(
            f"{function} cannot take images of {shape} (channels, height, width): {one_line(error)}. If it wants "
            f"others, say which, for example {function}?channels=3&size=224."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _check_output(function: str, output: Any, classes: int, mode: str) -> None:
    if not isinstance(output, Tensor):
        raise ForgetError(
            f"{function} returns a {type(output).__name__} in {mode} mode; expected one tensor of logits "
            f"[B, {classes}]. Wrap it in a function that returns a model with the logits alone (torchvision's "
            "auxiliary outputs: add ?aux_logits=false)."
        )
    if output.shape != (2, classes):
        raise ForgetError(
            f"{function} gives {list(output.shape)} for 2 images; the data have {classes} classes, so "
            f"[2, {classes}] is expected. Let the function take num_classes, or make it for this number."
        )
    if bool((output >= 0).all()) and torch.allclose(output.sum(1), torch.ones(2), atol=1e-3):
        raise ForgetError(
            f"{function} gives probabilities in {mode} mode (no value is negative, each row sums to 1); expected "
            "logits. Leave out the softmax at its end: the loss and the attacks apply it themselves."
        )
