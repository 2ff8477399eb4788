"""Retraining, the oracle, and the simple methods that every paper compares with."""

import torch
from torch import nn
from torch.nn import functional

from forget_lib.datasets.samples import concatenate
from forget_lib.errors import unknown
from forget_lib.training import train
from forget_lib.unlearning.common import both, check_range, epochs_of, pairs, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

LABEL_CONVENTIONS = ("other", "any")


@method("retrain", title="Retrain", paper="exact, by definition", uses="retain", family="exact", exact=True)
def retrain(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Train a new model on the retain set by the original's recipe: :math:`\min_\theta \mathcal{L}_{CE}(D_r)`.

    The model is made new, not reset. Status V. The public code of SSD and its copies resets only direct children that
    own `reset_parameters`, so that their ResNet-18 "retrained" keeps its old backbone.
    Raises: DivergedError if the training diverges.
    """
    fresh = task.meter.attach(task.fresh_model(task.seed).to(task.device))
    train(fresh, task.retain, task.recipe, task.seed)
    return fresh


@method("finetune", title="Fine-tune", paper="common baseline", uses="retain", family="retain only")
def finetune(model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.02, epochs: int = 2) -> nn.Module:
    r"""Go on training on the retain set and rely on catastrophic forgetting:
    :math:`\min_\theta \mathcal{L}_{CE}(D_r)`.

    Status V. Published rates are often too low to forget anything (1e-3 for two epochs on MUFAC), which says nothing
    about the method.
    Args: learning_rate: of SGD, constant (> 0). epochs: passes over the retain set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
    return model


@method(
    "negative_gradient", title="NegGrad", paper="Golatkar et al., CVPR 2020", uses="forget", family="gradient ascent"
)
def negative_gradient(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 5e-3, epochs: int = 2, clip_norm: float = 1.0
) -> nn.Module:
    r"""Climb the loss on the forget set: :math:`\max_\theta \mathcal{L}_{CE}(D_f)`. The loss has no upper bound.

    Batch-norm statistics stay: batches of the forget set alone would shift them. Status V. Public code does not clip
    gradients; its loss reaches -10 on MUFAC and the utility is gone.
    Args: learning_rate: of SGD (> 0). epochs: passes over the forget set (>= 1).
        clip_norm: largest norm of a gradient (> 0).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("clip_norm", clip_norm, 0, open_low=True)
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, labels in task.forget.batches():
            step(optimizer, -functional.cross_entropy(model(images), labels), clip_norm=clip_norm)
    return model


@method(
    "negative_gradient_plus",
    title="NegGrad+",
    paper="Kurmanji et al., NeurIPS 2023",
    uses="forget, retain",
    family="gradient ascent",
)
def negative_gradient_plus(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 2e-3,
    epochs: int = 2,
    alpha: float = 0.95,
    forget_batch_size: int = 0,
) -> nn.Module:
    r"""Descend on the retain set and climb on the forget set at once.

    Minimises :math:`\alpha \mathcal{L}_{CE}(B_r) - (1 - \alpha) \mathcal{L}_{CE}(B_f)`: each retain batch meets the
    next forget batch, one step on both. The forget set is shuffled anew each time it is used up.
    Status V. Public code often repeats its first pass over the forget set (`itertools.cycle`); LoTUS's NegGrad+ flips
    the sign of gradients before they exist, so it is plain training on both sets.
    Args: learning_rate: of SGD (> 0). epochs: passes over the retain set (>= 1).
        alpha: weight of the retain loss in [0, 1]. forget_batch_size: forget samples a step (>= 0); 0: as many as of
        the retain set, which doubles the cost of an epoch.
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("alpha", alpha, 0, 1)
    check_range("forget_batch_size", forget_batch_size, 0)
    size = forget_batch_size or None
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, forget_labels) in pairs(task.retain, task.forget, second_size=size):
            retain_logits, forget_logits = both(model, images, forget_images)
            descent = functional.cross_entropy(retain_logits, labels)
            ascent = functional.cross_entropy(forget_logits, forget_labels)
            step(optimizer, alpha * descent - (1 - alpha) * ascent)
    return model


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
