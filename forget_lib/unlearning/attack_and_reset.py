"""Attack-and-Reset."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning.boundary_shrink import HIGH, LOW, PIXEL
from forget_lib.unlearning.common import (
    check_range,
    epochs_of,
    frozen_copy,
    gradients_of,
    kernels,
    random_part,
    sgd,
    step,
)
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def harmful_noise(model: nn.Module, images: Tensor, labels: Tensor, reach: float, steps: int) -> Tensor:
    """Images at most `reach` (pixel range 0 to 1) away in each pixel that raise a frozen model's loss, by PGD."""
    moved = images
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(model(moved), labels, reduction="sum"), moved)
        moved = moved.detach() + 2 * reach / steps * PIXEL * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, images - reach * PIXEL), images + reach * PIXEL).clamp(LOW, HIGH)
    return moved.detach()


def filter_scores(model: nn.Module, samples: Samples, reach: float, steps: int) -> dict[str, Tensor]:
    """‖∇ mean CE under harmful noise‖ of each filter of each trained convolution, by name of weight: [outputs]."""
    frozen = frozen_copy(model)
    model.eval()
    model.zero_grad()
    for images, labels in samples.batches(batch_size=256, shuffle=False, augment=False):
        moved = harmful_noise(frozen, images, labels, reach, steps)
        (functional.cross_entropy(model(moved), labels, reduction="sum") / len(samples)).backward()
    gradients = gradients_of(model)
    model.zero_grad()
    return {name: gradients[name].flatten(1).norm(dim=1) for name in kernels(model, (nn.Conv2d,))}


@method(
    "attack_and_reset",
    title="Attack-and-Reset",
    paper="Jung et al., arXiv 2401.08998",
    uses="forget, retain",
    family="noise",
    needs=("trained convolution",),
)
def attack_and_reset(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.02,
    epochs: int = 1,
    share: float = 0.2,
    reach: float = 0.03,
    steps: int = 3,
    samples: int = 150,
) -> nn.Module:
    r"""Find the filters that an attack on the forget set works through, reset them, and repair on the retain set.

    :math:`x' = x + \delta`, :math:`\delta` by PGD on :math:`\max \mathcal{L}_{CE}`; filters are ranked by
    :math:`\|\nabla_{filter} \mathcal{L}_{CE}(x'_f)\| / \|\nabla_{filter} \mathcal{L}_{CE}(x'_r)\|`, with as many retain
    as forget samples; the top share is drawn anew from a fresh model; then :math:`\min \mathcal{L}_{CE}(D_r)`. Status
    P: the steps are the paper's, whose code is not public; score, share and noise are ours, and so is the limit on the
    samples attacked, each of which costs all steps of PGD. torchunlearn's "ARU" is another method.
    Args: learning_rate of SGD (> 0). epochs of repair (>= 1). share of all filters reset, in (0, 1]. reach of the
        noise in pixel range (> 0). steps of PGD (>= 1). samples: forget samples, and retain samples, that are attacked,
        at most (>= 1).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    check_range("share", share, 0, 1, open_low=True)
    check_range("reach", reach, 0, 1, open_low=True)
    check_range("steps", steps, 1)
    check_range("samples", samples, 1)
    count = min(int(samples), len(task.forget), len(task.retain))
    parts = (random_part(task, whole, count / len(whole)) for whole in (task.forget, task.retain))
    forget, retain = (filter_scores(model, part, reach, int(steps)) for part in parts)
    ratios = {name: forget[name] / (retain[name] + 1e-8) for name in forget}
    flat = torch.cat(list(ratios.values()))
    limit = flat.topk(max(1, round(share * len(flat)))).values[-1]
    fresh = task.fresh_model(task.seed).to(task.device)
    with torch.no_grad():
        for name, ratio in ratios.items():
            weight = model.get_parameter(name)
            weight[ratio >= limit] = fresh.get_parameter(name).to(weight)[ratio >= limit]
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
    return model
