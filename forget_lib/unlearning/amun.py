"""AMUN. Ali-E/AMUN@9e341a9: its method `amun` trains on all samples, those to forget with their own labels among them,
beside the adversarial ones; `advonly`, the paper's ablation, leaves the former out. There the neighbours are found by
PGD in L2, 50 steps with a radius that doubles; DeepFool finds them at the same distance."""

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, frozen_copy, sgd, step
from forget_lib.unlearning.parts.adversarial import HIGH, LOW


def nearest_wrong(
    model: nn.Module, images: Tensor, labels: Tensor, steps: int, overshoot: float = 0.02
) -> tuple[Tensor, Tensor]:
    """DeepFool towards the runner-up: images moved over the nearest linearised boundary, and their new labels.

    Each step solves z_y - z_k = 0 for the best other class k, linearised at the image; an image that is wrong stays.
    Returns: images like `images`, clamped; labels int64 [B], never the true one.
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
        return moved, model(moved).scatter(1, labels[:, None], -torch.inf).argmax(1)


@method("amun", title="AMUN", uses="forget, retain", family="relabelling", version=2)
@source("Ebrahimpour-Boroojeny et al., ICML 2025", arxiv="2503.00917", status="V")
def amun(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 0.01,
    epochs: Count = 1,
    steps: Count = 5,
    keep_forget: bool = True,
) -> nn.Module:
    r"""Fine-tune on the nearest adversarial neighbour of each forget sample, under the label the model gives it.

    :math:`x' = \arg\min \|x' - x_f\|_2` with :math:`y' = \arg\max f_{\theta_0}(x') \ne y`, by DeepFool towards the best
    other class; :math:`\min_\theta \mathcal{L}_{CE}(f_\theta(x'), y') + \mathcal{L}_{CE}(D_f) + \mathcal{L}_{CE}(D_r)`,
    all samples mixed.
    Settings: steps of DeepFool. keep_forget: false leaves :math:`\mathcal{L}_{CE}(D_f)` out: the authors' "advonly".
    """
    frozen = frozen_copy(model)
    batches = task.forget.batches(batch_size=256, shuffle=False, augment=False)
    found = [nearest_wrong(frozen, images, labels, steps) for images, labels in batches]
    neighbours, said = (torch.cat(part) for part in zip(*found, strict=True))
    true = concatenate(task.retain, task.forget) if keep_forget else task.retain
    everything, targets = concatenate(task.forget, true), torch.cat([said, true.labels])
    numbered = everything.with_labels(torch.arange(len(everything), device=said.device))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, positions in numbered.batches():
            moved = positions < len(said)
            images[moved] = neighbours[positions[moved]]
            step(optimizer, cross_entropy(model(images), targets[positions]))
    return model
