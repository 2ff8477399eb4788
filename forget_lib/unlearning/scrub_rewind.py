"""SCRUB+R."""

import copy

import torch
from torch import nn

from forget_lib.core.errors import NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.unlearning.common import (
    logits_of,
)
from forget_lib.unlearning.parts.distillation import _scrub
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "scrub_rewind",
    title="SCRUB+R",
    paper="Kurmanji et al., NeurIPS 2023",
    uses="forget, retain, validation",
    family="distillation",
    needs=("validation",),
)
def scrub_rewind(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 2e-4,
    epochs: int = 5,
    max_epochs: int = 3,
    alpha: float = 0.5,
    gamma: float = 1.0,
    temperature: float = 4.0,
    forget_batch_size: int = 16,
) -> nn.Module:
    r"""SCRUB, then back to the epoch whose forget error is what a model should have on samples it never saw.

    The reference :math:`\epsilon` is the error of the last model on validation samples of the classes in the forget
    set; the checkpoint returned is :math:`i^* = \arg\min_i |err_f(i) - \epsilon|`, i = 1 … epochs, the earliest of
    equals. Status V. The public notebook also lets i = 0, the original, win, and then stops, because it has no such
    file.
    Args: as for SCRUB.
    Raises: ForgetError for settings out of range; NotApplicableError if no validation sample is of these classes;
    DivergedError.
    """
    alike = torch.isin(task.validation.labels, task.forget.labels.unique())
    if not alike.any():
        raise NotApplicableError("scrub_rewind needs: validation samples of the classes in the forget set")
    settings = {"learning_rate": learning_rate, "epochs": epochs, "max_epochs": max_epochs, "alpha": alpha}
    settings |= {"gamma": gamma, "temperature": temperature, "forget_batch_size": forget_batch_size}
    states, errors = [], []
    for _ in _scrub(model, task, **settings):
        states.append(copy.deepcopy(model.state_dict()))
        errors.append(_error(model, task.forget))
    reference = _error(model, task.validation.subset(alike))
    model.load_state_dict(states[closest(errors, reference)])
    return model


def closest(errors: list[float], reference: float) -> int:
    """Position of the first error that is nearest to the reference."""
    return min(range(len(errors)), key=lambda position: abs(errors[position] - reference))


def _error(model: nn.Module, samples: Samples) -> float:
    """Share of samples got wrong in eval mode; counted as part of the method's cost."""
    return float((logits_of(model.eval(), samples).argmax(1) != samples.labels).double().mean())
