"""Task arithmetic: learn the forget set even better, and go the other way."""

import copy
from bisect import bisect_left

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from forget_lib.core.errors import NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.common import Importance, accuracy_of, frozen_copy, learn, sgd, train_mode

SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
KEPT = 0.95  # of the validation accuracy
CLIP = 1.0  # largest norm of a gradient: with fixed batch-norm statistics larger steps diverge


def task_vector(model: nn.Module, task: UnlearningTask, learning_rate: float, epochs: int) -> Importance:
    """θ_ft - θ_0 after fine-tuning a copy on the forget set by cross-entropy; batch-norm statistics stay."""
    tuned = copy.deepcopy(model)
    optimizer = sgd(tuned, learning_rate, weight_decay=0)
    train_mode(tuned, batch_norm=False)
    learn(tuned, task.forget, optimizer, epochs, clip_norm=CLIP)
    return {name: (tuned.get_parameter(name) - start).detach() for name, start in model.named_parameters()}


@torch.no_grad()
def move(model: nn.Module, vector: Importance, scale: float) -> None:
    """θ ← θ - scale · vector, in place."""
    for name, parameter in model.named_parameters():
        parameter.sub_(scale * vector[name])


@torch.no_grad()
def renew_statistics(model: nn.Module, samples: Samples) -> None:
    """Running statistics of batch norm as the plain mean over one pass; nothing to do without trained batch norm."""
    norms = [norm for norm in train_mode(model).modules() if isinstance(norm, _BatchNorm) and norm.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for images, _ in samples.batches(augment=False) if norms else ():
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def largest_scale(model: nn.Module, task: UnlearningTask, vector: Importance) -> float:
    """The largest of `SCALES` that keeps `KEPT` of the accuracy on validation samples of other classes, or the first.

    Judged on the model that is returned, with the statistics of batch norm renewed; found by bisection, since each try
    then costs a pass over the retain set and accuracy falls with the scale.
    Raises: NotApplicableError if no validation sample is of another class.
    """
    staying = ~torch.isin(task.validation.labels, torch.tensor(task.classes, dtype=torch.int64).to(task.device))
    if not staying.any():
        raise NotApplicableError("task negation needs: validation samples of the classes that stay")
    samples = task.validation.subset(staying)
    wanted = KEPT * accuracy_of(model, samples)

    def too_far(scale: float) -> bool:
        moved = frozen_copy(model)
        move(moved, vector, scale)
        renew_statistics(moved, task.retain)
        return accuracy_of(moved, samples) < wanted

    return SCALES[max(0, bisect_left(SCALES, True, key=too_far) - 1)]


def negated(model: nn.Module, task: UnlearningTask, vector: Importance, scale: float) -> nn.Module:
    """The end of both methods: chooses the scale if it is 0, moves, renews the statistics."""
    task.epoch_done(0, model)
    move(model, vector, scale or largest_scale(model, task, vector))
    renew_statistics(model, task.retain)
    task.epoch_done(1, model)
    return model
