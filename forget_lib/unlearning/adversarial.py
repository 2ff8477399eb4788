"""Methods that look for the nearest images which the model gets wrong: AMUN, and Attack-and-Reset."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.unlearning.boundary import HIGH, LOW, PIXEL
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


def nearest_wrong(
    model: nn.Module, images: Tensor, labels: Tensor, steps: int, overshoot: float = 0.02
) -> tuple[Tensor, Tensor]:
    """DeepFool towards the runner-up: the images moved over the nearest linearised boundary, and what the model says.

    Each step solves z_y - z_k = 0 for the best other class k, linearised at the image; an image that is wrong stays.
    Returns: images like `images`, clamped; labels int64 [B], never the true one: the runner-up where no step sufficed.
    """
    moved = images.clone()
    active = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        current = moved[active].requires_grad_()
        logits = model(current)
        own = logits.gather(1, labels[active, None]).flatten()
        other = logits.scatter(1, labels[active, None], -torch.inf).max(1).values
        still = own >= other
        (gradient,) = torch.autograd.grad((own - other).sum(), current)
        length = gradient.flatten(1).square().sum(1).clamp(min=1e-12)
        size = ((own - other).detach() + 1e-4) / length * (1 + overshoot)
        shifted = current.detach() - size.view(-1, 1, 1, 1) * gradient
        moved[active[still]] = shifted[still].clamp(LOW, HIGH)
        active = active[still]
        if len(active) == 0:
            break
    with torch.no_grad():
        said = model(moved).scatter(1, labels[:, None], -torch.inf).argmax(1)
    return moved, said


@method(
    "amun", title="AMUN", paper="Ebrahimpour-Boroojeny et al., ICML 2025", uses="forget, retain", family="relabelling"
)
def amun(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.01,
    epochs: int = 1,
    steps: int = 5,
) -> nn.Module:
    r"""Fine-tune on the nearest adversarial neighbour of each forget sample, under the label the model gives it.

    :math:`x' = \arg\min \|x' - x_f\|_2` with :math:`y' = \arg\max f_{\theta_0}(x') \ne y`, by DeepFool towards the best
    other class; :math:`\min_\theta \mathcal{L}_{CE}(f_\theta(x'), y') + \mathcal{L}_{CE}(D_r)`, all samples mixed.
    Lowers the confidence around the forget samples without teaching anything false. Status P, the loop V from a port
    (torchunlearn: 20 steps over all classes).
    Args: learning_rate of SGD (> 0). epochs: passes over both sets (>= 1). steps of DeepFool (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("steps", steps, 1)
    frozen = frozen_copy(model)
    batches = task.forget.batches(batch_size=256, shuffle=False, augment=False)
    found = [nearest_wrong(frozen, images, labels, int(steps)) for images, labels in batches]
    neighbours, said = (torch.cat(part) for part in zip(*found, strict=True))
    everything, targets = concatenate(task.forget, task.retain), torch.cat([said, task.retain.labels])
    numbered = everything.with_labels(torch.arange(len(everything), device=said.device))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, positions in numbered.batches():
            of_forget = positions < len(said)
            images[of_forget] = neighbours[positions[of_forget]]
            step(optimizer, functional.cross_entropy(model(images), targets[positions]))
    return model


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
