"""Uniform KL."""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, Positive, epochs_of, learn, sgd, step, train_mode


def uniform_divergence(logits: Tensor, direction: str = "uniform_to_model") -> Tensor:
    """KL(u ‖ p), or KL(p ‖ u) for "model_to_uniform": nats, mean over the batch, 0 where p is uniform.

    Args: logits: float [B, K].
    """
    logs = functional.log_softmax(logits, 1)
    classes = logits.shape[1]
    if direction == "uniform_to_model":
        return -logs.mean(1).mean() - math.log(classes)
    return (logs.exp() * logs).sum(1).mean() + math.log(classes)


@method("uniform_kl", title="Uniform KL", uses="forget, retain", family="relabelling")
@source("this project's first experiments; stage 1 of fanchuan, NeurIPS 2023 challenge", arxiv="- 2406.09073")
def uniform_kl(
    model: nn.Module,
    task: UnlearningTask,
    *,
    forget_rate: Positive = 1e-3,
    retain_rate: Positive = 1e-3,
    epochs: Count = 3,
    forget_step: bool = True,
    retain_step: bool = True,
    direction: Literal["uniform_to_model", "model_to_uniform"] = "uniform_to_model",
) -> nn.Module:
    r"""In each epoch a *forget step* towards the uniform distribution, then a *retain step* on the true labels.

    Forget step: one pass over the forget set minimising :math:`KL(u \| p_\theta(x_f))`, :math:`u = 1/K`. Retain
    step: one pass over the retain set minimising :math:`\mathcal{L}_{CE}`. Each has an SGD optimiser of its own
    (momentum 0.9). Known weakness: a retrained model is not uniform on random samples, so these are over-forgotten.

    Settings: forget_step, retain_step: switch a step off. direction: "uniform_to_model" is what PyTorch's KLDivLoss
    computes; "model_to_uniform" the reverse.
    """
    if not (forget_step or retain_step):
        raise ForgetError("Both steps of uniform_kl are off: there is nothing to do. Switch one on.")
    forget_optimizer = sgd(model, forget_rate, weight_decay=0)
    retain_optimizer = sgd(model, retain_rate, weight_decay=0)
    for _ in epochs_of(task, model, epochs):
        if forget_step:
            train_mode(model, batch_norm=False)
            for images, _labels in task.forget.batches():
                step(forget_optimizer, uniform_divergence(model(images), direction))
        if retain_step:
            train_mode(model)
            learn(model, task.retain, retain_optimizer)
    return model
