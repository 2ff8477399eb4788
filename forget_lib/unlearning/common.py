"""What many methods share: types of settings, an optimiser, a step, a pass of batches, a frozen teacher."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from forget_lib.core.errors import DivergedError, ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import Classifier
from forget_lib.models.optimizers import SGD, Adam, clear_gradients, trainable
from forget_lib.models.train import Meter, train_mode
from forget_lib.unlearning.task import UnlearningTask

Importance = dict[str, Tensor]
"""A tensor for each trained weight, by the weight's name."""
COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers as papers count them."""


def sgd(
    parameters: nn.Module | Iterable[Tensor], learning_rate: float, momentum: float = 0.9, weight_decay: float = 5e-4
) -> torch.optim.SGD:
    """SGD with the field's usual momentum and decay, over a model's trainable parameters or those given."""
    return SGD(trainable(parameters), learning_rate, momentum, weight_decay=weight_decay, fused=True)


def adam(parameters: nn.Module | Iterable[Tensor], learning_rate: float) -> torch.optim.Adam:
    """Adam over a model's trainable parameters or those given."""
    return Adam(trainable(parameters), learning_rate, fused=True)


def epochs_of(task: UnlearningTask, model: nn.Module, epochs: int, *, batch_norm: bool = True) -> Iterator[int]:
    """Yields 0, 1, …, epochs - 1, each with the model in train mode (see `train_mode`), and reports each epoch done.

    Raises: ForgetError for epochs < 1.
    """
    if epochs < 1:
        raise ForgetError(f"epochs is {epochs}; it must be at least 1.")
    task.epoch_done(0, model)
    for epoch in range(epochs):
        train_mode(model, batch_norm=batch_norm)
        yield epoch
        task.epoch_done(epoch + 1, model)


def finite(loss: Tensor) -> Tensor:
    """The loss, a scalar. Raises: DivergedError if it is not finite."""
    if not math.isfinite(value := loss.item()):
        raise DivergedError(f"The loss is {value}; lower the learning rate.")
    return loss


def step(optimizer: torch.optim.Optimizer, loss: Tensor, *, clip_norm: float | None = None, l1: float = 0.0) -> None:
    """One optimiser step on a scalar loss + l1 · Σ |θ|, with gradients clipped to a norm if one is given.

    The penalty goes straight to the gradients, as l1 · sign(θ); the optimiser must hold all weights that it is on.
    Raises: DivergedError if the loss is not finite.
    """
    clear_gradients(optimizer)
    finite(loss).backward()
    moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [parameter.grad for parameter in moved]
    if l1:
        torch._foreach_add_(gradients, torch._foreach_sign([p.detach() for p in moved]), alpha=l1)
    if clip_norm is not None:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).item()
        if norm > clip_norm:
            torch._foreach_mul_(gradients, clip_norm / norm)
    optimizer.step()


def learn(
    model: nn.Module, samples: Samples, optimizer: torch.optim.Optimizer, epochs: int = 1, **options: float
) -> None:
    """Passes of steps on the cross-entropy of the samples; options as for `step`."""
    for images, labels in samples.batches(epochs):
        step(optimizer, cross_entropy(model(images), labels), **options)


class WeightMask:
    """Lets an optimiser move some numbers of a model's parameters and no others.

    A mask on gradients alone does not: weight decay and momentum still move a weight whose gradient is zero. So `hold`,
    called after each step, puts the others back; nothing but these weights depends on their momentum.
    """

    def __init__(self, model: nn.Module, free: Importance) -> None:
        """free: bool tensors by name of trained parameter, true where the weight may move."""
        self.parts = [(p, free[n].to(p.dtype), p.detach() * ~free[n]) for n, p in trained_weights(model).items()]

    @torch.no_grad()
    def hold(self) -> None:
        """Puts back what the last step should not have moved."""
        for parameter, free, held in self.parts:
            torch.addcmul(held, parameter, free, out=parameter)


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are not frozen, by name: a method may move these and no others."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def kernels(model: nn.Module, kinds: tuple[type, ...] = COUNTED) -> dict[str, nn.Parameter]:
    """Trained weights of all convolutions and linear layers, or of `kinds`, at any depth, by name of weight."""
    trained = trained_weights(model)
    names = [f"{name}.weight".lstrip(".") for name, module in model.named_modules() if isinstance(module, kinds)]
    return {name: trained[name] for name in names if name in trained}


def mean_gradient(
    model: nn.Module,
    *signed: tuple[float, Samples],
    batch_size: int | None = None,
    moved: Callable[[Tensor, Tensor], Tensor] = lambda images, labels: images,
) -> Importance:
    """∇ Σ sign · mean cross-entropy in eval mode, by name of trained weight; zeros where no logit depends on one.

    moved: (images, labels) to the images to take in their place.
    """
    model.eval()
    weights = trained_weights(model)
    total: list[Tensor] = []
    for sign, samples in signed:
        for images, labels in samples.batches(batch_size=batch_size, shuffle=False, augment=False):
            loss = cross_entropy(model(moved(images, labels)), labels, reduction="sum")
            gradients = torch.autograd.grad(sign * loss / len(samples), list(weights.values()), materialize_grads=True)
            total = [a + b for a, b in zip(total, gradients, strict=True)] if total else list(gradients)
    return dict(zip(weights, total, strict=True))


def top_share(scores: Importance, share: float, *, largest: bool = True) -> Importance:
    """True at the round(share · n) largest, or smallest, of all n scores taken together."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[flat.topk(round(share * len(flat)), largest=largest).indices] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters take no gradient: a teacher."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def pairs(
    first: Samples, second: Samples, epochs: int = 1, *, second_size: int | None = None
) -> Iterator[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Each batch of `first` with the next of `second` (of `second_size`), shuffled anew when it is used up."""
    partner = second.forever(batch_size=second_size)
    for batch in first.batches(epochs):
        yield batch, next(partner)


def both(model: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of two batches in one forward pass: batch norm then sees the mixture, as it did in training."""
    first_logits, second_logits = model(torch.cat([first, second])).split([len(first), len(second)])
    return first_logits, second_logits


def beside(
    model: nn.Module, task: UnlearningTask, epochs: int, forget: Samples, size: int | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Epochs over the retain set, each batch with the next of `forget` (of `size`) in one forward pass.

    Yields: logits and labels of the retain samples, logits and labels of the others.
    """
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (others, other_labels) in pairs(task.retain, forget, second_size=size):
            logits, other_logits = both(model, images, others)
            yield logits, labels, other_logits, other_labels


def random_part(task: UnlearningTask, samples: Samples, share: float) -> Samples:
    """A random share in (0, 1] of `samples`, at least one, drawn by the task's generator."""
    order = torch.randperm(len(samples), generator=task.generator)
    return samples.subset(order[: max(1, round(share * len(samples)))].to(samples.labels.device))


@torch.no_grad()
def logits_of(model: nn.Module, samples: Samples) -> Tensor:
    """Logits float32 [N, K] of all samples, in order, not augmented, in the mode the model is in."""
    return torch.cat([model(images) for images, _ in samples.batches(batch_size=500, shuffle=False, augment=False)])


def accuracy_of(model: nn.Module, samples: Samples) -> float:
    """Share of samples got right in eval mode, in [0, 1]; counted as part of a method's cost."""
    return float((logits_of(model.eval(), samples).argmax(1) == samples.labels).double().mean())


@torch.no_grad()
def features_of(model: Classifier, samples: Samples, meter: Meter) -> Tensor:
    """Penultimate features float32 [N, D] of all samples, in order, not augmented, in the mode the model is in."""
    batches = samples.batches(batch_size=500, shuffle=False, augment=False)
    meter.add(len(samples))  # features alone pass by the meter
    return torch.cat([model.features(images) for images, _ in batches])


def with_features(model: Classifier, task: UnlearningTask, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features [B, D] and logits [B, K] of a batch that is trained on."""
    features = model.features(images)
    task.meter.add(3 * len(images))
    return features, model.head(features)
