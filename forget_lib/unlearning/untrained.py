"""Untrained."""

from torch import nn

from forget_lib.unlearning import UnlearningTask, method


@method("untrained", title="Untrained", uses="nothing", family="control", paper="control")
def untrained(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""A fresh model that was trained on nothing, :math:`\theta_u` drawn anew: what a measure gives where nothing was
    ever known. For a pre-trained recogniser that is the network as published under a new head.
    """
    return task.fresh_model(task.seed).to(task.device)
