"""DLFD. Paper: 15 steps, w_f 3 on MUFAC. Corrected: the public code takes OT of the image without n, which has no
gradient for n, and takes logits for features; `literal` is the first of these, a move by the loss alone. Its s is 0.4,
twenty times the one here; once an attack is within 0.15 of chance it takes plain steps on the retain set; and it keeps
the checkpoint with the best validation accuracy among those under an attack score. Here: fixed epochs, no threshold, no
selection, since a method has no attack at hand."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Count, Factor, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, frozen_copy, pairs, random_part, sgd, step
from forget_lib.unlearning.parts.adversarial import HIGH, LOW, PIXEL


def transport_plan(cost: Tensor, smoothing: float = 0.01, iterations: int = 50) -> Tensor:
    """Plan of entropic optimal transport between uniform marginals by Sinkhorn's iterations, in logarithms; [A, B]."""
    kernel = -cost / smoothing
    rows = torch.full_like(cost[:, 0], -math.log(len(cost)))
    columns = torch.full_like(cost[0], -math.log(cost.shape[1]))
    f, g = torch.zeros_like(rows), torch.zeros_like(columns)
    for _ in range(iterations):
        f = rows - torch.logsumexp(kernel + g, 1)
        g = columns - torch.logsumexp(kernel + f[:, None], 0)
    return (kernel + f[:, None] + g).exp()


def feature_distance(first: Tensor, second: Tensor) -> Tensor:
    """Σ plan · (1 - cos) between two sets of features [A, D] and [B, D]; the plan itself takes no gradient."""
    cost = 1 - functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    return (transport_plan(cost.detach()) * cost).sum()


@method("dlfd", title="DLFD", uses="forget, retain (a share)", family="noise", needs=("linear head",))
@source("Choi & Na, AAAI 2025", arxiv="2409.14747", status="V")
def dlfd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 0.01,
    epochs: Count = 1,
    steps: Count = 4,
    reach: Share = 0.02,
    forget_weight: Factor = 3.0,
    retain_weight: Factor = 1.0,
    retain_share: Share = 0.2,
    literal: bool = False,
) -> nn.Module:
    r"""Move retain images until their features are far from those of the forget set, and train on them.

    For each retain batch, `steps` times: :math:`n \leftarrow n + s\, sign \nabla_n [w_f\, OT(\phi(x_r + n), \phi(x_f))
    - w_r \mathcal{L}_{CE}(f(x_r + n), y)]`, image clamped; then one step on :math:`\mathcal{L}_{CE}(f(x_r + n), y)`.
    OT: entropic, cosine cost, ε = 0.01; φ: penultimate features; :math:`w_r` grows from 0 over the epochs' batches.
    Settings: reach is s in pixel range 0 to 1. literal: OT without gradient.
    """
    part, optimizer = random_part(task, task.retain, retain_share), sgd(model, learning_rate)
    total, done = epochs * -(-len(part) // part.batch_size), 0
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, _labels) in pairs(part, task.forget):
            weight = retain_weight * done / max(1, total - 1)
            frozen, moved = cast(Classifier, frozen_copy(model)), images
            with torch.no_grad():
                away = frozen.features(forget_images)
            for _ in range(steps):
                moved = moved.detach().requires_grad_()
                features = frozen.features(moved)
                distance = feature_distance(features.detach() if literal else features, away)
                gain = forget_weight * distance - weight * functional.cross_entropy(frozen.head(features), labels)
                (gradient,) = torch.autograd.grad(gain, moved)
                moved = (moved.detach() + reach * PIXEL * gradient.sign()).clamp(LOW, HIGH)
            task.meter.add(len(forget_images) + 3 * steps * len(images))
            step(optimizer, functional.cross_entropy(model(moved), labels))
            done += 1
    return model
