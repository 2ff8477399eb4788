"""How much each weight matters for a set of samples: mean over the samples of |∂loss/∂θ|^p."""

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning.common import Importance, frozen_copy, trained_weights

Losses = Callable[[Tensor, Tensor], Tensor]
Batches = list[tuple[Tensor, Tensor]]


def sample_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample, [B]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def sample_output_norm(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared length of each sample's logits, [B]; the labels are not used."""
    return logits.square().sum(1)


def importance_by_sample(
    model: nn.Module, samples: Samples, losses: Losses, power: int, meter: Meter, chunk: int = 64
) -> Importance:
    """Mean over samples of |∂loss_i/∂θ|^power in eval mode, by name of trained weight; independent of any batch size.

    Linear layers, plain 2-d convolutions and batch norm give their gradients of each sample from one ordinary
    backward pass: a linear layer's is the outer product of what goes in and what comes back, so that powers need no
    tensor of a gradient a sample. Models with other layers go through `torch.func.vmap`.
    Args: losses: (logits [B, K], labels [B]) to [B]. power: 1 or 2. chunk: samples at once.
    """
    frozen = frozen_copy(model)
    batches = [(i, t) for i, t in samples.batches(batch_size=chunk, shuffle=False, augment=False)]
    found = _layer_by_layer(frozen, batches[:1], losses, power) if _plain(frozen) else None
    rest = None if found is None else _layer_by_layer(frozen, batches[1:], losses, power)
    if found is None or rest is None:
        found = _by_vmap(frozen, batches, losses, power, meter)
    else:
        found = {name: found[name] + rest[name] for name in found}
    return {name: found[name] / len(samples) for name in trained_weights(model)}


def importance_by_batch(model: nn.Module, samples: Samples, losses: Losses, power: int, batch_size: int) -> Importance:
    """Mean over batches of |∂ mean loss/∂θ|^power, power 1 or 2, as published code has it; it shrinks as batches
    grow."""
    frozen = frozen_copy(model)
    weights = [frozen.get_parameter(name).requires_grad_(True) for name in trained_weights(model)]
    sums, batches = [torch.zeros_like(weight) for weight in weights], 0
    for images, labels in samples.batches(batch_size=batch_size, augment=False):
        gradients = torch.autograd.grad(losses(frozen(images), labels).mean(), weights, materialize_grads=True)
        if power == 2:
            torch._foreach_addcmul_(sums, gradients, gradients)
        else:
            torch._foreach_add_(sums, torch._foreach_abs(gradients))
        batches += 1
    return {name: total / batches for name, total in zip(trained_weights(model), sums, strict=True)}


def _plain(model: nn.Module) -> bool:
    """Whether every module with weights is of a kind that `_powers` knows and no weight is shared."""
    owners = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    shared = len({id(p) for p in model.parameters()}) < sum(len(list(m.parameters(recurse=False))) for m in owners)
    kinds = all(
        isinstance(module, nn.Linear | nn.modules.batchnorm._BatchNorm)
        or (
            isinstance(module, nn.Conv2d)
            and module.groups == 1
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        )
        for module in owners
    )
    return kinds and not shared


def _layer_by_layer(model: nn.Module, batches: Batches, losses: Losses, power: int) -> Importance | None:
    """Sums over samples; None if a layer runs twice in a pass or on inputs of another shape."""
    totals = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    calls: Counter[str] = Counter()
    odd: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] += 1
            entered = inputs[0].detach()
            if isinstance(module, nn.Linear) and entered.dim() != 2:
                odd.append(name)
                return

            def back(gradient: Tensor) -> None:
                for part, value in _powers(module, entered, gradient, power).items():
                    totals[f"{name}.{part}" if name else part] += value

            output.register_hook(back)

        return after

    owners = [(n, m) for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    handles = [module.register_forward_hook(watch(name)) for name, module in owners]
    try:
        for images, labels in batches:
            calls.clear()
            images = images.detach().requires_grad_()
            torch.autograd.grad(losses(model(images), labels).sum(), images)
            if odd or any(count > 1 for count in calls.values()):
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
        windows = functional.unfold(entered, module.kernel_size, module.dilation, padding, module.stride)
        each = gradient.flatten(2) @ windows.transpose(1, 2)
        weight = each.abs().pow(power).sum(0).view_as(module.weight)
        bias = gradient.flatten(2).sum(2).abs().pow(power).sum(0)
    else:
        norm: Any = module
        shape = (1, -1) + (1,) * (entered.dim() - 2)
        scale = torch.rsqrt(norm.running_var + norm.eps).view(shape)
        standard = (entered - norm.running_mean.view(shape)) * scale
        weight = (gradient * standard).flatten(2).sum(2) if entered.dim() > 2 else gradient * standard
        bias = gradient.flatten(2).sum(2) if entered.dim() > 2 else gradient
        weight, bias = weight.abs().pow(power).sum(0), bias.abs().pow(power).sum(0)
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
