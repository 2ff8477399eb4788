"""CT. 3 epochs at 1e-3; rates and epochs here for small models."""

import torch
from torch import nn

from forget_lib.unlearning import Count, Rate, UnlearningTask, method
from forget_lib.unlearning.common import kernels, sgd
from forget_lib.unlearning.parts.winners import WINNER, cosine, repair


@method("convolution_transpose", title="CT", uses="retain", family="challenge winners", needs=("trained convolution",))
@WINNER
def convolution_transpose(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.02, epochs: Count = 2
) -> nn.Module:
    r"""Transpose every square convolution kernel in space, then repair on the retain set.

    :math:`W_{o,i,a,b} \leftarrow W_{o,i,b,a}`, then :math:`\min \mathcal{L}_{CE}(D_r)` with a cosine schedule.
    """
    with torch.no_grad():
        for weight in kernels(model, (nn.Conv2d,)).values():
            if weight.shape[2] == weight.shape[3]:
                weight.copy_(weight.transpose(2, 3).clone())
    return repair(model, task, epochs, sgd(model, learning_rate), cosine)
