"""JiT. Public code at f7e3f20: N = 25, one pass; σ for VGG16 is 0.5 (class) or 0.01 (random), for ViT 0.8, on images of
standard deviation 0.267: 0.13, 0.003 and 0.21 in the pixel range used here, whose default is three times as large. The
public code sums over the batch and clears the gradient only once, so that it accumulates over batches; its rates are
tuned to that. Here it is a mean, cleared at each step, its gradient clipped."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning import Count, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, sgd, step
from forget_lib.unlearning.parts.adversarial import PIXEL

COPIES, BATCH = 8, 32  # N noisy copies of each sample, samples a step
CLIP = 1.0  # largest norm of a gradient, ours


def lipschitz_loss(model: nn.Module, images: Tensor, noises: Tensor) -> Tensor:
    """Mean over noisy copies and samples of ‖f(x) - f(x')‖ / ‖x - x'‖, x' clamped to the range of the batch.

    Only f(x) takes a gradient. noises: [copies, *images.shape].
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
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.03, epochs: Count = 2, deviation: Positive = 0.4
) -> nn.Module:
    r"""Lower the model's local Lipschitz constant at the forget samples; neither labels nor retain data are used.

    Minimises :math:`\frac{1}{N} \sum_n \overline{\|f_\theta(x) - sg\,f_\theta(x'_n)\|_2 / \|x - x'_n\|_2}`,
    :math:`x'_n = clamp(x + \sigma \epsilon_n)`, by SGD without momentum or weight decay; batch-norm statistics stay.
    Settings: deviation σ in pixel range 0 to 1.
    """
    optimizer = sgd(model, learning_rate, momentum=0, weight_decay=0)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, _labels in task.forget.batches(batch_size=BATCH):
            noise = torch.randn((COPIES, *images.shape), generator=task.generator)
            noises = PIXEL * deviation * noise.to(images)
            step(optimizer, lipschitz_loss(model, images, noises), clip_norm=CLIP)
    return model
