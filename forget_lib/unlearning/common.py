"""What many methods share: an optimiser, a step, a frozen teacher, batch norm that stays as it is."""

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.errors import DivergedError, ForgetError


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
    given."""
    check_range("learning_rate", learning_rate, 0, open_low=True)
    tensors = parameters.parameters() if isinstance(parameters, nn.Module) else parameters
    return torch.optim.SGD([t for t in tensors if t.requires_grad], learning_rate, momentum, weight_decay=weight_decay)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, *, clip_norm: float | None = None) -> None:
    """One optimiser step on a scalar loss, with gradients clipped to a norm if one is given.

    Raises: DivergedError if the loss is not finite.
    """
    if not bool(loss.isfinite()):
        raise DivergedError(f"The loss is {float(loss)}; lower the learning rate.")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
    optimizer.step()


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters take no gradient: a teacher."""
    teacher = copy.deepcopy(model).eval()
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher


def train_mode(model: nn.Module, *, batch_norm: bool = True) -> nn.Module:
    """Train mode; with `batch_norm=False`, and for modules whose parameters are all frozen, running statistics stay."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = list(module.parameters(recurse=False))
            frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
            if not batch_norm or frozen:
                module.eval()
    return model


def pairs(
    first: Samples, second: Samples, epochs: int = 1
) -> Iterator[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Each batch of `first` with the next batch of `second`, which starts again, shuffled anew, when it is used up."""
    partner = second.forever()
    for batch in first.batches(epochs):
        yield batch, next(partner)


def distillation(teacher_logits: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the batch, in nats."""
    target = functional.log_softmax(teacher_logits / temperature, 1)
    logs = functional.log_softmax(student_logits / temperature, 1)
    return temperature**2 * functional.kl_div(logs, target, reduction="batchmean", log_target=True)


@torch.no_grad()
def logits_of(model: nn.Module, samples: Samples, batch_size: int = 500) -> Tensor:
    """Logits float32 [N, K] of all samples, in order, not augmented, in the mode the model is in."""
    return torch.cat(
        [model(images) for images, _ in samples.batches(batch_size=batch_size, shuffle=False, augment=False)]
    )
