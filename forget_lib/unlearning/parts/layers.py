"""Methods that keep the first layers and train the last k anew."""

from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning.common import COUNTED, used_weights
from forget_lib.unlearning.task import UnlearningTask


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


def freeze_all_but(model: nn.Module, names: list[str]) -> None:
    """Leaves only the parameters of the named modules as they are, and freezes all others."""
    kept = {id(parameter) for name in names for parameter in model.get_submodule(name).parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in kept)
