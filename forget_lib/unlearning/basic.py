"""Retraining, the oracle, and the simple methods that every paper compares with."""

import torch
from torch import nn
from torch.nn import functional

from forget_lib.datasets.samples import concatenate
from forget_lib.training import train
from forget_lib.unlearning.common import check_range, sgd, step, train_mode
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

LABEL_CONVENTIONS = ("other", "any")


@method("retrain", title="Retrain", paper="exact, by definition", uses="retain", family="exact", exact=True)
def retrain(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Train a new model on the retain set by the original's recipe: :math:`\min_\theta \mathcal{L}_{CE}(D_r)`.

    The model is made new, not reset: a reset that misses a layer would keep what was to be forgotten.
    Raises: DivergedError if the training diverges.
    """
    fresh = task.meter.attach(task.fresh_model(task.seed).to(task.device))
    train(fresh, task.retain, task.recipe, task.seed)
    return fresh


@method(
    "finetune",
    title="Fine-tune",
    paper="common baseline (e.g. Golatkar et al., CVPR 2020)",
    uses="retain",
    family="retain only",
)
def finetune(model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.05, epochs: int = 2) -> nn.Module:
    r"""Go on training on the retain set and rely on catastrophic forgetting: :math:`\min_\theta \mathcal{L}_{CE}(D_r)`.

    Args: learning_rate: of SGD, constant (> 0). epochs: passes over the retain set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("epochs", epochs, 1)
    optimizer = sgd(model, learning_rate)
    for epoch in range(epochs):
        train_mode(model)
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
        task.epoch_done(epoch + 1, model)
    return model


@method(
    "negative_gradient", title="NegGrad", paper="Golatkar et al., CVPR 2020", uses="forget", family="gradient ascent"
)
def negative_gradient(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 1e-3, epochs: int = 1
) -> nn.Module:
    r"""Climb the loss on the forget set: :math:`\max_\theta \mathcal{L}_{CE}(D_f)`. The loss has no upper bound.

    Batch-norm statistics stay: batches of the forget set alone would shift them.
    Args: learning_rate: of SGD (> 0). epochs: passes over the forget set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("epochs", epochs, 1)
    optimizer = sgd(model, learning_rate)
    for epoch in range(epochs):
        train_mode(model, batch_norm=False)
        for images, labels in task.forget.batches():
            step(optimizer, -functional.cross_entropy(model(images), labels), clip_norm=1.0)
        task.epoch_done(epoch + 1, model)
    return model


@method(
    "random_label",
    title="Random label",
    paper="Graves et al., AAAI 2021; Fan et al., ICLR 2024",
    uses="forget, retain",
    family="relabelling",
)
def random_label(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.02, epochs: int = 2, labels: str = "other"
) -> nn.Module:
    r"""Learn random labels on the forget set and the true ones on the retain set, mixed.

    Minimises :math:`\mathcal{L}_{CE}(f_\theta(x_f), \tilde y) + \mathcal{L}_{CE}(f_\theta(x_r), y)`, with
    :math:`\tilde y` drawn
    anew for every epoch.
    Args: learning_rate: of SGD (> 0). epochs: passes over both sets (>= 1). labels: "other" draws among the other
        classes
        (Graves et al.); "any" allows the true one (Fan et al.).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("epochs", epochs, 1)
    if labels not in LABEL_CONVENTIONS:
        from forget_lib.errors import unknown

        raise unknown("convention of labels", labels, LABEL_CONVENTIONS)
    optimizer = sgd(model, learning_rate)
    for epoch in range(epochs):
        train_mode(model)
        wrong = random_labels(task, allow_true=labels == "any")
        for images, targets in concatenate(task.retain, task.forget.with_labels(wrong)).batches():
            step(optimizer, functional.cross_entropy(model(images), targets))
        task.epoch_done(epoch + 1, model)
    return model


def random_labels(task: UnlearningTask, *, allow_true: bool) -> torch.Tensor:
    """Labels int64 [len(forget)], uniform over all classes or over the other ones, from the task's generator."""
    size, classes = len(task.forget), task.number_of_classes
    shift = torch.randint(0 if allow_true else 1, classes, (size,), generator=task.generator).to(task.device)
    return (task.forget.labels + shift) % classes
