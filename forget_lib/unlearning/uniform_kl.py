"""Unlearning towards the uniform distribution."""

import math

from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.unlearning.common import check_range, sgd, step, train_mode
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

DIRECTIONS = ("uniform_to_model", "model_to_uniform")


def uniform_divergence(logits: Tensor, direction: str = "uniform_to_model") -> Tensor:
    """KL(u ‖ p), or KL(p ‖ u) for "model_to_uniform": nats, mean over the batch, 0 where p is uniform.

    Args: logits: float [B, K].
    """
    logs = functional.log_softmax(logits, 1)
    classes = logits.shape[1]
    if direction == "uniform_to_model":
        return -logs.mean(1).mean() - math.log(classes)
    return (logs.exp() * logs).sum(1).mean() + math.log(classes)


@method(
    "uniform_kl",
    title="Uniform KL",
    paper="this project's first experiments; stage 1 of fanchuan, NeurIPS 2023 challenge",
    uses="forget, retain",
    family="relabelling",
)
def uniform_kl(
    model: nn.Module,
    task: UnlearningTask,
    *,
    forget_rate: float = 1e-3,
    retain_rate: float = 1e-3,
    epochs: int = 3,
    forget_step: bool = True,
    retain_step: bool = True,
    direction: str = "uniform_to_model",
) -> nn.Module:
    r"""In each epoch a *forget step* towards the uniform distribution, then a *retain step* on the true labels.

    Forget step: one pass over the forget set minimising :math:`KL(u \| p_\theta(x_f))`, :math:`u = 1/K`. Retain
    step: one pass
    over the retain set minimising :math:`\mathcal{L}_{CE}`. Each has an SGD optimiser of its own (momentum 0.9).
    Known weakness: a retrained model is not uniform on random samples, so these are over-forgotten.
    Args: forget_rate, retain_rate: learning rates (> 0). epochs (>= 1). forget_step, retain_step: switch a step off.
        direction: "uniform_to_model" is what PyTorch's KLDivLoss computes; "model_to_uniform" the reverse.
    Raises: ForgetError for settings out of range or both steps off; DivergedError.
    """
    check_range("epochs", epochs, 1)
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    if not (forget_step or retain_step):
        raise ForgetError("Both steps of uniform_kl are off: there is nothing to do. Switch one on.")
    forget_optimizer = sgd(model, forget_rate, weight_decay=0)
    retain_optimizer = sgd(model, retain_rate, weight_decay=0)
    task.epoch_done(0, model)
    for epoch in range(epochs):
        if forget_step:
            train_mode(model, batch_norm=False)
            for images, _ in task.forget.batches():
                step(forget_optimizer, uniform_divergence(model(images), direction))
        if retain_step:
            train_mode(model)
            for images, labels in task.retain.batches():
                step(retain_optimizer, functional.cross_entropy(model(images), labels))
        task.epoch_done(epoch + 1, model)
    return model
