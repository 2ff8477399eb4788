"""Random label."""

import torch
from torch import nn
from torch.nn import functional

from forget_lib.core.errors import unknown
from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning.common import epochs_of, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

LABEL_CONVENTIONS = ("other", "any")


@method(
    "random_label",
    title="Random label",
    paper="Graves et al., AAAI 2021; Fan et al., ICLR 2024",
    uses="forget, retain",
    family="relabelling",
)
def random_label(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.01, epochs: int = 2, labels: str = "other"
) -> nn.Module:
    r"""Learn random labels on the forget set and the true ones on the retain set, mixed.

    Minimises :math:`\mathcal{L}_{CE}(f_\theta(x_f), \tilde y) + \mathcal{L}_{CE}(f_\theta(x_r), y)`, with
    :math:`\tilde y` drawn anew for every epoch. Status V; two conventions go under one name in the literature.
    Args: learning_rate: of SGD (> 0). epochs: passes over both sets (>= 1). labels: "other" draws among the other
        classes (Graves et al.); "any" allows the true one (Fan et al.).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_convention(labels)
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        wrong = random_labels(task, allow_true=labels == "any")
        for images, targets in concatenate(task.retain, task.forget.with_labels(wrong)).batches():
            step(optimizer, functional.cross_entropy(model(images), targets))
    return model


def check_convention(labels: str) -> None:
    """Refuses a convention of random labels that does not exist (UnknownNameError)."""
    if labels not in LABEL_CONVENTIONS:
        raise unknown("convention of labels", labels, LABEL_CONVENTIONS)


def random_labels(task: UnlearningTask, *, allow_true: bool) -> torch.Tensor:
    """Labels int64 [len(forget)], uniform over all classes or over the other ones, from the task's generator."""
    size, classes = len(task.forget), task.number_of_classes
    shift = torch.randint(0 if allow_true else 1, classes, (size,), generator=task.generator).to(task.device)
    return (task.forget.labels + shift) % classes
