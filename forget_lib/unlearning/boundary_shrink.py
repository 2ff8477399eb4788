"""Boundary Shrink: hand each forget sample to the class on the other side of the nearest boundary."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning.common import check_range, epochs_of, frozen_copy, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

LOW, HIGH, PIXEL = -2.0, 2.0, 4.0  # range of normalised images, and how long the pixel range 0 to 1 is in it


def fast_gradient_sign(model: nn.Module, images: Tensor, labels: Tensor, reach: float) -> Tensor:
    """Images moved by `reach` (pixel range 0 to 1) up the sign of the loss's gradient, clamped and rounded to 1/255.

    Args: images: normalised, [B, C, H, W].
    """
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(model(images), labels, reduction="sum"), images)
    moved = (images.detach() + reach * PIXEL * gradient.sign()).clamp(LOW, HIGH)
    return ((moved - LOW) * (255 / PIXEL)).round() * (PIXEL / 255) + LOW


def nearest_labels(model: nn.Module, samples: Samples, reach: float) -> Tensor:
    """For each sample the class that a frozen model sees in its adversarial neighbour, the true one excluded;
    int64 [N].
    """
    found = []
    for images, labels in samples.batches(batch_size=256, shuffle=False, augment=False):
        moved = fast_gradient_sign(model, images, labels, reach)
        with torch.no_grad():
            found.append(model(moved).scatter(1, labels[:, None], -torch.inf).argmax(1))
    return torch.cat(found)


@method("boundary_shrink", title="Boundary Shrink", paper="Chen et al., CVPR 2023", uses="forget", family="relabelling")
def boundary_shrink(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 1e-3, epochs: int = 5, reach: float = 0.1
) -> nn.Module:
    r"""Learn, for each forget sample, the class that its adversarial neighbour falls into.

    :math:`x' = x + \epsilon\, sign \nabla_x \mathcal{L}_{CE}(f_{\theta_0}(x), y)`,
    :math:`y' = \arg\max_{k \ne y} f_{\theta_0}(x')_k`; then :math:`\min_\theta \mathcal{L}_{CE}(f_\theta(x_f), y')`
    over the forget set alone. Labels are found once, on images that are not augmented; batch-norm statistics stay.
    Made for classes. Status V (paper: SGD 1e-5, 10 epochs). The public code lets y' = y where the attack fails, so
    such samples are trained on their own label.
    Args: learning_rate: of SGD (> 0). epochs: passes over the forget set (>= 1). reach: ε in pixel range 0 to 1, in
    (0, 1].
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("reach", reach, 0, 1, open_low=True)
    neighbours = task.forget.with_labels(nearest_labels(frozen_copy(model), task.forget, reach))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, labels in neighbours.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
    return model
