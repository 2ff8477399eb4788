"""JiT. Paper: N = 25, one pass, σ 0.5 to 0.8 for VGG. The public code sums over the batch and clears the gradient only
once, so that it accumulates over batches; its rates are tuned to that. Here it is a mean, cleared at each step."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, Positive, epochs_of, sgd, step
from forget_lib.unlearning.parts.adversarial import PIXEL


def lipschitz_loss(model: nn.Module, images: Tensor, noises: Tensor) -> Tensor:
    """Mean over noisy copies and samples of ‖f(x) - f(x')‖ / ‖x - x'‖, x' clamped to the range of the batch; only f(x)
    takes a gradient. noises: [copies, *images.shape].
    """
    logits = model(images)
    total = torch.zeros((), dtype=logits.dtype, device=logits.device)
    for noise in noises:
        moved = (images + noise).clamp(float(images.min()), float(images.max()))
        with torch.no_grad():
            target = model(moved)
        distance = (images - moved).flatten(1).norm(dim=1).clamp(min=1e-12)
        total = total + ((logits - target).norm(dim=1) / distance).mean()
    return total / len(noises)


@method("jit_lipschitz", title="JiT", uses="forget (no labels)", family="noise")
@source("Foster et al., arXiv 2402.01401", arxiv="2402.01401", status="V")
def jit_lipschitz(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Positive = 0.03,
    epochs: Count = 2,
    deviation: Positive = 0.4,
    copies: Count = 8,
    batch_size: Count = 32,
    clip_norm: Positive = 1.0,
) -> nn.Module:
    r"""Lower the model's local Lipschitz constant at the forget samples; neither labels nor retain data are used.

    Minimises :math:`\frac{1}{N} \sum_n \overline{\|f_\theta(x) - sg\,f_\theta(x'_n)\|_2 / \|x - x'_n\|_2}`,
    :math:`x'_n = clamp(x + \sigma \epsilon_n)`, by SGD without momentum or weight decay; batch-norm statistics stay.

    Settings: deviation σ in pixel range 0 to 1; copies N. clip_norm: largest norm of a gradient, ours.
    """
    optimizer = sgd(model, learning_rate, momentum=0, weight_decay=0)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, _labels in task.forget.batches(batch_size=batch_size):
            noise = torch.randn((copies, *images.shape), generator=task.generator)
            noises = PIXEL * deviation * noise.to(images)
            step(optimizer, lipschitz_loss(model, images, noises), clip_norm=clip_norm)
    return model
