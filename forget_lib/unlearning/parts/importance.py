"""How much each weight matters for a set of samples: mean over the samples of |∂loss/∂θ|^p."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, unfold

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning.common import Importance, frozen_copy, trained_weights

Losses = Callable[[Tensor, Tensor], Tensor]
Batches = list[tuple[Tensor, Tensor]]


def sample_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample, [B]."""
    return cross_entropy(logits, labels, reduction="none")


def sample_output_norm(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared length of each sample's logits, [B]; the labels are not used."""
    return logits.square().sum(1)


def importance_by_sample(
    model: nn.Module, samples: Samples, losses: Losses, power: int, meter: Meter, chunk: int = 64
) -> Importance:
    """Mean over samples of |∂loss_i/∂θ|^power in eval mode, by name of trained weight; independent of any batch size.

    Linear layers, plain 2-d convolutions and batch norm give the gradients of each sample from one ordinary backward
    pass: a linear layer's is the outer product of what goes in and what comes back. Others go through `vmap`.
    Args: losses: (logits [B, K], labels [B]) to [B]. power: 1 or 2. chunk: samples at once.
    """
    frozen = frozen_copy(model)
    batches = [(i, t) for i, t in samples.batches(batch_size=chunk, shuffle=False, augment=False)]
    first = _layer_by_layer(frozen, batches[:1], losses, power) if _plain(frozen) else None
    rest = None if first is None else _layer_by_layer(frozen, batches[1:], losses, power)
    if first is None or rest is None:
        total = _by_vmap(frozen, batches, losses, power, meter)
    else:
        total = {name: first[name] + rest[name] for name in first}
    return {name: total[name] / len(samples) for name in trained_weights(model)}


def importance_by_batch(
    model: nn.Module, samples: Samples, losses: Losses, power: int, batch_size: int, shuffle: bool = True
) -> Importance:
    """Mean over batches of |∂ mean loss/∂θ|^power, 1 or 2, as published code has it; it shrinks as batches grow, and
    where classes meet in a batch, so it depends on the order of the samples: shuffled, or as they are."""
    frozen = frozen_copy(model)
    weights = [frozen.get_parameter(name).requires_grad_(True) for name in trained_weights(model)]
    sums, batches = [torch.zeros_like(weight) for weight in weights], 0
    for images, labels in samples.batches(batch_size=batch_size, shuffle=shuffle, augment=False):
        gradients = torch.autograd.grad(losses(frozen(images), labels).mean(), weights, materialize_grads=True)
        if power == 2:
            torch._foreach_addcmul_(sums, gradients, gradients)
        else:
            torch._foreach_add_(sums, torch._foreach_abs(gradients))
        batches += 1
    return {name: total / batches for name, total in zip(trained_weights(model), sums, strict=True)}


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules with weights of their own, by name."""
    return ((name, module) for name, module in model.named_modules() if list(module.parameters(recurse=False)))


def _plain(model: nn.Module) -> bool:
    """Whether every module with weights is of a kind that `_powers` knows and no weight is shared."""
    weights = 0
    for _, module in _owners(model):
        weights += len(list(module.parameters(recurse=False)))
        if isinstance(module, nn.Conv2d):
            if module.groups > 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
                return False
        elif not isinstance(module, nn.Linear | nn.modules.batchnorm._BatchNorm):
            return False
    return weights == len(list(model.parameters()))


def _layer_by_layer(model: nn.Module, batches: Batches, losses: Losses, power: int) -> Importance | None:
    """Sums over samples; None if a layer runs twice in a pass or on inputs of another shape."""
    totals = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    seen: set[str] = set()
    odd: list[str] = []

    def watch(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if name in seen or (isinstance(module, nn.Linear) and inputs[0].dim() != 2):
            odd.append(name)
            return
        seen.add(name)
        entered = inputs[0].detach()

        def add(gradient: Tensor) -> None:
            for part, value in _powers(module, entered, gradient, power).items():
                totals[f"{name}.{part}".lstrip(".")] += value

        output.register_hook(add)

    handles = [module.register_forward_hook(partial(watch, name)) for name, module in _owners(model)]
    try:
        for images, labels in batches:
            seen.clear()
            images = images.detach().requires_grad_()
            torch.autograd.grad(losses(model(images), labels).sum(), images)
            if odd:
                return None
    finally:
        for handle in handles:
            handle.remove()
    return totals


def _powers(module: nn.Module, entered: Tensor, gradient: Tensor, power: int) -> Importance:
    """Σ over samples of |gradient of the sample|^power of a layer's own parameters.

    Args: entered: the layer's input. gradient: of the loss by the layer's output.
    """
    if isinstance(module, nn.Linear):
        weight = gradient.abs().pow(power).T @ entered.abs().pow(power)
        bias = gradient.abs().pow(power).sum(0)
    elif isinstance(module, nn.Conv2d):
        padding = cast(tuple[int, ...], module.padding)
        windows = unfold(entered, module.kernel_size, module.dilation, padding, module.stride)
        by_sample = gradient.flatten(2) @ windows.transpose(1, 2)
        weight = by_sample.abs().pow(power).sum(0).view_as(module.weight)
        bias = gradient.flatten(2).sum(2).abs().pow(power).sum(0)
    else:
        norm: Any = module
        entered, gradient = (values.reshape(*values.shape[:2], -1) for values in (entered, gradient))
        standard = (entered - norm.running_mean[:, None]) * torch.rsqrt(norm.running_var + norm.eps)[:, None]
        weight = (gradient * standard).sum(2).abs().pow(power).sum(0)
        bias = gradient.sum(2).abs().pow(power).sum(0)
    return {"weight": weight} if getattr(module, "bias", None) is None else {"weight": weight, "bias": bias}


def _by_vmap(model: nn.Module, batches: Batches, losses: Losses, power: int, meter: Meter) -> Importance:
    """The same sums for any model, with a gradient a sample in memory."""
    detach_meters(model)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss_of(weights: Importance, image: Tensor, label: Tensor) -> Tensor:
        return losses(torch.func.functional_call(model, (weights, buffers), (image[None],)), label[None])[0]

    gradients_of = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0))
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for images, labels in batches:
        for name, gradients in gradients_of(parameters, images, labels).items():
            totals[name] += gradients.abs().pow(power).sum(0)
        meter.add(3 * len(labels))
    return totals
