"""Guided unlearning. unlearn_GA_SL_FT_V2 of gnueaj/Machine-Unlearning-Comparator@0e3ce99, whose last three groups are
two blocks and the head of a ResNet; there all of the retain set is mixed in, the ascent is clipped, takes batches 8
times as large and moves batch norm, and cosines end at 1e-3. The share and the default rates are ours."""

import math

from torch import nn

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import Count, CountOrNone, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, frozen_copy, learn, logits_of, random_part, sgd, step, train_mode
from forget_lib.unlearning.delete_distillation import without_true_class
from forget_lib.unlearning.parts.layers import counted_layers, last_layers, start_anew

RETAIN_SHARE = 0.5


@method("guided_unlearning", title="Guided unlearning", uses="forget, retain", family="relabelling", version=2)
@source("Machine Unlearning Comparator, 2025", status="V")
def guided_unlearning(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 0.01,
    epochs: Count = 1,
    ascent: Share = 0.01,
    k: CountOrNone = 3,
) -> nn.Module:
    r"""Start the last layers anew and repair them, then climb a little on the forget set and learn the original's next
    best class for it beside retain samples, in turns.

    The last k layers start from a fresh model's weights; one pass :math:`\min_\theta \mathcal{L}_{CE}(D_r)` follows. In
    each epoch then one pass :math:`\max_\theta \mathcal{L}_{CE}(x_f, y)`, batch-norm statistics kept, and one
    shuffled pass :math:`\min_\theta \mathcal{L}_{CE}` over the forget set labelled :math:`\arg\max_{k \ne y}
    f_{\theta_0}(x_f)_k` and a share of the retain set. Cosine schedules.
    Settings: ascent: rate of the ascent as a part of learning_rate. k: convolutions and linear layers, all but the
    first at most; 0: the net stays as it is, without that pass.
    """
    second = without_true_class(logits_of(frozen_copy(model), task.forget), task.forget.labels).argmax(1)
    mixed = concatenate(random_part(task, task.retain, RETAIN_SHARE), task.forget.with_labels(second))
    away, towards = sgd(model, ascent * learning_rate), sgd(model, learning_rate)
    anew = min(k, len(counted_layers(model, task)) - 1)
    if anew > 0:
        start_anew(model, task, last_layers(model, task, anew))
        learn(train_mode(model), task.retain, towards)
    for epoch in epochs_of(task, model, epochs):
        for optimizer, rate in ((away, ascent * learning_rate), (towards, learning_rate)):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        train_mode(model, batch_norm=False)
        for images, labels in task.forget.batches():
            step(away, -nn.functional.cross_entropy(model(images), labels))
        train_mode(model)
        learn(model, mixed, towards)
    return model
