"""Certified removal. The constant c is M. As in the authors' code each row of features is scaled to length 1 and bounds
add up over removals. The net's head is what was fitted, over the mean length of the retain features: which class wins
does not depend on it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import Classifier
from forget_lib.models.train import Meter
from forget_lib.unlearning import Factor, Positive, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import COUNTED, features_of

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
    """H⁻¹ g for each class, H = Xᵀ diag(p (1 - p)) X + λ n I at `weights`, g the slope; [D, K].

    One class at a time: beside x itself, it needs memory for one more [N, D] and one [D, D].
    """
    ridge = regularisation * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    steps = []
    for weight, of_class in zip(weights.T, slope.T, strict=True):
        p = torch.sigmoid(x @ weight)
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + ridge
        steps.append(torch.linalg.solve(hessian, of_class))
    return torch.stack(steps, 1)


def fit_head(x: Tensor, signs: Tensor, regularisation: float, noise: Tensor) -> tuple[Tensor, int]:
    """Minimiser of the objective by Newton's method, halving a step that does not shrink the gradient; [D, K]. And how
    many steps it took."""
    weights = torch.zeros(x.shape[1], signs.shape[1], dtype=x.dtype)
    slope = gradients(weights, x, signs, regularisation, noise)
    steps = 0
    while steps < 30 and float(slope.norm()) >= 1e-10 * len(x):
        change, factor = newton_step(weights, x, slope, regularisation), 1.0
        while factor > 1e-3:
            moved = weights - factor * change
            after = gradients(moved, x, signs, regularisation, noise)
            if float(after.norm()) < float(slope.norm()):
                break
            factor /= 2
        weights, slope, steps = moved, after, steps + 1
    return weights, steps


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
def rows_of(model: Classifier, samples: Samples, meter: Meter) -> tuple[Tensor, float]:
    """Penultimate features and a one, each row scaled to length 1, float64 [N, D + 1] on the CPU; and the mean length
    before. A row depends on no other sample, so that what is fitted without a sample does not know it."""
    features = features_of(model, samples, meter).double().cpu()
    rows = torch.cat([features, torch.ones(len(samples), 1, dtype=torch.float64)], 1)
    lengths = rows.norm(dim=1, keepdim=True)
    return rows / lengths, float(lengths.mean())


@torch.no_grad()
def products_of_a_pass(model: nn.Module, samples: Samples, meter: Meter) -> int:
    """Multiplications in the convolutions and linear layers in a forward pass of one sample."""
    found = []

    def count(layer: Any, _inputs: Any, output: Tensor) -> None:
        found.append(layer.weight.numel() * output.numel() // layer.weight.shape[0])

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, COUNTED)]
    with meter.paused():
        model(next(samples.batches(batch_size=1, shuffle=False, augment=False))[0])
    for hook in hooks:
        hook.remove()
    return sum(found)


@method(
    "certified_removal",
    title="Certified removal",
    uses="forget, retain (features)",
    family="second order",
    needs=("trained linear head",),
    version=2,
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
    spent: Factor = 0.0,
) -> nn.Module:
    r"""Fit a regularised linear head on frozen features, and take the forget set out of it by one Newton step, or fit
    it anew where the step leaves more than the noise hides.

    One logistic loss a class, :math:`\sum \log(1 + e^{-s\, w \cdot x}) + \frac{\lambda n}{2} \|w\|^2 + b \cdot w`,
    :math:`b \sim \mathcal{N}(0, \sigma^2 I)`, x the features, each sample's scaled to length 1. Removal: :math:`w
    \leftarrow w + H^{-1} \sum_{D_f} (\nabla \ell + \lambda w)`. What is left of the gradient is at most :math:`\beta =
    \frac{1}{4} \|X\|_2 \|\Delta\| \|X \Delta\|`; once the sum of β over all removals is above the budget :math:`\sigma
    \epsilon / \sqrt{2 \ln(1.5 / \delta)}`, the head is fitted anew without the forget set and nothing is spent. The
    certificate (ε, δ) is of the head alone: the features saw the forget set. The fits count as cost, in passes of as
    many operations.

    Settings: regularisation λ. noise σ is part of the guarantee, as ε and δ are, and is not tuned; 0 certifies nothing
    and never refits. spent: β of earlier removals whose head the model has, fact `spent` of the last; 0 fits a head.
    Facts: bound, budget, spent, epsilon, delta, refitted.
    """
    model.eval()
    task.epoch_done(0, model)
    (forget, lost), (retain, kept) = (rows_of(model, part, task.meter) for part in (task.forget, task.retain))
    x, gone = torch.cat([forget, retain]), torch.arange(len(forget) + len(retain)) < len(forget)
    signs = signed(torch.cat([task.forget.labels, task.retain.labels]).cpu(), task.number_of_classes)
    shape = (x.shape[1], task.number_of_classes)
    first, second = (noise * torch.randn(shape, generator=task.generator, dtype=torch.float64) for _ in range(2))
    if spent > 0:
        before, steps = (lost * len(forget) + kept * len(retain)) / len(x), 0
        weights = before * torch.cat([model.head.weight.detach().T, model.head.bias.detach()[None]]).double().cpu()
    else:
        weights, steps = fit_head(x, signs, regularisation, first)
    weights, bound = remove(weights, x, signs, gone, regularisation)
    allowed = budget(noise, epsilon, delta)
    refitted = noise > 0 and spent + bound > allowed
    if refitted:
        weights, more = fit_head(retain, signs[~gone], regularisation, second)
        steps += more
    products = (steps + 1) * shape[1] * (len(x) * shape[0] ** 2 + shape[0] ** 3 // 3)
    task.meter.add(round(products / products_of_a_pass(model, task.retain, task.meter)))
    task.facts.update(epsilon=epsilon if noise > 0 else math.inf, delta=delta, refitted=refitted)
    task.facts.update(bound=bound, budget=allowed, spent=0.0 if refitted else spent + bound)
    with torch.no_grad():
        model.head.weight.copy_((weights[:-1] / kept).T)
        model.head.bias.copy_(weights[-1] / kept)
    task.epoch_done(1, model)
    return model
