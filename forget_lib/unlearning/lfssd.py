"""LFSSD. README of SSD's code."""

from typing import Literal

from torch import nn

from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, NotNegative, Positive
from forget_lib.unlearning.parts.dampening import dampened
from forget_lib.unlearning.parts.importance import sample_output_norm


@method("lfssd", title="LFSSD", uses="forget, retain (once, no labels)", family="dampening")
@source("Foster et al., loss-free variant, 2024", arxiv="2402.19308", status="V")
def lfssd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    alpha: Positive = 10.0,
    strength: NotNegative = 1.0,
    importance: Literal["batch", "sample"] = "batch",
    batch_size: Count = 64,
) -> nn.Module:
    r"""SSD without labels: importances from the length of the outputs instead of the loss.

    :math:`I_S = \overline{|\partial \|f_\theta(x)\|_2^2 / \partial \theta|}`; the dampening and the settings are SSD's.
    """
    return dampened(model, task, sample_output_norm, 1, alpha, strength, importance, batch_size)
