"""Guided unlearning: a slight push away, then the original's second choice."""

import math

from torch import nn
from torch.nn import functional

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning.common import (
    check_range,
    epochs_of,
    frozen_copy,
    logits_of,
    random_part,
    sgd,
    step,
    train_mode,
)
from forget_lib.unlearning.delete_distillation import without_true_class
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "guided_unlearning",
    title="Guided unlearning",
    paper="Machine Unlearning Comparator, 2025",
    uses="forget, retain (a share)",
    family="relabelling",
)
def guided_unlearning(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 5e-3,
    epochs: int = 2,
    ascent: float = 0.01,
    retain_share: float = 0.5,
) -> nn.Module:
    r"""Climb a little on the forget set, then learn the original's next best class for it beside retain samples.

    In each epoch one pass :math:`\max_\theta \mathcal{L}_{CE}(x_f, y)` at a hundredth of the rate, batch-norm
    statistics kept, then one shuffled pass :math:`\min_\theta \mathcal{L}_{CE}` over the forget set labelled
    :math:`\arg\max_{k \ne y} f_{\theta_0}(x_f)_k` and a share of the retain set. Cosine schedules. Status V for the
    loop; share and rates are ours.
    Args: learning_rate of SGD (> 0). epochs (>= 1). ascent: rate of the ascent as a part of it, in (0, 1].
        retain_share in (0, 1].
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("ascent", ascent, 0, 1, open_low=True)
    second = without_true_class(logits_of(frozen_copy(model), task.forget), task.forget.labels).argmax(1)
    mixed = concatenate(random_part(task, task.retain, retain_share), task.forget.with_labels(second))
    away, towards = sgd(model, ascent * learning_rate), sgd(model, learning_rate)
    for epoch in epochs_of(task, model, epochs):
        for optimizer, rate in ((away, ascent * learning_rate), (towards, learning_rate)):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        train_mode(model, batch_norm=False)
        for images, labels in task.forget.batches():
            step(away, -functional.cross_entropy(model(images), labels))
        train_mode(model)
        for images, labels in mixed.batches():
            step(towards, functional.cross_entropy(model(images), labels))
    return model
