"""Methods that teach a student with one or more frozen teachers."""

from collections.abc import Iterator

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import (
    check_range,
    divergence,
    epochs_of,
    frozen_copy,
    log_probabilities,
    sgd,
    step,
    taught,
    train_mode,
)
from forget_lib.unlearning.task import UnlearningTask

DECAY_AFTER = 3  # SCRUB's rate is a tenth from the epoch after this one on


def _scrub(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float,
    epochs: int,
    max_epochs: int,
    alpha: float,
    gamma: float,
    temperature: float,
    forget_batch_size: int,
) -> Iterator[int]:
    """Runs SCRUB's epochs on `model` in place and yields after each one."""
    for name, value in (("max_epochs", max_epochs), ("alpha", alpha), ("gamma", gamma)):
        check_range(name, value, 0)
    check_range("temperature", temperature, 0, open_low=True)
    check_range("forget_batch_size", forget_batch_size, 1)
    teacher, optimizer = frozen_copy(model), sgd(model, learning_rate)
    logs, weight = log_probabilities(temperature), temperature**2
    forget, retain = (taught((teacher, samples), target=logs) for samples in (task.forget, task.retain))
    for epoch in epochs_of(task, model, epochs):
        if epoch == DECAY_AFTER:
            optimizer.param_groups[0]["lr"] = 0.1 * learning_rate
        if epoch < max_epochs:
            train_mode(model, batch_norm=False)
            for images, _, before in forget(batch_size=forget_batch_size):
                step(optimizer, -weight * divergence(before, model(images), temperature))
            train_mode(model)
        for images, labels, before in retain():
            logits = model(images)
            near = divergence(before, logits, temperature)
            step(optimizer, gamma * functional.cross_entropy(logits, labels) + alpha * weight * near)
        yield epoch
