"""CT."""

import torch
from torch import nn

from forget_lib.unlearning.common import kernels, sgd
from forget_lib.unlearning.parts.winners import WINNERS, cosine, cross_entropy, repair
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("convolution_transpose", title="CT", uses="retain", needs=("trained convolution",), **WINNERS)
def convolution_transpose(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.02, epochs: int = 2
) -> nn.Module:
    r"""Transpose every convolution kernel in space, then repair on the retain set.

    :math:`W_{o,i,a,b} \leftarrow W_{o,i,b,a}`, then :math:`\min \mathcal{L}_{CE}(D_r)` with a cosine schedule. Status V
    (3 epochs at 1e-3); rates and epochs here for small models. Kernels that are not square are left as they are.
    Args: learning_rate of SGD (> 0). epochs (>= 1).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    with torch.no_grad():
        for weight in kernels(model, (nn.Conv2d,)).values():
            if weight.shape[2] == weight.shape[3]:
                weight.copy_(weight.transpose(2, 3).clone())
    return repair(model, task, epochs, sgd(model, learning_rate), cross_entropy, cosine)
