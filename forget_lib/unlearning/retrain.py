"""Retrain."""

from torch import nn

from forget_lib.models.train import train
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("retrain", title="Retrain", paper="exact, by definition", uses="retain", family="exact", exact=True)
def retrain(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Train a new model on the retain set by the original's recipe: :math:`\min_\theta \mathcal{L}_{CE}(D_r)`.

    The model is made new, not reset. Status V. The public code of SSD and its copies resets only direct children that
    own `reset_parameters`, so that their ResNet-18 "retrained" keeps its old backbone.
    Raises: DivergedError if the training diverges.
    """
    fresh = task.meter.attach(task.fresh_model(task.seed).to(task.device))
    train(fresh, task.retain, task.recipe, task.seed)
    return fresh
