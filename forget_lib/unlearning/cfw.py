"""CFW. 4 epochs at 7e-4. The public code visits only direct children with "conv" in their name, so in a ResNet only the
first convolution is moved; its weighted loss multiplies a mean by a mean."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method
from forget_lib.unlearning.common import kernels, sgd
from forget_lib.unlearning.parts.winners import WINNER, class_weights, cosine, repair, weighted_cross_entropy

LAST_DEVIATION = 0.005  # of the noise before the last epoch


@method("cfw", title="CFW", uses="retain", family="challenge winners", needs=("trained convolution",))
@WINNER
def cfw(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.05, epochs: Count = 2, deviation: Factor = 0.6
) -> nn.Module:
    r"""Noise on all convolutions, then repair with balanced classes, a little noise again before the last epoch.

    :math:`\theta_{conv} \leftarrow \theta_{conv} + \mathcal{N}(0, 0.6^2)`; :math:`\min \overline{w_y
    \mathcal{L}_{CE}(x_r, y)}`, :math:`w_y \propto 1 / n_y`, cosine schedule; :math:`\mathcal{N}(0, 0.005^2)` before the
    last epoch.
    """
    weights = class_weights(task.retain.labels, task.number_of_classes, -1.0)

    @torch.no_grad()
    def add_noise(size: float) -> None:
        for weight in kernels(model, (nn.Conv2d,)).values():
            weight.add_(size * torch.randn(weight.shape, generator=task.generator).to(weight))

    def before(epoch: int) -> None:
        if epoch == epochs - 1:
            add_noise(LAST_DEVIATION)

    def loss(_images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        return weighted_cross_entropy(logits, labels, weights)

    add_noise(deviation)
    return repair(model, task, epochs, sgd(model, learning_rate), cosine, loss, before)
