"""Random label. Two conventions go under one name in the literature."""

from typing import Literal

import torch
from torch import nn

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, sgd, step

Labels = Literal["other", "any"]


def random_labels(task: UnlearningTask, *, allow_true: bool) -> torch.Tensor:
    """Labels int64 [len(forget)], uniform over all classes or over the other ones, from the task's generator."""
    size, classes = len(task.forget), task.number_of_classes
    shift = torch.randint(0 if allow_true else 1, classes, (size,), generator=task.generator).to(task.device)
    return (task.forget.labels + shift) % classes


@method("random_label", title="Random label", uses="forget, retain", family="relabelling")
@source("Graves et al., AAAI 2021; Fan et al., ICLR 2024", arxiv="2010.10981 2310.12508", status="V")
def random_label(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.01, epochs: Count = 2, labels: Labels = "other"
) -> nn.Module:
    r"""Learn random labels on the forget set and the true ones on the retain set, mixed.

    Minimises :math:`\mathcal{L}_{CE}(f_\theta(x_f), \tilde y) + \mathcal{L}_{CE}(f_\theta(x_r), y)`, with
    :math:`\tilde y` drawn anew for every epoch.
    Settings: labels: "other" draws among the other classes (Graves et al.); "any" allows the true one (Fan et al.).
    """
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        wrong = random_labels(task, allow_true=labels == "any")
        for images, targets in concatenate(task.retain, task.forget.with_labels(wrong)).batches():
            step(optimizer, cross_entropy(model(images), targets))
    return model
