"""Methods that keep the first layers and train the last k anew."""

import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.common import COUNTED, trained_weights


def last_layers(model: nn.Module, task: UnlearningTask, k: int) -> list[str]:
    """Names of the last k convolutions and linear layers, the head among them, and of what else has weights on the
    way; layers that are frozen, or that no logit depends on, do not count.

    Raises: ForgetError for k < 1 or more layers than there are.
    """
    own = list(dict.fromkeys(name.rpartition(".")[0] for name in used_weights(model, task)))
    counted = [name for name in own if isinstance(model.get_submodule(name), COUNTED)]
    if not 1 <= k <= len(counted):
        raise ForgetError(
            f"k is {k}; this model trains {len(counted)} convolutions and linear layers, so 1 <= k <= {len(counted)}."
        )
    return own[own.index(counted[-k]) :]


def used_weights(model: nn.Module, task: UnlearningTask) -> list[str]:
    """Names of the trained weights that the logits depend on: a net may have a head that they do not pass.

    One batch of the retain set tells, in eval mode; that is not counted as cost.
    """
    weights = trained_weights(model)
    images, _ = next(task.retain.batches(shuffle=False, augment=False))
    with task.meter.paused():
        gradients = torch.autograd.grad(model.eval()(images).sum(), list(weights.values()), allow_unused=True)
    return [name for name, gradient in zip(weights, gradients, strict=True) if gradient is not None]


def freeze_all_but(model: nn.Module, names: list[str]) -> None:
    """Leaves only the parameters of the named modules as they are, and freezes all others."""
    kept = {id(parameter) for name in names for parameter in model.get_submodule(name).parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in kept)
