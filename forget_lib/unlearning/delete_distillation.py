"""DELETE."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.unlearning.common import epochs_of, frozen_copy, sgd, step, taught
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def without_true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [B, K] with the true class at minus infinity: its probability is 0, the others keep their
    proportions.
    """
    return logits.scatter(1, labels[:, None], -torch.inf)


@method("delete_distillation", title="DELETE", paper="Zhou et al., CVPR 2025", uses="forget", family="distillation")
def delete_distillation(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 5e-4, epochs: int = 5
) -> nn.Module:
    r"""Imitate the original on the forget set as if the true class did not exist.

    Minimises :math:`KL(q \| p_\theta(x_f))`, :math:`q = softmax(z_{\theta_0}(x_f), z_y := -\infty)`, over the forget
    set alone, by SGD without weight decay. Batch-norm statistics stay (the authors' `disable_bn`). Drives the true
    class to 0, which suits classes and over-forgets random samples. Status V (paper: 20 epochs at 1e-4 after 150 of
    training).
    Args: learning_rate: of SGD (> 0). epochs: passes over the forget set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """

    def target(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.softmax(without_true_class(logits, labels), 1)

    batches = taught((frozen_copy(model), task.forget), target=target)
    optimizer = sgd(model, learning_rate, weight_decay=0)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, _, without in batches():
            logs = functional.log_softmax(model(images), 1)
            step(optimizer, functional.kl_div(logs, without, reduction="batchmean"))
    return model
