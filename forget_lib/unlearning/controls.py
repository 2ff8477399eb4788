"""Controls: rows that a study needs beside the methods, to show what its measures can and cannot see."""

import torch
from torch import nn
from torch.nn import functional

from forget_lib.unlearning.basic import random_labels
from forget_lib.unlearning.common import both, epochs_of, logits_of, pairs, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("do_nothing", title="Do nothing", paper="control", uses="nothing", family="control", control=True)
def do_nothing(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Keep the original model: :math:`\theta_u = \theta_0`. A measure that this row satisfies does not see
    forgetting.
    """
    return model


@method("untrained", title="Untrained", paper="control", uses="nothing", family="control", control=True)
def untrained(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""A fresh model that was trained on nothing, :math:`\theta_u` drawn anew: what a measure gives where nothing was
    ever known. For a pre-trained recogniser that is the network as published under a new head.
    """
    return task.fresh_model(task.seed).to(task.device)


@method(
    "mask_logit",
    title="Mask logit",
    paper="control",
    uses="forget, retain (forward only)",
    family="control",
    needs=("class request", "trained linear head"),
    control=True,
)
def mask_logit(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Hide the class at the output and keep all that was learned: cosmetic on purpose.

    Lowers the head's bias of each forgotten class c to :math:`b_c - 2 \max_x (z_c(x) - \max_{k \ne c} z_k(x))`, k
    over the classes that stay and x over forget and retain, so that c never wins there. Features and all weights
    stay, so a probe of the embedding finds the class and a few steps bring it back.
    Raises: NotApplicableError for other requests than classes, or without a linear head.
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


@method("over_forget", title="Over-forget", paper="control", uses="forget, retain", family="control", control=True)
def over_forget(model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.01, epochs: int = 5) -> nn.Module:
    r"""Learn one fixed wrong label for each forget sample until it is believed: too strong on purpose.

    Minimises :math:`\mathcal{L}_{CE}(B_r) + \mathcal{L}_{CE}(f_\theta(B_f), \tilde y)` with :math:`\tilde y \ne y`
    drawn once. The forget samples end far less likely than unseen ones, so an attack that looks at both sides must
    find them.
    Args: learning_rate: of SGD (> 0). epochs: passes over the retain set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    wrong = task.forget.with_labels(random_labels(task, allow_true=False))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, targets) in pairs(task.retain, wrong):
            retain_logits, forget_logits = both(model, images, forget_images)
            loss = functional.cross_entropy(retain_logits, labels) + functional.cross_entropy(forget_logits, targets)
            step(optimizer, loss)
    return model
