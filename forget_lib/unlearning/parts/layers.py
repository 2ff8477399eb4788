"""Methods that keep the first layers and train the last k anew."""

import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.common import COUNTED, trained_weights


def _used_modules(model: nn.Module, task: UnlearningTask) -> list[str]:
    """Names of the modules with trained weights that some logit depends on (a net may have another head), in order; one
    batch of the retain set tells, in eval mode, which is not counted as cost."""
    weights = trained_weights(model)
    images, _ = next(task.retain.batches(shuffle=False, augment=False))
    with task.meter.paused():
        gradients = torch.autograd.grad(model.eval()(images).sum(), list(weights.values()), allow_unused=True)
    used = [name for name, gradient in zip(weights, gradients, strict=True) if gradient is not None]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in used))


def counted_layers(model: nn.Module, task: UnlearningTask) -> list[str]:
    """Names of the convolutions and linear layers that are trained and that some logit depends on, in order."""
    return [name for name in _used_modules(model, task) if isinstance(model.get_submodule(name), COUNTED)]


def last_layers(model: nn.Module, task: UnlearningTask, k: int) -> list[str]:
    """Names of the last k of the `counted_layers`, the head among them, and of what else has weights on the way.

    Raises: ForgetError for k < 1 or more layers than there are.
    """
    modules, counted = _used_modules(model, task), counted_layers(model, task)
    if not 1 <= k <= len(counted):
        raise ForgetError(
            f"k is {k}; this model trains {len(counted)} convolutions and linear layers, so 1 <= k <= {len(counted)}."
        )
    return modules[modules.index(counted[-k]) :]


def start_anew(model: nn.Module, task: UnlearningTask, names: list[str]) -> None:
    """Gives the named modules the weights and statistics of a fresh model, in place; frozen weights stay."""
    fresh = task.fresh_model(task.seed).to(task.device)
    for name in names:
        module = model.get_submodule(name)
        frozen = {part for part, parameter in module.named_parameters() if not parameter.requires_grad}
        state = fresh.get_submodule(name).state_dict()
        module.load_state_dict({part: state[part] for part in state.keys() - frozen}, strict=False)


def freeze_all_but(model: nn.Module, names: list[str]) -> None:
    """Leaves only the parameters of the named modules as they are, and freezes all others."""
    last = {id(parameter) for name in names for parameter in model.get_submodule(name).parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in last)
