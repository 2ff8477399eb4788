"""Optimizers of the study: fused SGD and Adam without what a small net would notice, and Muon for kernels."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from forget_lib.recipes import Recipe, require_recipe


def _lean(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The optimizer without its ties to torch's compiler, which it imports at its first step: more than a second in
    every process, charged to whatever trains first. Nothing here compiles a step; the update is the same.
    """
    for function in vars(torch.optim.Optimizer).values():
        plain = getattr(function, "__wrapped__", None)
        if plain is not None:
            vars(plain).setdefault("__dynamo_disable", plain)
    update = inspect.unwrap(kind.step)

    @torch.no_grad()
    def step(self: torch.optim.Optimizer) -> None:
        update(self)

    return type(kind.__name__, (kind,), {"step": step})


SGD, Adam = _lean(torch.optim.SGD), _lean(torch.optim.Adam)


def trainable(parameters: nn.Module | Iterable[Tensor]) -> list[Tensor]:
    """Those of a model's, or of these, tensors that are trained."""
    tensors = parameters.parameters() if isinstance(parameters, nn.Module) else parameters
    return [tensor for tensor in tensors if tensor.requires_grad]


def make_optimizer(parameters: nn.Module | Iterable[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters of a model, or those given; one fused kernel a step."""
    require_recipe(recipe)
    if recipe.optimizer == "muon":
        return Muon(parameters, recipe)
    if recipe.optimizer == "adam":
        return Adam(trainable(parameters), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    settings = {"weight_decay": recipe.weight_decay, "nesterov": recipe.momentum > 0, "fused": True}
    return SGD(trainable(parameters), recipe.learning_rate, recipe.momentum, **settings)


class Muon(SGD):
    """PyTorch's Muon for convolution kernels, taken as matrices, and SGD at the same rate for everything else.

    Muon steps along the nearest orthogonal matrix to the momentum, so that all directions of a kernel learn at once.
    Each kernel keeps the norm of a matrix of orthonormal rows; behind a batch norm only its direction matters.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, parameters: nn.Module | Iterable[Tensor], recipe: Recipe) -> None:
        trained = trainable(parameters)
        self.kernels = [parameter for parameter in trained if parameter.ndim == 4]
        # Views on the same memory: what steps on a matrix steps on its kernel.
        self.matrices = [_matrix(kernel.detach()) for kernel in self.kernels]
        rest = [parameter for parameter in trained if parameter.ndim != 4]
        super().__init__(rest, recipe.learning_rate, 0.85, weight_decay=recipe.weight_decay, nesterov=True, fused=True)
        self.inner = torch.optim.Muon(
            self.matrices, recipe.learning_rate, weight_decay=0.0, momentum=recipe.momentum, ns_steps=3
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step of both, at the rate of the first group."""
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad)
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        self.inner.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        self.inner.step()
        super().step()
        for kernel in self.kernels:  # they are in no group of this optimizer, so nobody else lets go of them
            kernel.grad = None

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"kernels": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict["kernels"])
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "kernels"})


def _matrix(kernel: Tensor) -> Tensor:
    """A view of a kernel [O, I, H, W] as a matrix [O, ...], in the order of its memory."""
    last = kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
    return (kernel.permute(0, 2, 3, 1) if last else kernel).view(len(kernel), -1)


def clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Lets go of the gradients of what `optimizer` moves; the same as its own `zero_grad`, less its bookkeeping."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
