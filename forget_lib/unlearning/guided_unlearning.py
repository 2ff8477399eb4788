"""Guided unlearning. For the loop; share and rates are ours."""

import math

from torch import nn

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import Count, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, frozen_copy, learn, logits_of, random_part, sgd, step, train_mode
from forget_lib.unlearning.delete_distillation import without_true_class

RETAIN_SHARE = 0.5


@method("guided_unlearning", title="Guided unlearning", uses="forget, retain (a share)", family="relabelling")
@source("Machine Unlearning Comparator, 2025", status="V")
def guided_unlearning(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 5e-3, epochs: Count = 2, ascent: Share = 0.01
) -> nn.Module:
    r"""Climb a little on the forget set, then learn the original's next best class for it beside retain samples.

    In each epoch one pass :math:`\max_\theta \mathcal{L}_{CE}(x_f, y)`, batch-norm statistics kept, then one shuffled
    pass :math:`\min_\theta \mathcal{L}_{CE}` over the forget set labelled :math:`\arg\max_{k \ne y}
    f_{\theta_0}(x_f)_k` and a share of the retain set. Cosine schedules.
    Settings: ascent: rate of the ascent as a part of learning_rate.
    """
    second = without_true_class(logits_of(frozen_copy(model), task.forget), task.forget.labels).argmax(1)
    mixed = concatenate(random_part(task, task.retain, RETAIN_SHARE), task.forget.with_labels(second))
    away, towards = sgd(model, ascent * learning_rate), sgd(model, learning_rate)
    for epoch in epochs_of(task, model, epochs):
        for optimizer, rate in ((away, ascent * learning_rate), (towards, learning_rate)):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        train_mode(model, batch_norm=False)
        for images, labels in task.forget.batches():
            step(away, -nn.functional.cross_entropy(model(images), labels))
        train_mode(model)
        learn(model, mixed, towards)
    return model
