"""Langevin unlearning (head). The authors' code, too, is a linear classifier on rows of length 1; batches are the whole
set here. Their bound is on a Rényi divergence; the same sum bounds how far apart two Gaussians are. There a sample is
replaced, here the forget set is taken out."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from forget_lib.models.nets import Classifier
from forget_lib.statistics.privacy import gaussian_distance, noise_of_steps
from forget_lib.unlearning import Count, Positive, Share, UnlearningTask, method, source
from forget_lib.unlearning.certified_removal import rows_of
from forget_lib.unlearning.common import trained_weights
from forget_lib.unlearning.parts.private import add_noise, clip

CURVATURE = 0.5
"""Largest second derivative of the cross-entropy of one row of length 1; its gradient is at most √2 long."""


def contracted(weights: Tensor, x: Tensor, labels: Tensor, regularisation: float, rate: float) -> Tensor:
    """The weights [D, K] after a step on the mean cross-entropy of rows x [N, D] + m / 2 ‖w‖²."""
    slope = x.T @ ((x @ weights).softmax(1) - one_hot(labels, weights.shape[1])) / len(x)
    return weights - rate * (slope + regularisation * weights)


def distance_after(steps: int, group: int, total: int, regularisation: float, radius: float) -> float:
    r"""How far apart learning on `total` samples and on all but `group` of them can be, with the same noise, from 0:
    :math:`2 \sqrt 2\, k / (n m) \cdot (1 - (1 - \eta m)^T)`, and at most twice the radius."""
    keep = 1 - regularisation / (CURVATURE + regularisation)
    return min(2 * radius, 2 * math.sqrt(2) * group / (total * regularisation) * (1 - keep**steps))


@method(
    "langevin",
    title="Langevin unlearning (head)",
    uses="forget, retain (features)",
    family="certified",
    needs=("trained linear head", "no running statistics"),
)
@source("Chien et al., NeurIPS 2024; Chien et al., NeurIPS 2024", arxiv="2403.17105 2401.10371", status="V")
def langevin(
    model: Classifier,
    task: UnlearningTask,
    *,
    epsilon: Positive = 1.0,
    delta: Share = 1e-5,
    regularisation: Positive = 0.05,
    radius: Positive = 100.0,
    learning_steps: Count = 100,
    steps: Count = 100,
) -> nn.Module:
    r"""Learn a convex head by projected noisy gradient descent on everything, then go on without the forget set.

    :math:`w \leftarrow \Pi_R(w - \eta (\nabla \mathcal{L}_{CE} + m w) + \mathcal{N}(0, \sigma^2 I))`, :math:`\eta = 1
    / (\frac{1}{2} + m)`, on features that are each scaled to length 1. Guarantee: (ε, δ)-close to the same learning,
    and the same further steps, without the forget set. It needs strong convexity, which lets each step bring two runs
    together: so it is one of the head, and of no deep net. The features saw the forget set, and the guarantee is none
    of the whole model, unless all other weights are frozen and learned from other data.

    Settings: regularisation m. radius R. learning_steps: on all samples, from 0. steps: on the retain set alone; more
    of them need less noise. σ follows from them, the size of the forget set and (ε, δ).
    Facts: epsilon, delta, noise σ, scope.
    """
    model.eval()
    task.epoch_done(0, model)
    (forget, _), (retain, length) = (rows_of(model, part, task.meter) for part in (task.forget, task.retain))
    x, kept = torch.cat([forget, retain]), task.retain.labels.cpu()
    labels = torch.cat([task.forget.labels.cpu(), kept])
    rate = 1 / (CURVATURE + regularisation)
    apart = distance_after(learning_steps, len(forget), len(x), regularisation, radius)
    noise = noise_of_steps(gaussian_distance(epsilon, delta), steps, 1 - rate * regularisation, apart, 0.0)
    weights = torch.zeros(x.shape[1], task.number_of_classes, dtype=x.dtype)
    for step in range(learning_steps + steps):
        rows, targets = (x, labels) if step < learning_steps else (retain, kept)
        weights = contracted(weights, rows, targets, regularisation, rate)
        add_noise([weights], noise, task.generator)
        clip([weights], radius)
    alone = all(weight is model.head.weight or weight is model.head.bias for weight in trained_weights(model).values())
    scope = "all trained weights" if alone else "the head; the features saw the forget set"
    task.facts.update({"epsilon": epsilon, "delta": delta, "noise": noise, "scope": scope})
    with torch.no_grad():
        model.head.weight.copy_((weights[:-1] / length).T)
        model.head.bias.copy_(weights[-1] / length)
    task.epoch_done(1, model)
    return model
