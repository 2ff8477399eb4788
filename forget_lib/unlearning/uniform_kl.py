"""Uniform KL. The statistics of batch norm stay in the pass over the forget set."""

import math

from torch import Tensor, nn

from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, learn, sgd, step, train_mode


def uniform_divergence(logits: Tensor) -> Tensor:
    """KL(u ‖ p) of logits [B, K], as PyTorch's KLDivLoss has it: nats, mean over the batch, 0 where p is uniform."""
    return -logits.log_softmax(1).mean(1).mean() - math.log(logits.shape[1])


@method("uniform_kl", title="Uniform KL", uses="forget, retain", family="relabelling")
@source("this project's first experiments; stage 1 of fanchuan, NeurIPS 2023 challenge", arxiv="- 2406.09073")
def uniform_kl(
    model: nn.Module, task: UnlearningTask, *, forget_rate: Rate = 1e-3, retain_rate: Rate = 1e-3, epochs: Count = 3
) -> nn.Module:
    r"""In each epoch a *forget step* towards the uniform distribution, then a *retain step* on the true labels.

    Forget step: one pass over the forget set minimising :math:`KL(u \| p_\theta(x_f))`, :math:`u = 1/K`. Retain step:
    one pass over the retain set minimising :math:`\mathcal{L}_{CE}`. Each has an SGD optimiser of its own. Known
    weakness: a retrained model is not uniform on random samples, so these are over-forgotten.
    """
    forget_optimizer = sgd(model, forget_rate, weight_decay=0)
    retain_optimizer = sgd(model, retain_rate, weight_decay=0)
    for _ in epochs_of(task, model, epochs):
        train_mode(model, batch_norm=False)
        for images, _labels in task.forget.batches():
            step(forget_optimizer, uniform_divergence(model(images)))
        train_mode(model)
        learn(model, task.retain, retain_optimizer)
    return model
