"""CFW."""

import torch
from torch import nn

from forget_lib.unlearning.common import check_range, epochs_of, kernels, sgd, step
from forget_lib.unlearning.parts.winners import WINNERS, class_weights, cosine, weighted_cross_entropy
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@torch.no_grad()
def add_noise(weights: dict[str, nn.Parameter], deviation: float, generator: torch.Generator) -> None:
    """θ ← θ + N(0, deviation²), in place."""
    for weight in weights.values():
        weight.add_(deviation * torch.randn(weight.shape, generator=generator).to(weight))


@method("cfw", title="CFW", uses="retain", needs=("trained convolution",), **WINNERS)
def cfw(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.05,
    epochs: int = 2,
    deviation: float = 0.6,
    last_deviation: float = 0.005,
) -> nn.Module:
    r"""Noise on all convolutions, then repair with balanced classes, a little noise again before the last epoch.

    :math:`\theta_{conv} \leftarrow \theta_{conv} + \mathcal{N}(0, 0.6^2)`; :math:`\min \overline{w_y
    \mathcal{L}_{CE}(x_r, y)}`, :math:`w_y \propto 1 / n_y`, cosine schedule; :math:`\mathcal{N}(0, 0.005^2)` before the
    last epoch. Status V (4 epochs at 7e-4). The public code visits only direct children with "conv" in their name, so
    in a ResNet only the first convolution is moved; its weighted loss multiplies a mean by a mean.
    Args: learning_rate of SGD (> 0). epochs (>= 1). deviation, last_deviation (>= 0).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    for name, value in (("deviation", deviation), ("last_deviation", last_deviation)):
        check_range(name, value, 0)
    convolutions = kernels(model, (nn.Conv2d,))
    weights = class_weights(task.retain.labels, task.number_of_classes, -1.0)
    add_noise(convolutions, deviation, task.generator)
    optimizer = sgd(model, learning_rate)
    steps, done = epochs * -(-len(task.retain) // task.retain.batch_size), 0
    for epoch in epochs_of(task, model, epochs):
        if epoch == epochs - 1:
            add_noise(convolutions, last_deviation, task.generator)
        for images, labels in task.retain.batches():
            optimizer.param_groups[0]["lr"] = learning_rate * cosine(min(done / steps, 1.0))
            step(optimizer, weighted_cross_entropy(model(images), labels, weights))
            done += 1
    return model
