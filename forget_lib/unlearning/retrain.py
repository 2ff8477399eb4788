"""Retrain. The public code of SSD and its copies resets only direct children that own `reset_parameters`, so that their
ResNet-18 "retrained" keeps its old backbone."""

from torch import nn

from forget_lib.models.train import train
from forget_lib.unlearning import UnlearningTask, method, source


@method("retrain", title="Retrain", uses="retain", family="exact")
@source("exact, by definition", status="V")
def retrain(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Train a new model on the retain set by the original's recipe: :math:`\min_\theta \mathcal{L}_{CE}(D_r)`."""
    fresh = task.meter.attach(task.fresh_model(task.seed).to(task.device))
    train(fresh, task.retain, task.recipe, task.seed)
    return fresh
