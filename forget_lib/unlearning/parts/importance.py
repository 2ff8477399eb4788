"""How much each weight matters for a set of samples: mean over the samples of |∂loss/∂θ|^p."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning.common import Importance, frozen_copy, trained_weights

Losses = Callable[[Tensor, Tensor], Tensor]


def sample_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample, [B]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def sample_output_norm(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared length of each sample's logits, [B]; the labels are not used."""
    return logits.square().sum(1)


def importance_by_sample(
    model: nn.Module, samples: Samples, losses: Losses, power: int, meter: Meter, chunk: int = 64
) -> Importance:
    """Mean over samples of |∂loss_i/∂θ|^power in eval mode, by name of trained weight; independent of any batch size.

    Args: losses: (logits [B, K], labels [B]) to [B]. power: 1 or 2. chunk: samples at once.
    """
    frozen = detach_meters(frozen_copy(model))
    weights = {name: frozen.get_parameter(name) for name in trained_weights(model)}
    rest = dict(frozen.named_buffers()) | {n: p for n, p in frozen.named_parameters() if n not in weights}

    def loss_of(weights: Importance, image: Tensor, label: Tensor) -> Tensor:
        return losses(torch.func.functional_call(frozen, (weights, rest), (image[None],)), label[None])[0]

    gradients_of = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0))
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for images, labels in samples.batches(batch_size=chunk, shuffle=False, augment=False):
        for name, gradients in gradients_of(weights, images, labels).items():
            totals[name] += gradients.abs().pow(power).sum(0)
        meter.add(3 * len(labels))
    return {name: total / len(samples) for name, total in totals.items()}


def importance_by_batch(model: nn.Module, samples: Samples, losses: Losses, power: int, batch_size: int) -> Importance:
    """Mean over batches of |∂ mean loss/∂θ|^power, power 1 or 2, as published code has it; it shrinks as batches
    grow."""
    frozen = frozen_copy(model)
    weights = [frozen.get_parameter(name).requires_grad_(True) for name in trained_weights(model)]
    sums, batches = [torch.zeros_like(weight) for weight in weights], 0
    for images, labels in samples.batches(batch_size=batch_size, augment=False):
        gradients = torch.autograd.grad(losses(frozen(images), labels).mean(), weights, materialize_grads=True)
        if power == 2:
            torch._foreach_addcmul_(sums, gradients, gradients)
        else:
            torch._foreach_add_(sums, torch._foreach_abs(gradients))
        batches += 1
    return {name: total / batches for name, total in zip(trained_weights(model), sums, strict=True)}
