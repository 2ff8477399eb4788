"""Influence unlearning: one Newton step towards the optimum without the forget set."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning.common import check_range, frozen_copy, random_part, trained_weights
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


class Curvature:
    """Gauss-Newton matrix G of the mean cross-entropy over samples, times a vector; never formed. θ are the trained
    weights.

    G = mean over samples of Jᵀ (diag p - p pᵀ) J with J = ∂logits / ∂θ, in eval mode: positive semi-definite, and the
    Hessian itself for a linear model.
    """

    def __init__(self, model: nn.Module, samples: Samples, meter: Meter, batch_size: int = 256) -> None:
        self.model = detach_meters(frozen_copy(model))
        self.parameters = {name: parameter.detach() for name, parameter in trained_weights(model).items()}
        self.buffers = dict(self.model.named_buffers())
        self.batches = [i for i, _ in samples.batches(batch_size=batch_size, shuffle=False, augment=False)]
        self.size, self.meter = len(samples), meter

    def times(self, vector: Tensor) -> Tensor:
        """G v, float [n] for v [n], trained parameters in the order of the model."""
        sizes = [value.numel() for value in self.parameters.values()]
        parts = zip(self.parameters.items(), vector.split(sizes), strict=True)
        direction = {name: part.view_as(value) for (name, value), part in parts}
        total = torch.zeros_like(vector)
        for images in self.batches:

            def logits_at(weights: dict[str, Tensor], images: Tensor = images) -> Tensor:
                return torch.func.functional_call(self.model, (weights, self.buffers), (images,))

            logits, change = torch.func.jvp(logits_at, (self.parameters,), (direction,))
            p = logits.softmax(1)
            bent = p * change - p * (p * change).sum(1, keepdim=True)
            (back,) = torch.func.vjp(logits_at, self.parameters)[1](bent / self.size)
            total += torch.cat([back[name].flatten() for name in self.parameters])
            self.meter.add(5 * len(images))  # two forward passes, one along the direction, and one backward
        return total


def conjugate_gradients(curvature: Curvature, vector: Tensor, damping: float, iterations: int) -> Tensor:
    """(G + damping · I)⁻¹ v, ended early once the residual is 1e-12 of v."""
    found = torch.zeros_like(vector)
    residual, direction = vector.clone(), vector.clone()
    size = residual @ residual
    limit = 1e-24 * size
    for _ in range(iterations):
        if size <= limit:
            break
        bent = curvature.times(direction) + damping * direction
        length = size / (direction @ bent)
        found += length * direction
        residual -= length * bent
        size, before = residual @ residual, size
        direction = residual + size / before * direction
    return found


def mean_gradient(model: nn.Module, samples: Samples) -> Tensor:
    """Gradient of the mean cross-entropy over all samples in eval mode by the trained weights, flat, float [n]."""
    model.eval()
    weights = list(trained_weights(model).values())
    total = 0
    for images, labels in samples.batches(batch_size=256, shuffle=False, augment=False):
        loss = functional.cross_entropy(model(images), labels, reduction="sum") / len(samples)
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        total = total + torch.cat([gradient.flatten() for gradient in gradients])
    return total


@method(
    "influence",
    title="Influence",
    paper="Koh & Liang, ICML 2017; Izzo et al., AISTATS 2021",
    uses="forget, retain",
    family="second order",
)
def influence(
    model: nn.Module,
    task: UnlearningTask,
    *,
    scale: float = 1.0,
    damping: float = 1e-2,
    iterations: int = 5,
    samples: int = 120,
) -> nn.Module:
    r"""One step to where the optimum of the loss lies once the forget set is taken out of it.

    :math:`\theta \leftarrow \theta_0 + s (G + \delta I)^{-1} v`,
    :math:`v = \frac{|D_f|}{|D|} (\nabla \mathcal{L}(D_f) - \nabla \mathcal{L}(D_r))`,
    which is minus the gradient of the retain loss where that of the whole loss is 0. G is the Gauss-Newton matrix on
    a random part of the retain set, inverted by conjugate gradients. Statistics of batch norm stay. Status V for v;
    the inverse is ours. The "WoodFisher" recursion of Unlearn-Sparse only ever rescales one gradient, so its inverse
    differs from the identity in one direction alone: there the method is a gradient step.
    Args: scale: s (> 0). damping: δ (> 0). iterations of conjugate gradients (>= 1). samples: retain samples for G
        (>= 1).
    Raises: ForgetError for settings out of range.
    """
    for name, value in (("scale", scale), ("damping", damping)):
        check_range(name, value, 0, open_low=True)
    for name, value in (("iterations", iterations), ("samples", samples)):
        check_range(name, value, 1)
    task.epoch_done(0, model)
    share = len(task.forget) / (len(task.forget) + len(task.retain))
    vector = share * (mean_gradient(model, task.forget) - mean_gradient(model, task.retain))
    part = random_part(task, task.retain, min(1.0, samples / len(task.retain)))
    change = scale * conjugate_gradients(Curvature(model, part, task.meter), vector, damping, int(iterations))
    with torch.no_grad():
        weights = list(trained_weights(model).values())
        for weight, part_of_change in zip(weights, change.split([w.numel() for w in weights]), strict=True):
            weight.add_(part_of_change.view_as(weight))
    task.epoch_done(1, model)
    return model
