"""SCRUB+R. Deviations as for SCRUB. The public notebook also lets i = 0, the original, win, and then stops, because it
has no such file."""

import copy

import torch
from torch import nn

from forget_lib.core.errors import NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.unlearning import Count, CountOrNone, Factor, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import logits_of
from forget_lib.unlearning.parts.distillation import scrub_epochs

CHECKPOINTS = 5
"""At least as many are kept: with fewer epochs, several in each, at even distances."""


def closest(errors: list[float], reference: float) -> int:
    """Position of the first error that is nearest to the reference."""
    return min(range(len(errors)), key=lambda position: abs(errors[position] - reference))


def _error(model: nn.Module, samples: Samples) -> float:
    """Share of samples got wrong in eval mode; counted as part of the method's cost."""
    return float((logits_of(model.eval(), samples).argmax(1) != samples.labels).double().mean())


@method("scrub_rewind", title="SCRUB+R", uses="forget, retain, validation", family="distillation", version=3)
@source("Kurmanji et al., NeurIPS 2023", arxiv="2302.09880", status="V")
def scrub_rewind(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 2e-4,
    epochs: Count = 5,
    max_epochs: CountOrNone = 3,
    alpha: Factor = 0.5,
    gamma: Factor = 1.0,
    temperature: Positive = 4.0,
    forget_batch_size: Count = 16,
) -> nn.Module:
    r"""SCRUB, then back to the checkpoint whose forget error is what a model should have on samples it never saw.

    The reference :math:`\epsilon` is the error of the last model on validation samples of the classes in the forget
    set; the checkpoint returned is :math:`i^* = \arg\min_i |err_f(i) - \epsilon|`, the earliest of equals. There is one
    after each epoch, and with fewer than five epochs as many within each that there are five.

    Raises: NotApplicableError if no validation sample is of these classes.
    """
    alike = torch.isin(task.validation.labels, task.forget.labels.unique())
    if not alike.any():
        raise NotApplicableError("scrub_rewind needs: validation samples of the classes in the forget set")
    rates = (learning_rate, alpha, gamma, temperature)
    states, errors = [], []
    stops = -(-CHECKPOINTS // epochs)
    for _ in scrub_epochs(model, task, epochs, max_epochs, *rates, forget_batch_size, stops=stops):
        states.append(copy.deepcopy(model.state_dict()))
        errors.append(_error(model, task.forget))
    reference = _error(model, task.validation.subset(alike))
    model.load_state_dict(states[closest(errors, reference)])
    return model
