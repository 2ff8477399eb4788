"""What many methods share: an optimiser, a step, a frozen teacher, batch norm that stays as it is."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import DivergedError, ForgetError
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.models.optimizers import SGD, Adam, clear_gradients, trainable
from forget_lib.models.train import train_mode
from forget_lib.unlearning.task import UnlearningTask

COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers as papers count them."""


def check_range(name: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False) -> None:
    """Refuses a setting outside [low, high], or (low, high] with `open_low`.

    Raises: ForgetError that names the setting, its value and the range.
    """
    if not low <= value <= high or (open_low and value == low):
        bracket = "(" if open_low else "["
        raise ForgetError(f"{name} is {value:g}; it must lie in {bracket}{low:g}, {high:g}].")


def sgd(
    parameters: nn.Module | Iterable[Tensor], learning_rate: float, momentum: float = 0.9, weight_decay: float = 5e-4
) -> torch.optim.SGD:
    """SGD with the field's usual momentum and weight decay, over a model's trainable parameters or the tensors
    given; one fused kernel a step."""
    check_range("learning_rate", learning_rate, 0, open_low=True)
    tensors = trainable(parameters)
    return SGD(tensors, learning_rate, momentum, weight_decay=weight_decay, fused=True)


def adam(parameters: nn.Module | Iterable[Tensor], learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam over a model's trainable parameters or the tensors given."""
    check_range("learning_rate", learning_rate, 0, open_low=True)
    return Adam(trainable(parameters), learning_rate, weight_decay=weight_decay, fused=True)


def epochs_of(task: UnlearningTask, model: nn.Module, epochs: int, *, batch_norm: bool = True) -> Iterator[int]:
    """Yields 0, 1, …, epochs - 1, each with the model in train mode (see `train_mode`), and reports each epoch done.

    Raises: ForgetError for epochs < 1.
    """
    check_range("epochs", epochs, 1)
    task.epoch_done(0, model)
    for epoch in range(epochs):
        train_mode(model, batch_norm=batch_norm)
        yield epoch
        task.epoch_done(epoch + 1, model)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, *, clip_norm: float | None = None, l1: float = 0.0) -> None:
    """One optimiser step on a scalar loss + l1 · Σ |θ|, with gradients clipped to a norm if one is given.

    The penalty goes straight to the gradients, as l1 · sign(θ); the optimiser must hold all weights that it is on.
    Raises: DivergedError if the loss is not finite.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(f"The loss is {value}; lower the learning rate.")
    clear_gradients(optimizer)
    loss.backward()
    if clip_norm is not None or l1:
        moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [parameter.grad for parameter in moved]
        if l1:
            torch._foreach_add_(gradients, torch._foreach_sign([p.detach() for p in moved]), alpha=l1)
        if clip_norm is not None:
            clip(gradients, clip_norm)
    optimizer.step()


def clip(gradients: list[Tensor], largest: float) -> None:
    """Scales gradients, in place, so that the norm of all together is at most `largest`."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).item()
    if norm > largest:
        torch._foreach_mul_(gradients, largest / norm)


class WeightMask:
    """Lets an optimiser move some numbers of a model's parameters and no others.

    A mask on gradients alone does not do that: weight decay and momentum still move a weight whose gradient is zero.
    So `hold`, called after each step, puts the other weights back. Their momentum may be what it likes: nothing but
    these weights depends on it.
    """

    def __init__(self, model: nn.Module, free: dict[str, Tensor]) -> None:
        """Args: free: bool tensors by name of trained parameter, true where the weight may move."""
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


def used_weights(model: nn.Module, task: UnlearningTask) -> list[str]:
    """Names of the trained weights that the logits depend on: a net may have a head that they do not pass.

    One batch of the retain set tells, in eval mode; that is not counted as cost.
    """
    weights = trained_weights(model)
    images, _ = next(task.retain.batches(shuffle=False, augment=False))
    with task.meter.paused():
        gradients = torch.autograd.grad(model.eval()(images).sum(), list(weights.values()), allow_unused=True)
    return [name for name, gradient in zip(weights, gradients, strict=True) if gradient is not None]


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Gradients of the trained weights, by name; zeros where the loss does not depend on a weight."""
    weights = trained_weights(model).items()
    return {name: torch.zeros_like(weight) if weight.grad is None else weight.grad for name, weight in weights}


def keeping_frozen(make: Callable[[int], nn.Module], model: nn.Module) -> Callable[[int], nn.Module]:
    """`make`, but each model has the frozen weights of `model`, and the statistics of its frozen modules.

    No training changes them, so that a model trained anew starts with them as well. What a net derives from its
    training data (`prepare`) it derives anew.
    """
    kept: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        frozen = {part: parameter for part, parameter in own.items() if not parameter.requires_grad}
        if own and len(frozen) == len(own):
            frozen |= dict(module.named_buffers(recurse=False))
        kept |= {f"{name}.{part}" if name else part: value.detach() for part, value in frozen.items()}

    def fresh(seed: int) -> nn.Module:
        new = make(seed)
        state = {} if hasattr(new, "prepare") else new.state_dict()
        for name in state.keys() & kept.keys():
            state[name].copy_(kept[name])
        return new

    return fresh if kept else make


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters take no gradient: a teacher."""
    teacher = copy.deepcopy(model).eval()
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher


def pairs(
    first: Samples, second: Samples, epochs: int = 1, *, second_size: int | None = None
) -> Iterator[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Each batch of `first` with the next of `second` (in batches of `second_size`), shuffled anew when it is used
    up.
    """
    partner = second.forever(batch_size=second_size)
    for batch in first.batches(epochs):
        yield batch, next(partner)


def both(model: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of two batches in one forward pass: batch norm then sees the mixture, as it did in training."""
    first_logits, second_logits = model(torch.cat([first, second])).split([len(first), len(second)])
    return first_logits, second_logits


def random_part(task: UnlearningTask, samples: Samples, share: float) -> Samples:
    """A random share in (0, 1] of `samples`, at least one, drawn by the task's generator.

    Raises: ForgetError for a share out of range.
    """
    check_range("retain_share", share, 0, 1, open_low=True)
    order = torch.randperm(len(samples), generator=task.generator)
    return samples.subset(order[: max(1, round(share * len(samples)))].to(samples.labels.device))


def log_probabilities(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A target for `taught`: log softmax of the teacher's logits / T."""
    return lambda logits, _labels: functional.log_softmax(logits / temperature, 1)


def divergence(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(exp(target) ‖ softmax(logits / T)), mean over the batch, in nats; target: log probabilities [B, K]."""
    logs = functional.log_softmax(logits if temperature == 1 else logits / temperature, 1)
    return functional.kl_div(logs, target, reduction="batchmean", log_target=True)


def distillation(teacher_logits: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the batch, in nats."""
    target = functional.log_softmax(teacher_logits / temperature, 1)
    return temperature**2 * divergence(target, student_logits, temperature)


Taught = Callable[..., Iterator[tuple[Tensor, Tensor, Tensor]]]


def taught(*parts: tuple[nn.Module, Samples], target: Callable[[Tensor, Tensor], Tensor]) -> Taught:
    """A function that gives mixed batches of all samples (arguments as for `Samples.batches`) with a target made of
    the logits of the frozen teacher that each sample came with, and of its label: (images, labels, targets [B, K]).

    A teacher sees each of its samples once, however many epochs follow; where images are augmented, each batch anew.
    """
    samples = reduce(concatenate, [samples for _, samples in parts])
    numbered = samples.with_labels(torch.arange(len(samples), device=samples.labels.device))
    if samples.augmentation == "none":
        known = target(torch.cat([logits_of(teacher, own) for teacher, own in parts]), samples.labels)
    else:
        owners = torch.cat([torch.full_like(own.labels, number) for number, (_, own) in enumerate(parts)])

    @torch.no_grad()
    def anew(images: Tensor, positions: Tensor) -> Tensor:
        found = images.new_empty(len(images), 0)
        for number, (teacher, _) in enumerate(parts):
            here = owners[positions] == number
            if here.any():
                logits = teacher(images[here])
                found = found if found.shape[1] else logits.new_empty(len(images), logits.shape[1])
                found[here] = logits
        return found

    def batches(*arguments: int, **options: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for images, positions in numbered.batches(*arguments, **options):
            labels = samples.labels[positions]
            ready = samples.augmentation == "none"
            yield images, labels, known[positions] if ready else target(anew(images, positions), labels)

    return batches


@torch.no_grad()
def logits_of(model: nn.Module, samples: Samples, batch_size: int = 500) -> Tensor:
    """Logits float32 [N, K] of all samples, in order, not augmented, in the mode the model is in."""
    return torch.cat(
        [model(images) for images, _ in samples.batches(batch_size=batch_size, shuffle=False, augment=False)]
    )
