"""Short retrain: the baseline that costs what a method may cost. It has forgotten exactly, and learned less."""

from dataclasses import replace

from torch import nn

from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import Share, UnlearningTask, method


def shortened(recipe: Recipe, share: float) -> Recipe:
    """The recipe with the nearest whole number of epochs to that share of its own, at least one, and its schedule
    shortened with it: 2 % of ten epochs is one epoch, which costs 10 %."""
    return replace(recipe, epochs=max(1, int(share * recipe.epochs + 0.5)))


@method("short_retrain", title="Short retrain", uses="retain", family="control", paper="control")
def short_retrain(model: nn.Module, task: UnlearningTask, *, share: Share = 0.2) -> nn.Module:
    r"""Train a new model on the retain set by the original's recipe, in a share of its epochs:
    :math:`\min_\theta \mathcal{L}_{CE}(D_r)`, stopped where the shortened schedule ends.

    It never sees the forget set. A method is worth its cost if it keeps more than this does at the same cost. Whole
    epochs only, see `shortened`; what it really cost is in its record.

    Settings: share of the epochs of a retraining.
    """
    fresh = task.meter.attach(task.fresh_model(task.seed).to(task.device))
    train(fresh, task.retain, shortened(task.recipe, share), task.seed)
    return fresh
