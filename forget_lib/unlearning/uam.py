"""UAM. Read in the authors' torchunlearn at 405bab1 (optim/minimizer.py), where γ has no effect on UAM's step. Their
README (5 epochs, SGD 0.01) gives no value for ρ and the length of its cosine: both are ours. Here an epoch passes over
the retain set; theirs goes on until the longer of the two loaders ends."""

import math

import torch
from torch import Tensor, nn

from forget_lib.models.optimizers import clear_gradients
from forget_lib.unlearning import Count, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import both, cross_entropy, epochs_of, finite, pairs, sgd, trained_weights


@method("uam", title="UAM", uses="forget, retain", family="gradient ascent")
@source("Kim et al., NeurIPS 2025", status="V")
def uam(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.01, epochs: Count = 2, reach: Positive = 0.5
) -> nn.Module:
    r"""Descend the retain loss by its gradient at the point nearby where the forget loss is highest.

    :math:`\theta \leftarrow \theta - \eta \nabla \mathcal{L}_{CE}(D_r; \theta + \epsilon)`,
    :math:`\epsilon = \rho \nabla \mathcal{L}_{CE}(D_f; \theta) / \|\nabla \mathcal{L}_{CE}(D_f; \theta)\|`, a batch of
    each at a time, SGD. ρ falls to 0 as a cosine over all steps. The forget batch passes the net beside the retain
    batch, so that batch norm sees both, and then the retain batch alone; both passes renew its statistics.
    Settings: reach is ρ, a distance in all trained weights taken as one vector.
    """
    optimizer = sgd(model, learning_rate)
    weights: list[Tensor] = list(trained_weights(model).values())
    total, done = epochs * -(-len(task.retain) // task.retain.batch_size), 0
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (others, other_labels) in pairs(task.retain, task.forget):
            forget_logits, _ = both(model, others, images)
            forget_loss = finite(cross_entropy(forget_logits, other_labels))
            shift = list(torch.autograd.grad(forget_loss, weights, materialize_grads=True))
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(shift))).item()
            distance = reach * 0.5 * (1 + math.cos(math.pi * done / total))
            torch._foreach_mul_(shift, distance / (norm + 1e-16))
            with torch.no_grad():
                torch._foreach_add_(weights, shift)
            clear_gradients(optimizer)
            finite(cross_entropy(model(images), labels)).backward()
            with torch.no_grad():
                torch._foreach_sub_(weights, shift)
            optimizer.step()
            done += 1
    return model
