"""Certified removal: a Newton step on a linear head, and how far it can be from retraining the head."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning.common import check_range
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

CURVATURE = 0.25
"""Lipschitz constant of the second derivative of the logistic loss, as in the paper; 1 / (6 √3) is the tight one."""


def signed(labels: Tensor, number_of_classes: int) -> Tensor:
    """One column a class: 1 for its samples, -1 for others; float64 [N, K]."""
    return 2.0 * functional.one_hot(labels, number_of_classes).double() - 1


def gradients(weights: Tensor, x: Tensor, signs: Tensor, regularisation: float, noise: Tensor) -> Tensor:
    """Of each class's objective Σ log(1 + exp(-s w·x)) + λ n / 2 ‖w‖² + b·w; float64 [D, K].

    Args: weights, noise: [D, K]. x: [N, D]. signs: [N, K].
    """
    slope = -signs * torch.sigmoid(-signs * (x @ weights))
    return x.T @ slope + regularisation * len(x) * weights + noise


def newton_step(weights: Tensor, x: Tensor, slope: Tensor, regularisation: float) -> Tensor:
    """H⁻¹ g for each class, H = Xᵀ diag(p (1 - p)) X + λ n I at `weights`; [D, K].

    Args: slope: g, [D, K].
    """
    p = torch.sigmoid(x @ weights)
    hessians = torch.einsum("nd,nk,ne->kde", x, p * (1 - p), x)
    hessians += regularisation * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(hessians, slope.T[..., None])[..., 0].T


def fit_head(x: Tensor, signs: Tensor, regularisation: float, noise: Tensor, iterations: int = 30) -> Tensor:
    """Minimiser of the objective by Newton's method, halving a step that does not shrink the gradient; [D, K]."""
    weights = torch.zeros(x.shape[1], signs.shape[1], dtype=x.dtype)
    slope = gradients(weights, x, signs, regularisation, noise)
    for _ in range(iterations):
        if float(slope.norm()) < 1e-10 * len(x):
            break
        change, factor = newton_step(weights, x, slope, regularisation), 1.0
        while factor > 1e-3:
            moved = weights - factor * change
            after = gradients(moved, x, signs, regularisation, noise)
            if float(after.norm()) < float(slope.norm()):
                break
            factor /= 2
        weights, slope = moved, after
    return weights


@dataclass(frozen=True)
class Removal:
    """Result of one removal.

    Attributes: weights: float64 [D, K]. bound: no less than the norm of the gradient of the objective without the
        removed samples at `weights`, all classes together; 0 would be retraining.
    """

    weights: Tensor
    bound: float


def remove(weights: Tensor, x: Tensor, signs: Tensor, gone: Tensor, regularisation: float) -> Removal:
    """One Newton step that takes samples out of a head fitted on all.

    w ← w + H⁻¹ Σ_gone (∇ℓ + λ w), H over the samples that stay; bound γ ‖X‖₂ ‖Δ‖ ‖X Δ‖, X the rows that stay.
    Args: weights: minimiser on all, [D, K]. x: [N, D], rows of norm <= 1. gone: bool [N].
    """
    zero = torch.zeros_like(weights)
    slope = gradients(weights, x[gone], signs[gone], regularisation, zero)
    staying = x[~gone]
    change = newton_step(weights, staying, slope, regularisation)
    bounds = CURVATURE * torch.linalg.matrix_norm(staying, 2) * change.norm(dim=0) * (staying @ change).norm(dim=0)
    return Removal(weights + change, float(bounds.norm()))


def budget(noise: float, epsilon: float, delta: float) -> float:
    """Largest bound that noise of deviation σ hides at (ε, δ): σ ε / √(2 ln(1.5 / δ))."""
    return noise * epsilon / math.sqrt(2 * math.log(1.5 / delta))


def _features(model: nn.Module, samples: Samples, task: UnlearningTask) -> Tensor:
    """Penultimate features and a column of ones, float64 [N, D + 1] on the CPU."""
    parts = []
    with torch.no_grad():
        for images, _ in samples.batches(batch_size=500, shuffle=False, augment=False):
            parts.append(model.features(images).double().cpu())
            task.meter.add(len(images))
    return torch.cat([torch.cat(parts), torch.ones(len(samples), 1, dtype=torch.float64)], 1)


@method(
    "certified_removal",
    title="Certified removal",
    paper="Guo et al., ICML 2020",
    uses="forget, retain (features)",
    family="second order",
    needs=("trained linear head",),
)
def certified_removal(
    model: nn.Module,
    task: UnlearningTask,
    *,
    regularisation: float = 1e-4,
    noise: float = 1.0,
    epsilon: float = 1.0,
    delta: float = 1e-4,
) -> nn.Module:
    r"""Fit a regularised linear head on frozen features, and take the forget set out of it by one Newton step.

    One logistic loss a class, :math:`\sum \log(1 + e^{-s\, w \cdot x}) + \frac{\lambda n}{2} \|w\|^2 + b \cdot w`,
    :math:`b \sim \mathcal{N}(0, \sigma^2 I)`, x the features, scaled to norm at most 1. Removal: :math:`w \leftarrow w
    + H^{-1} \sum_{D_f} (\nabla \ell + \lambda w)`. What is left of the gradient is at most :math:`\beta = \frac{1}{4}
    \|X\|_2 \|\Delta\| \|X \Delta\|`; above :math:`\sigma \epsilon / \sqrt{2 \ln(1.5 / \delta)}` the head is fitted anew
    without the forget set. Status V, the constant c M. The certificate is of the head alone: the features saw the
    forget set, unless they are public. The head of the original is replaced by the convex one first.
    Args: regularisation: λ (> 0). noise: σ (>= 0, 0 certifies nothing and never refits). epsilon, delta: of the
        certificate (> 0, delta < 1).
    Raises: ForgetError for settings out of range.
    """
    for name, value in (("regularisation", regularisation), ("epsilon", epsilon), ("delta", delta)):
        check_range(name, value, 0, 1 if name == "delta" else math.inf, open_low=True)
    check_range("noise", noise, 0)
    model.eval()
    task.epoch_done(0, model)
    parts = [_features(model, samples, task) for samples in (task.forget, task.retain)]
    x = torch.cat(parts)
    scale = float(x.norm(dim=1).max())
    x, gone = x / scale, torch.arange(len(x)) < len(task.forget)
    signs = signed(torch.cat([task.forget.labels, task.retain.labels]).cpu(), task.number_of_classes)
    shape = (x.shape[1], task.number_of_classes)
    first, second = (noise * torch.randn(shape, generator=task.generator, dtype=torch.float64) for _ in range(2))
    result = remove(fit_head(x, signs, regularisation, first), x, signs, gone, regularisation)
    weights = result.weights
    if noise > 0 and result.bound > budget(noise, epsilon, delta):
        weights = fit_head(x[~gone], signs[~gone], regularisation, second)
    with torch.no_grad():
        model.head.weight.copy_((weights[:-1] / scale).T)
        model.head.bias.copy_(weights[-1] / scale)
    task.epoch_done(1, model)
    return model
