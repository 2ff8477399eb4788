"""DLFD: train on retain images that were moved away from the features of the forget set."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.unlearning.boundary_shrink import HIGH, LOW, PIXEL
from forget_lib.unlearning.common import check_range, epochs_of, frozen_copy, pairs, random_part, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def transport_plan(cost: Tensor, smoothing: float = 0.01, iterations: int = 50) -> Tensor:
    """Plan of entropic optimal transport between uniform marginals by Sinkhorn's iterations, in logarithms; [A, B]."""
    kernel = -cost / smoothing
    rows, columns = (
        torch.full_like(cost[:, 0], -math.log(len(cost))),
        torch.full_like(cost[0], -math.log(cost.shape[1])),
    )
    f, g = torch.zeros_like(rows), torch.zeros_like(columns)
    for _ in range(iterations):
        f = rows - torch.logsumexp(kernel + g, 1)
        g = columns - torch.logsumexp(kernel + f[:, None], 0)
    return (kernel + f[:, None] + g).exp()


def feature_distance(first: Tensor, second: Tensor) -> Tensor:
    """Σ plan · (1 - cos) between two sets of features [A, D] and [B, D]; the plan itself takes no gradient."""
    cost = 1 - functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    return (transport_plan(cost.detach()) * cost).sum()


@method(
    "dlfd",
    title="DLFD",
    paper="Choi & Na, AAAI 2025",
    uses="forget, retain (a share)",
    family="noise",
    needs=("linear head",),
)
def dlfd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.01,
    epochs: int = 1,
    steps: int = 4,
    reach: float = 0.02,
    forget_weight: float = 3.0,
    retain_weight: float = 1.0,
    retain_share: float = 0.2,
    literal: bool = False,
) -> nn.Module:
    r"""Move retain images until their features are far from those of the forget set, and train on them.

    For each retain batch, `steps` times: :math:`n \leftarrow n + s\, sign \nabla_n [w_f\, OT(\phi(x_r + n), \phi(x_f))
    - w_r \mathcal{L}_{CE}(f(x_r + n), y)]`, image clamped; then one step on :math:`\mathcal{L}_{CE}(f(x_r + n), y)`.
    OT: entropic, cosine cost, ε = 0.01; φ: penultimate features; :math:`w_r` grows from 0 over the epochs' batches.
    Status V (paper: 15 steps, w_f 3 on MUFAC). Corrected: the public code takes OT of the image without n, which has
    no gradient for n, takes logits for features, and keeps the checkpoint with the best attack score; `literal` is
    the first of these, a move by the loss alone. Here: fixed epochs, no selection.
    Args: learning_rate of SGD (> 0). epochs (>= 1). steps (>= 1). reach: s, in pixel range 0 to 1 (> 0).
        forget_weight, retain_weight (>= 0). retain_share in (0, 1]. literal: OT without gradient.
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("steps", steps, 1)
    check_range("reach", reach, 0, 1, open_low=True)
    for name, value in (("forget_weight", forget_weight), ("retain_weight", retain_weight)):
        check_range(name, value, 0)
    part, optimizer = random_part(task, task.retain, retain_share), sgd(model, learning_rate)
    total, done = epochs * -(-len(part) // part.batch_size), 0
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, _labels) in pairs(part, task.forget):
            weight = retain_weight * done / max(1, total - 1)
            frozen, moved = frozen_copy(model), images
            with torch.no_grad():
                away = frozen.features(forget_images)
            for _ in range(int(steps)):
                moved = moved.detach().requires_grad_()
                features = frozen.features(moved)
                distance = feature_distance(features.detach() if literal else features, away)
                gain = forget_weight * distance - weight * functional.cross_entropy(frozen.head(features), labels)
                (gradient,) = torch.autograd.grad(gain, moved)
                moved = (moved.detach() + reach * PIXEL * gradient.sign()).clamp(LOW, HIGH)
            task.meter.add(len(forget_images) + 3 * int(steps) * len(images))
            step(optimizer, functional.cross_entropy(model(moved), labels))
            done += 1
    return model
