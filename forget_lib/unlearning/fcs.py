"""FCS. 8 epochs, retain rate 1e-3 · batch / 64, forget batches of 64 and retain batches of 256; all stages in train
mode. Here the statistics of batch norm stay in the passes over the forget set, both sets have one batch size, and rates
and epochs are for small models."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method
from forget_lib.unlearning.common import epochs_of, learn, sgd, step, train_mode
from forget_lib.unlearning.parts.winners import WINNER, cosine
from forget_lib.unlearning.uniform_kl import uniform_divergence


def contrast(forget_logits: Tensor, retain_logits: Tensor, temperature: float = 1.15) -> Tensor:
    """Mean of -log softmax over retain samples of f(x_f) · f(x_r) / T: lowest where all products are equal."""
    return -functional.log_softmax(forget_logits @ retain_logits.detach().T / temperature, 1).mean()


@method("fcs", title="FCS", uses="forget, retain", family="challenge winners")
@WINNER
def fcs(
    model: nn.Module,
    task: UnlearningTask,
    *,
    uniform_rate: Rate = 3e-3,
    forget_rate: Rate = 3e-4,
    retain_rate: Rate = 0.01,
    epochs: Count = 1,
    weight_decay: Factor = 1e-2,
) -> nn.Module:
    r"""Uniform outputs first, then rounds that make forget samples resemble no retain sample and repair in turn.

    Stage 1: one pass over the forget set, :math:`KL(u \| p_\theta(x_f))`. Stage 2, in each epoch: over pairs of
    batches, :math:`-\overline{\log softmax_r(f(x_f) \cdot sg f(x_r) / 1.15)}`, then one pass
    :math:`\mathcal{L}_{CE}(D_r)` with weight decay 0.01. Three SGD optimisers; the forget rate falls as a cosine to
    1e-6.
    """
    uniform, forget = (sgd(model, rate, weight_decay=0) for rate in (uniform_rate, forget_rate))
    retain = sgd(model, retain_rate, weight_decay=weight_decay)
    train_mode(model, batch_norm=False)
    for images, _ in task.forget.batches():
        step(uniform, uniform_divergence(model(images)))
    total = epochs * min(-(-len(s) // s.batch_size) for s in (task.forget, task.retain))
    done = 0
    for _ in epochs_of(task, model, epochs):
        train_mode(model, batch_norm=False)
        for (images, _), (retain_images, _) in zip(task.forget.batches(), task.retain.batches(), strict=False):
            forget.param_groups[0]["lr"] = 1e-6 + (forget_rate - 1e-6) * cosine(min(done / total, 1.0))
            with torch.no_grad():
                others = model(retain_images)
            step(forget, contrast(model(images), others))
            done += 1
        train_mode(model)
        learn(model, task.retain, retain)
    return model
