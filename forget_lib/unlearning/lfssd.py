"""LFSSD. README of SSD's code."""

from torch import nn

from forget_lib.unlearning import Factor, Positive, UnlearningTask, method, source
from forget_lib.unlearning.parts.dampening import Per, dampen, importances
from forget_lib.unlearning.parts.importance import sample_output_norm


@method("lfssd", title="LFSSD", uses="forget, retain (once, no labels)", family="dampening", version=2)
@source("Foster et al., loss-free variant, 2024", arxiv="2402.19308", status="V")
def lfssd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    alpha: Positive = 10.0,
    strength: Factor = 1.0,
    importance: Per = "batch by class",
) -> nn.Module:
    r"""SSD without labels: importances from the length of the outputs instead of the loss.

    :math:`I_S = \overline{|\partial \|f_\theta(x)\|_2^2 / \partial \theta|}`; the dampening and the settings are SSD's.
    """
    forget, everything = importances(model, task, sample_output_norm, 1, importance)
    dampen(model, forget, everything, alpha, strength)
    return model
