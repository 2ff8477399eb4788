"""Methods that keep the first layers and train the last k anew."""

import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.common import COUNTED, trained_weights


def last_layers(model: nn.Module, task: UnlearningTask, k: int) -> list[str]:
    """Names of the last k convolutions and linear layers, the head among them, and of what else has weights on the way.

    Layers that are frozen, or that no logit depends on (a net may have another head), do not count; one batch of the
    retain set tells, in eval mode, which is not counted as cost.
    Raises: ForgetError for k < 1 or more layers than there are.
    """
    weights = trained_weights(model)
    images, _ = next(task.retain.batches(shuffle=False, augment=False))
    with task.meter.paused():
        gradients = torch.autograd.grad(model.eval()(images).sum(), list(weights.values()), allow_unused=True)
    used = [name for name, gradient in zip(weights, gradients, strict=True) if gradient is not None]
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in used))
    counted = [name for name in modules if isinstance(model.get_submodule(name), COUNTED)]
    if not 1 <= k <= len(counted):
        raise ForgetError(
            f"k is {k}; this model trains {len(counted)} convolutions and linear layers, so 1 <= k <= {len(counted)}."
        )
    return modules[modules.index(counted[-k]) :]


def freeze_all_but(model: nn.Module, names: list[str]) -> None:
    """Leaves only the parameters of the named modules as they are, and freezes all others."""
    last = {id(parameter) for name in names for parameter in model.get_submodule(name).parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in last)
