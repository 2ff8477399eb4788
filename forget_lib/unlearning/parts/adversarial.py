"""Images moved a little, within the range of pixels, so that a frozen model is wrong about them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LOW, HIGH, PIXEL = -2.0, 2.0, 4.0  # range of normalised images, and how long the pixel range 0 to 1 is in it


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """∂ Σ cross-entropy / ∂ image, like `images` [B, C, H, W]."""
    images = images.detach().requires_grad_()
    loss = cross_entropy(model(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


def fast_gradient_sign(model: nn.Module, images: Tensor, labels: Tensor, reach: float) -> Tensor:
    """Images moved by `reach` (pixel range 0 to 1) up the sign of the loss's gradient, clamped and rounded to 1/255."""
    moved = (images.detach() + reach * PIXEL * input_gradient(model, images, labels).sign()).clamp(LOW, HIGH)
    return ((moved - LOW) * (255 / PIXEL)).round() * (PIXEL / 255) + LOW


def harmful_noise(model: nn.Module, images: Tensor, labels: Tensor, reach: float, steps: int) -> Tensor:
    """Images at most `reach` (pixel range 0 to 1) away in each pixel that raise a frozen model's loss, by PGD."""
    moved = images
    for _ in range(steps):
        moved = moved.detach() + 2 * reach / steps * PIXEL * input_gradient(model, moved, labels).sign()
        moved = torch.minimum(torch.maximum(moved, images - reach * PIXEL), images + reach * PIXEL).clamp(LOW, HIGH)
    return moved.detach()
