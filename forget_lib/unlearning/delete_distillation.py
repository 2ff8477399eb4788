"""DELETE. Paper: 20 epochs at 1e-4 after 150 of training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, frozen_copy, sgd, step
from forget_lib.unlearning.parts.distillation import taught


def without_true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [B, K] with the true class at -∞: its probability is 0, the others keep their proportions."""
    return logits.scatter(1, labels[:, None], -torch.inf)


@method("delete_distillation", title="DELETE", uses="forget", family="distillation")
@source("Zhou et al., CVPR 2025", arxiv="2503.23751", status="V")
def delete_distillation(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 5e-4, epochs: Count = 5
) -> nn.Module:
    r"""Imitate the original on the forget set as if the true class did not exist.

    Minimises :math:`KL(q \| p_\theta(x_f))`, :math:`q = softmax(z_{\theta_0}(x_f), z_y := -\infty)`, over the forget
    set alone, by SGD without weight decay. Batch-norm statistics stay (an option of the authors,
    `disable_bn`, off by default). The true class goes to 0.
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
