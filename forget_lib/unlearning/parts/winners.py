"""Winners of the NeurIPS 2023 unlearning challenge, as deepunlearn describes and re-implements them: the winners' own
code was not read.

Places 6 (KDE) and 7 (RNI) are left out: the first trains on the validation set, which other methods here keep for
choosing settings, and the second draws nine tensors of a ResNet-18 at random, which small nets hardly have.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from forget_lib.unlearning import UnlearningTask, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, step

WINNER = source("NeurIPS 2023 challenge; Cadet et al. (deepunlearn)", arxiv="2406.09073 2410.01276", status="P")


def repair(
    model: nn.Module,
    task: UnlearningTask,
    epochs: int,
    optimizer: torch.optim.Optimizer,
    rate: Callable[[float], float] = lambda progress: 1.0,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda images, logits, labels: cross_entropy(logits, labels),
    before: Callable[[int], None] = lambda epoch: None,
) -> nn.Module:
    """Epochs over the retain set.

    Args: rate: factor of the learning rate at progress in [0, 1). loss: of (images, logits, labels), a scalar. before:
        called with each epoch before it.
    """
    base = [group["lr"] for group in optimizer.param_groups]
    steps, done = epochs * -(-len(task.retain) // task.retain.batch_size), 0
    for epoch in epochs_of(task, model, epochs):
        before(epoch)
        for images, labels in task.retain.batches():
            for group, value in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = value * rate(min(done / steps, 1.0))
            step(optimizer, loss(images, model(images), labels))
            done += 1
    return model


def cosine(progress: float) -> float:
    """1 falling to 0."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def class_weights(labels: Tensor, number_of_classes: int, power: float) -> Tensor:
    """count^power by class, scaled so that the mean over samples is 1; 0 for classes without a sample."""
    counts = torch.bincount(labels, minlength=number_of_classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** power, 0.0)
    return weights / (weights * counts).sum() * len(labels)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over samples of w_y · CE."""
    return (weights.to(logits)[labels] * cross_entropy(logits, labels, reduction="none")).mean()
