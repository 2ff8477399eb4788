"""Certified removal. The constant c is M."""

import math

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Factor, Positive, Share, UnlearningTask, method, source

CURVATURE = 0.25
"""Lipschitz constant of the second derivative of the logistic loss, as in the paper; 1 / (6 √3) is the tight one."""


def signed(labels: Tensor, number_of_classes: int) -> Tensor:
    """One column a class: 1 for its samples, -1 for others; float64 [N, K]."""
    return 2.0 * nn.functional.one_hot(labels, number_of_classes).double() - 1


def gradients(weights: Tensor, x: Tensor, signs: Tensor, regularisation: float, noise: Tensor) -> Tensor:
    """Of each class's objective Σ log(1 + exp(-s w·x)) + λ n / 2 ‖w‖² + b·w; [D, K] as weights and noise, x [N, D]."""
    slope = -signs * torch.sigmoid(-signs * (x @ weights))
    return x.T @ slope + regularisation * len(x) * weights + noise


def newton_step(weights: Tensor, x: Tensor, slope: Tensor, regularisation: float) -> Tensor:
    """H⁻¹ g for each class, H = Xᵀ diag(p (1 - p)) X + λ n I at `weights`, g the slope; [D, K]."""
    p = torch.sigmoid(x @ weights)
    hessians = torch.einsum("nd,nk,ne->kde", x, p * (1 - p), x)
    hessians += regularisation * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(hessians, slope.T[..., None])[..., 0].T


def fit_head(x: Tensor, signs: Tensor, regularisation: float, noise: Tensor) -> Tensor:
    """Minimiser of the objective by Newton's method, halving a step that does not shrink the gradient; [D, K]."""
    weights = torch.zeros(x.shape[1], signs.shape[1], dtype=x.dtype)
    slope = gradients(weights, x, signs, regularisation, noise)
    for _ in range(30):
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


def remove(weights: Tensor, x: Tensor, signs: Tensor, gone: Tensor, regularisation: float) -> tuple[Tensor, float]:
    """One Newton step that takes samples out of a head fitted on all: w ← w + H⁻¹ Σ_gone (∇ℓ + λ w), H over the others.

    Args: weights: minimiser on all, [D, K]. x: [N, D], rows of norm <= 1. gone: bool [N].
    Returns: weights, and γ ‖X‖₂ ‖Δ‖ ‖X Δ‖, X the rows that stay: no less than the norm of the gradient without the
    removed samples, all classes together; 0 would be retraining.
    """
    slope = gradients(weights, x[gone], signs[gone], regularisation, torch.zeros_like(weights))
    staying = x[~gone]
    change = newton_step(weights, staying, slope, regularisation)
    bounds = CURVATURE * torch.linalg.matrix_norm(staying, 2) * change.norm(dim=0) * (staying @ change).norm(dim=0)
    return weights + change, float(bounds.norm())


def budget(noise: float, epsilon: float, delta: float) -> float:
    """Largest bound that noise of deviation σ hides at (ε, δ): σ ε / √(2 ln(1.5 / δ))."""
    return noise * epsilon / math.sqrt(2 * math.log(1.5 / delta))


@torch.no_grad()
def _features(model: Classifier, samples: Samples, task: UnlearningTask) -> Tensor:
    """Penultimate features and a column of ones, float64 [N, D + 1] on the CPU."""
    batches = samples.batches(batch_size=500, shuffle=False, augment=False)
    features = torch.cat([model.features(images).double().cpu() for images, _ in batches])
    task.meter.add(len(samples))
    return torch.cat([features, torch.ones(len(samples), 1, dtype=torch.float64)], 1)


@method(
    "certified_removal",
    title="Certified removal",
    uses="forget, retain (features)",
    family="second order",
    needs=("trained linear head",),
)
@source("Guo et al., ICML 2020", arxiv="1911.03030", status="V")
def certified_removal(
    model: Classifier,
    task: UnlearningTask,
    *,
    regularisation: Positive = 1e-4,
    noise: Factor = 1.0,
    epsilon: Positive = 1.0,
    delta: Share = 1e-4,
) -> nn.Module:
    r"""Fit a regularised linear head on frozen features, and take the forget set out of it by one Newton step.

    One logistic loss a class, :math:`\sum \log(1 + e^{-s\, w \cdot x}) + \frac{\lambda n}{2} \|w\|^2 + b \cdot w`,
    :math:`b \sim \mathcal{N}(0, \sigma^2 I)`, x the features, scaled to norm at most 1. Removal: :math:`w \leftarrow w
    + H^{-1} \sum_{D_f} (\nabla \ell + \lambda w)`. What is left of the gradient is at most :math:`\beta = \frac{1}{4}
    \|X\|_2 \|\Delta\| \|X \Delta\|`; above :math:`\sigma \epsilon / \sqrt{2 \ln(1.5 / \delta)}` the head is fitted anew
    without the forget set. The certificate (ε, δ) is of the head alone: the features saw the forget set.
    Settings: regularisation λ. noise σ; 0 certifies nothing and never refits.
    """
    model.eval()
    task.epoch_done(0, model)
    x = torch.cat([_features(model, samples, task) for samples in (task.forget, task.retain)])
    scale = float(x.norm(dim=1).max())
    x, gone = x / scale, torch.arange(len(x)) < len(task.forget)
    signs = signed(torch.cat([task.forget.labels, task.retain.labels]).cpu(), task.number_of_classes)
    shape = (x.shape[1], task.number_of_classes)
    first, second = (noise * torch.randn(shape, generator=task.generator, dtype=torch.float64) for _ in range(2))
    weights, bound = remove(fit_head(x, signs, regularisation, first), x, signs, gone, regularisation)
    if noise > 0 and bound > budget(noise, epsilon, delta):
        weights = fit_head(x[~gone], signs[~gone], regularisation, second)
    with torch.no_grad():
        model.head.weight.copy_((weights[:-1] / scale).T)
        model.head.bias.copy_(weights[-1] / scale)
    task.epoch_done(1, model)
    return model
