"""UNSIR. Paper: 256 noise images, 20 copies, 1000 a class, Adam 0.02 and 0.01; here less, for small models. The public
notebook labels all noise with class 0 even when two classes are to go, and learns the noise with batch norm in train
mode."""

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning import Count, CountOrNone, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import adam, cross_entropy, epochs_of, frozen_copy, step


def noise_loss(logits: Tensor, labels: Tensor, noise: Tensor, penalty: float = 0.1) -> Tensor:
    """-CE(f(N), c) + penalty · mean over the batch of Σ N²: what the noise minimises, in nats."""
    return -cross_entropy(logits, labels) + penalty * noise.square().flatten(1).sum(1).mean()


def learn_noise(model: nn.Module, task: UnlearningTask, count: int, steps: int, rate: float) -> tuple[Tensor, Tensor]:
    """Noise float [C·count, channels, H, W] that maximises the frozen model's loss, and its labels."""
    labels = torch.tensor(task.classes).repeat_interleave(count)
    shape = (len(labels), *task.forget.images.shape[1:])
    like = next(model.parameters())
    noise = torch.randn(shape, generator=task.generator).to(like.device, like.dtype).requires_grad_()
    labels, frozen, optimizer = labels.to(like.device), frozen_copy(model), adam([noise], rate)
    for _ in range(steps):
        step(optimizer, noise_loss(frozen(noise), labels, noise))
    return noise.detach(), labels


def some_of_each_class(task: UnlearningTask, count: int) -> Samples:
    """Up to `count` retain samples of each class, drawn by the task's generator."""
    labels = task.retain.labels
    order = torch.randperm(len(labels), generator=task.generator).to(labels.device)
    chosen = [order[labels[order] == label][:count] for label in labels.unique()]
    return task.retain.subset(torch.cat(chosen))


def shuffled(total: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """0 … total - 1 in random order, in parts of `size`; a last part of one joins the part before it (batch norm)."""
    parts = list(torch.randperm(total, generator=generator).split(size))
    return [*parts[:-2], torch.cat(parts[-2:])] if len(parts) > 1 and len(parts[-1]) == 1 else parts


@method(
    "unsir", title="UNSIR", uses="the class's name, retain (a few per class)", family="noise", needs=("class request",)
)
@source("Tarun et al., IEEE TNNLS 2023", arxiv="2111.08947", status="V")
def unsir(
    model: nn.Module,
    task: UnlearningTask,
    *,
    impair_rate: Rate = 2e-3,
    repair_rate: Rate = 1e-3,
    noise_rate: Rate = 0.1,
    noise_steps: CountOrNone = 40,
    noise_count: Count = 64,
    noise_copies: Count = 8,
    per_class: Count = 300,
) -> nn.Module:
    r"""Train on noise that the model is most wrong about as if it were the class, then on some of the rest.

    Noise: :math:`\min_N -\mathcal{L}_{CE}(f_{\theta_0}(N), c) + 0.1\, \overline{\sum N^2}` by Adam, from
    :math:`\mathcal{N}(0, 1)`. Impair: one epoch of :math:`\mathcal{L}_{CE}` on copies of the noise labelled c and
    `per_class` retain samples a class. Repair: one epoch on the latter. No image of the class is needed.
    Settings: rates of Adam. noise_count: noise images a class. noise_copies: of each in the impair set.
    """
    noise, noise_labels = learn_noise(model, task, noise_count, noise_steps, noise_rate)
    part = some_of_each_class(task, per_class)
    impair, repair = adam(model, impair_rate), adam(model, repair_rate)
    for epoch in epochs_of(task, model, 2):
        if epoch == 0:
            total = len(noise) * noise_copies
            for positions in shuffled(total + len(part), 256, task.generator):
                of_noise = positions[positions < total] % len(noise)
                of_part = part.subset((positions[positions >= total] - total).to(part.labels.device))
                parts = [noise[of_noise], *(images for images, _ in of_part.batches(batch_size=256, shuffle=False))]
                labels = torch.cat([noise_labels[of_noise], of_part.labels])
                step(impair, cross_entropy(model(torch.cat(parts)), labels))
        else:
            for images, labels in part.batches(batch_size=256):
                step(repair, cross_entropy(model(images), labels))
    return model
