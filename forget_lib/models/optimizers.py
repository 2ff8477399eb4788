"""Optimizers of the study: fused SGD and Adam without what a small net would notice, and Muon for kernels."""

import inspect
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from forget_lib.models.recipe import Recipe, require_recipe


@cache
def _without_compiler() -> None:
    """Keeps torch's optimizers from importing its compiler, more than a second, at their first step."""
    for function in vars(torch.optim.Optimizer).values():
        plain = getattr(function, "__wrapped__", None)
        if plain is not None:
            vars(plain).setdefault("__dynamo_disable", plain)


def _lean(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The optimizer whose step is the update alone, without torch's bookkeeping around it."""
    update = inspect.unwrap(kind.step)

    def begin(self: torch.optim.Optimizer, *given: Any, **named: Any) -> None:
        _without_compiler()
        kind.__init__(self, *given, **named)

    step = torch.no_grad()(lambda self: update(self))
    return type(kind.__name__, (kind,), {"__init__": begin, "step": step})


if TYPE_CHECKING:
    from torch.optim import SGD, Adam
else:
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
    settings: dict[str, Any] = {"weight_decay": recipe.weight_decay, "nesterov": recipe.momentum > 0, "fused": True}
    return SGD(trainable(parameters), recipe.learning_rate, recipe.momentum, **settings)


class Muon(SGD):
    """Muon for convolution kernels, taken as matrices, and SGD at the same rate for everything else.

    Muon steps along the nearest orthogonal matrix to the momentum, so that all directions of a kernel learn at once.
    Each kernel keeps the norm of a matrix of orthonormal rows; behind a batch norm only its direction matters.
    `torch.optim.Muon` takes the same step, but in bfloat16, which is slow where a processor has no instructions for it.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, parameters: nn.Module | Iterable[Tensor], recipe: Recipe) -> None:
        trained = trainable(parameters)
        self.kernels = [parameter for parameter in trained if parameter.ndim == 4]
        # Views on the same memory: what steps on a matrix steps on its kernel.
        self.matrices = [_matrix(kernel.detach()) for kernel in self.kernels]
        self.momentum, self.momenta = recipe.momentum, [torch.zeros_like(matrix) for matrix in self.matrices]
        rest = [parameter for parameter in trained if parameter.ndim != 4]
        super().__init__(rest, recipe.learning_rate, 0.85, weight_decay=recipe.weight_decay, nesterov=True, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of both, at the rate of the first group."""
        rate = self.param_groups[0]["lr"]
        for kernel, matrix, momentum in zip(self.kernels, self.matrices, self.momenta, strict=True):
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
            if kernel.grad is None:
                continue
            gradient = _matrix(kernel.grad)
            momentum.lerp_(gradient, 1 - self.momentum)
            direction = orthogonalised(gradient.lerp(momentum, self.momentum))
            matrix.sub_(direction, alpha=rate * max(1.0, len(matrix) / matrix.shape[1]) ** 0.5)
            kernel.grad = None  # it is in no group of this optimizer, so nobody else lets go of its gradient
        super().step()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"kernels": self.momenta}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for momentum, kept in zip(self.momenta, state_dict["kernels"], strict=True):
            momentum.copy_(kept)
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "kernels"})


def orthogonalised(matrix: Tensor, steps: int = 3) -> Tensor:
    """About the nearest orthogonal matrix, [rows, columns]: a quintic draws each singular value near to 1.

    Source: Newton-Schulz iteration with the coefficients of Jordan et al., "Muon", 2024.
    """
    if len(matrix) > matrix.shape[1]:  # products of the shorter side are smaller
        return orthogonalised(matrix.T, steps).T
    x = matrix / matrix.norm().clamp(min=1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x


def _matrix(kernel: Tensor) -> Tensor:
    """A view of a kernel [O, I, H, W] as a matrix [O, ...], in the order of its memory."""
    last = kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
    return (kernel.permute(0, 2, 3, 1) if last else kernel).view(len(kernel), -1)


def clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Lets go of the gradients of what `optimizer` moves; the same as its own `zero_grad`, less its bookkeeping."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
