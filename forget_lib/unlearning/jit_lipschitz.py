"""JiT: make the outputs around the forget samples flat."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning.boundary_shrink import PIXEL
from forget_lib.unlearning.common import check_range, epochs_of, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def lipschitz_loss(model: nn.Module, images: Tensor, noises: list[Tensor]) -> Tensor:
    """Mean over noisy copies and samples of ‖f(x) - f(x')‖ / ‖x - x'‖, x' clamped to the range of the batch; only f(x)
    takes a gradient.

    Args: noises: each like `images`, [B, C, H, W].
    """
    logits, total = model(images), 0.0
    for noise in noises:
        moved = (images + noise).clamp(float(images.min()), float(images.max()))
        with torch.no_grad():
            target = model(moved)
        distance = (images - moved).flatten(1).norm(dim=1).clamp(min=1e-12)
        total = total + ((logits - target).norm(dim=1) / distance).mean()
    return total / len(noises)


@method(
    "jit_lipschitz", title="JiT", paper="Foster et al., arXiv 2402.01401", uses="forget (no labels)", family="noise"
)
def jit_lipschitz(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.03,
    epochs: int = 2,
    deviation: float = 0.4,
    copies: int = 8,
    batch_size: int = 32,
    clip_norm: float = 1.0,
) -> nn.Module:
    r"""Lower the model's local Lipschitz constant at the forget samples; neither labels nor retain data are used.

    Minimises :math:`\frac{1}{N} \sum_n \overline{\|f_\theta(x) - sg\,f_\theta(x'_n)\|_2 / \|x - x'_n\|_2}`,
    :math:`x'_n = clamp(x + \sigma \epsilon_n)`, by SGD without momentum or weight decay; batch-norm statistics stay.
    Status V (paper: N = 25, one pass, σ 0.5 to 0.8 for VGG). The public code sums over the batch and clears the
    gradient only once, so that it accumulates over batches; its rates are tuned to that. Here it is a mean, cleared
    at each step.
    Args: learning_rate of SGD (> 0). epochs: passes over the forget set (>= 1). deviation: σ in pixel range 0 to 1
        (> 0). copies: N (>= 1). batch_size (>= 1). clip_norm: largest norm of a gradient, ours (> 0).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("deviation", deviation, 0, open_low=True)
    check_range("copies", copies, 1)
    check_range("batch_size", batch_size, 1)
    check_range("clip_norm", clip_norm, 0, open_low=True)
    optimizer = sgd(model, learning_rate, momentum=0, weight_decay=0)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, _labels in task.forget.batches(batch_size=batch_size):
            shape = (int(copies), *images.shape)
            noises = PIXEL * deviation * torch.randn(shape, generator=task.generator).to(images)
            step(optimizer, lipschitz_loss(model, images, list(noises)), clip_norm=clip_norm)
    return model
