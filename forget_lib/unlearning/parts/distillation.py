"""A student taught by frozen teachers: their logits, softened by a temperature, are its targets."""

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.common import epochs_of, frozen_copy, logits_of, sgd, step, train_mode

DECAYS = (3, 5, 9)  # SCRUB's rate is a tenth of before from the epoch after each of these on
Target = Callable[[Tensor, Tensor], Tensor]
Taught = Callable[..., Iterator[tuple[Tensor, Tensor, Tensor]]]


def log_probabilities(temperature: float) -> Target:
    """A target for `taught`: log softmax of the teacher's logits / T."""
    return lambda logits, _labels: functional.log_softmax(logits / temperature, 1)


def divergence(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(exp(target) ‖ softmax(logits / T)), mean over the batch, in nats; target: log probabilities [B, K]."""
    logs = functional.log_softmax(logits if temperature == 1 else logits / temperature, 1)
    return functional.kl_div(logs, target, reduction="batchmean", log_target=True)


def taught(*parts: tuple[nn.Module, Samples], target: Target) -> Taught:
    """A function that gives mixed batches of all samples (arguments as for `Samples.batches`) with a target made of
    the logits of the frozen teacher that each sample came with, and of its label: (images, labels, targets [B, K]).

    A teacher sees each of its samples once, however many epochs follow; where images are augmented, each batch anew.
    """
    samples = reduce(concatenate, [of_part for _, of_part in parts])
    labels_of = samples.labels
    numbered = samples.with_labels(torch.arange(len(samples), device=labels_of.device))
    owners = torch.cat([torch.full_like(of_part.labels, number) for number, (_, of_part) in enumerate(parts)])
    known = None
    if samples.augmentation == "none":
        known = target(torch.cat([logits_of(teacher, of_part) for teacher, of_part in parts]), labels_of)

    @torch.no_grad()
    def anew(images: Tensor, positions: Tensor) -> Tensor:
        rows, logits = [], []
        for number, (teacher, _) in enumerate(parts):
            here = torch.nonzero(owners[positions] == number).flatten()
            if len(here):
                rows.append(here)
                logits.append(teacher(images[here]))
        return torch.cat(logits)[torch.cat(rows).argsort()]

    def batches(*arguments: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for images, positions in numbered.batches(*arguments, **options):
            labels = labels_of[positions]
            yield images, labels, target(anew(images, positions), labels) if known is None else known[positions]

    return batches


def scrub_epochs(
    model: nn.Module,
    task: UnlearningTask,
    epochs: int,
    max_epochs: int,
    learning_rate: float,
    alpha: float,
    gamma: float,
    temperature: float,
    forget_batch_size: int,
    stops: int = 1,
) -> Iterator[int]:
    """Runs SCRUB's epochs on `model` in place and yields `stops` times in each, at even distances over its pass of the
    retain set, the last time at its end."""
    teacher, optimizer = frozen_copy(model), sgd(model, learning_rate)
    logs, weight = log_probabilities(temperature), temperature**2
    forget, retain = (taught((teacher, samples), target=logs) for samples in (task.forget, task.retain))
    for epoch in epochs_of(task, model, epochs):
        optimizer.param_groups[0]["lr"] = learning_rate * 0.1 ** sum(epoch >= last for last in DECAYS)
        if epoch < max_epochs:
            train_mode(model, batch_norm=False)
            for images, _, before in forget(batch_size=forget_batch_size):
                step(optimizer, -weight * divergence(before, model(images), temperature))
            train_mode(model)
        number = -(-len(task.retain) // task.retain.batch_size)
        ends = {-(-stop * number // stops) for stop in range(1, stops)}
        for done, (images, labels, before) in enumerate(retain(), 1):
            logits = model(images)
            near = divergence(before, logits, temperature)
            step(optimizer, gamma * functional.cross_entropy(logits, labels) + alpha * weight * near)
            if done in ends and done < number:
                yield epoch
                train_mode(model)
        yield epoch
