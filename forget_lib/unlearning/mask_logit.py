"""Mask logit."""

import torch
from torch import nn

from forget_lib.models.nets import Classifier
from forget_lib.unlearning import UnlearningTask, method
from forget_lib.unlearning.common import logits_of


@method(
    "mask_logit",
    title="Mask logit",
    uses="forget, retain (forward only)",
    family="control",
    needs=("class request", "trained linear head"),
    paper="control",
)
def mask_logit(model: Classifier, task: UnlearningTask) -> nn.Module:
    r"""Hide the class at the output and keep all that was learned: cosmetic on purpose.

    Lowers the head's bias of each forgotten class c to :math:`b_c - 2 \max_x (z_c(x) - \max_{k \ne c} z_k(x))`, k over
    the classes that stay and x over forget and retain, so that c never wins there. All weights stay.
    """
    model.eval()
    logits = torch.cat([logits_of(model, task.forget), logits_of(model, task.retain)])
    staying = logits.clone()
    staying[:, list(task.classes)] = -torch.inf
    with torch.no_grad():
        for index in task.classes:
            lead = (logits[:, index] - staying.max(1).values).max()
            model.head.bias[index] -= 2 * lead.clamp(min=1)
    return model
