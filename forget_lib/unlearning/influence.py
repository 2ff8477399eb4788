"""Influence. For v; the inverse is ours. The "WoodFisher" recursion of Unlearn-Sparse only ever rescales one gradient,
so its inverse differs from the identity in one direction alone: there the method is a gradient step."""

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning import Count, Positive, UnlearningTask, method, source
from forget_lib.unlearning.common import frozen_copy, mean_gradient, random_part, trained_weights

ITERATIONS = 5  # of conjugate gradients


class Curvature:
    """Gauss-Newton matrix G of the mean cross-entropy over samples, times a vector; never formed.

    G = mean over samples of Jᵀ (diag p - p pᵀ) J with J = ∂logits / ∂θ, θ the trained weights, in eval mode: positive
    semi-definite, and the Hessian itself for a linear model.
    """

    def __init__(self, model: nn.Module, samples: Samples, meter: Meter, batch_size: int = 256) -> None:
        self.model = detach_meters(frozen_copy(model))
        self.parameters = {name: parameter.detach() for name, parameter in trained_weights(model).items()}
        self.buffers = dict(self.model.named_buffers())
        self.batches = [i for i, _ in samples.batches(batch_size=batch_size, shuffle=False, augment=False)]
        self.size, self.meter = len(samples), meter

    def times(self, vector: Tensor) -> Tensor:
        """G v, float [n] for v [n], trained parameters in the order of the model."""
        parts = vector.split([value.numel() for value in self.parameters.values()])
        direction = {
            name: part.view_as(value) for (name, value), part in zip(self.parameters.items(), parts, strict=True)
        }
        total = torch.zeros_like(vector)
        for images in self.batches:

            def logits_at(weights: dict[str, Tensor], images: Tensor = images) -> Tensor:
                return torch.func.functional_call(self.model, (weights, self.buffers), (images,))

            logits, change = torch.func.jvp(logits_at, (self.parameters,), (direction,))[:2]
            p = logits.softmax(1)
            bent = p * change - p * (p * change).sum(1, keepdim=True)
            (back,) = torch.func.vjp(logits_at, self.parameters)[1](bent / self.size)
            total += torch.cat([back[name].flatten() for name in self.parameters])
            self.meter.add(5 * len(images))  # two forward passes, one along the direction, and one backward
        return total


def conjugate_gradients(curvature: Curvature, vector: Tensor, damping: float) -> Tensor:
    """(G + damping · I)⁻¹ v, ended early once the residual is 1e-12 of v."""
    found = torch.zeros_like(vector)
    residual, direction = vector.clone(), vector.clone()
    size = residual @ residual
    limit = 1e-24 * size
    for _ in range(ITERATIONS):
        if size <= limit:
            break
        bent = curvature.times(direction) + damping * direction
        length = size / (direction @ bent)
        found += length * direction
        residual -= length * bent
        size, before = residual @ residual, size
        direction = residual + size / before * direction
    return found


@method("influence", title="Influence", uses="forget, retain", family="second order")
@source("Koh & Liang, ICML 2017; Izzo et al., AISTATS 2021", arxiv="1703.04730 2002.10077", status="V")
def influence(
    model: nn.Module, task: UnlearningTask, *, scale: Positive = 1.0, damping: Positive = 1e-2, samples: Count = 120
) -> nn.Module:
    r"""One step to where the optimum of the loss lies once the forget set is taken out of it.

    :math:`\theta \leftarrow \theta_0 + s (G + \delta I)^{-1} v`, :math:`v = \frac{|D_f|}{|D|} (\nabla \mathcal{L}(D_f)
    - \nabla \mathcal{L}(D_r))`, which is minus the gradient of the retain loss where that of the whole loss is 0. G is
    the Gauss-Newton matrix on a random part of the retain set, inverted by conjugate gradients. Batch-norm statistics
    stay.
    Settings: scale s, damping δ. samples: retain samples for G.
    """
    task.epoch_done(0, model)
    share = len(task.forget) / (len(task.forget) + len(task.retain))
    forget, retain = (mean_gradient(model, (1, part), batch_size=256) for part in (task.forget, task.retain))
    vector = torch.cat([(share * (forget[name] - retain[name])).flatten() for name in forget])
    part = random_part(task, task.retain, min(1.0, samples / len(task.retain)))
    change = scale * conjugate_gradients(Curvature(model, part, task.meter), vector, damping)
    with torch.no_grad():
        weights = list(trained_weights(model).values())
        for weight, part_of_change in zip(weights, change.split([w.numel() for w in weights]), strict=True):
            weight.add_(part_of_change.view_as(weight))
    task.epoch_done(1, model)
    return model
