"""Amnesiac unlearning: take back what the batches with the forget samples did to the weights."""

import torch
from torch import nn
from torch.nn import functional

from forget_lib.models.log import TrainingLog
from forget_lib.unlearning.common import check_range, epochs_of, sgd, step, trained_weights
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@torch.no_grad()
def subtract(model: nn.Module, log: TrainingLog) -> None:
    """θ ← θ - Σ Δ_b in place, computed in double precision and rounded once."""
    for name, parameter in trained_weights(model).items():
        parameter.copy_((parameter.double() - log.update[name].to(parameter.device)).to(parameter.dtype))


@method(
    "amnesiac",
    title="Amnesiac",
    paper="Graves et al., AAAI 2021",
    uses="training log, retain",
    family="recorded updates",
    needs=("training log",),
)
def amnesiac(model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.01, epochs: int = 2) -> nn.Module:
    r"""Subtract the recorded updates of all batches that held a forget sample, then repair on the retain set.

    :math:`\theta \leftarrow \theta_0 - \sum_{b \ni D_f} \Delta_b`, :math:`\Delta_b = \theta_{after} -
    \theta_{before}` of batch b in the original training; then :math:`\min_\theta \mathcal{L}_{CE}(D_r)`. Statistics of
    batch norm are not recorded, the repair renews them. Where nearly every batch held a forget sample, as for a
    class, this undoes nearly all training. Status V. Needs a log that was recorded for this very request
    (`training_log.logged_training`). The name also stands for relabelling in the literature: see random_label.
    Args: learning_rate: of SGD in the repair (> 0). epochs: passes of repair (>= 0).
    Raises: NotApplicableError without a log; ForgetError for a log that is cut short, of another model or of other
        samples, and for settings out of range; DivergedError.
    """
    check_range("epochs", epochs, 0)
    task.training_log.check(model, task.forget)
    subtract(model, task.training_log)
    if epochs > 0:
        optimizer = sgd(model, learning_rate)
        for _ in epochs_of(task, model, epochs):
            for images, labels in task.retain.batches():
                step(optimizer, functional.cross_entropy(model(images), labels))
    return model
