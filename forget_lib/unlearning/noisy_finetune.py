"""Noisy fine-tuning. Of the paper's two forms, the one that clips gradients. Rate and decay are those of the authors'
MNIST net; the radii fit the nets here. Their code bounds a Rényi divergence; the same sum bounds how far apart two
Gaussians are, which gives (ε, δ) with less noise."""

from dataclasses import replace
from itertools import islice

import torch
from torch import nn

from forget_lib.models.train import train, train_mode
from forget_lib.statistics.privacy import gaussian_distance, noise_of_steps
from forget_lib.unlearning import Count, Positive, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, finite, trained_weights
from forget_lib.unlearning.parts.private import add_noise, clip


@method(
    "noisy_finetune",
    title="Noisy fine-tuning",
    uses="retain",
    family="certified",
    needs=("no running statistics",),
)
@source("Koloskova et al., ICML 2025", arxiv="2506.06985", status="V")
def noisy_finetune(
    model: nn.Module,
    task: UnlearningTask,
    *,
    epsilon: Positive = 1.0,
    delta: Share = 1e-5,
    start_clip: Positive = 0.005,
    gradient_clip: Positive = 5.0,
    learning_rate: Rate = 1e-4,
    keep: Share = 0.925,
    steps: Count = 10,
    epochs: Count = 2,
) -> nn.Module:
    r"""Clip the weights, take noisy steps on the retain set that hide where they started, then train without noise.

    :math:`\theta_0 = \Pi_{C_0}(\theta)`, :math:`\theta_{t+1} = \rho\, \theta_t - \eta\, \Pi_{C_1}(\nabla
    \mathcal{L}_{CE}(D_r)) + \mathcal{N}(0, \sigma^2 I)`, :math:`\Pi` clips the whole vector; then epochs of the recipe.
    Guarantee: (ε, δ)-close to the same steps on the retain set from any other start of length at most C₀, whatever the
    net, the loss, the size of the forget set and the training of the original. It holds for all trained weights at
    once; frozen ones must not have learned from the forget set. It says nothing of how near a retrained model is.
    C₀, C₁, ρ and the steps must not be chosen by looking at the forget set.

    Settings: start_clip C₀, gradient_clip C₁, learning_rate η, keep ρ (1 minus rate times decay), steps with noise; σ
    follows from them and (ε, δ). epochs: without noise, by the recipe's own schedule, shortened.
    Facts: epsilon, delta, noise σ, scope.
    """
    task.epoch_done(0, model)
    weights = list(trained_weights(model).values())
    values = [weight.detach() for weight in weights]
    hidden = gaussian_distance(epsilon, delta)
    noise = noise_of_steps(hidden, steps, keep, 2 * start_clip, 2 * learning_rate * gradient_clip)
    clip(values, start_clip)
    train_mode(model)
    for images, labels in islice(task.retain.forever(), steps):
        loss = finite(cross_entropy(model(images), labels))
        gradients = list(torch.autograd.grad(loss, weights, materialize_grads=True))
        clip(gradients, gradient_clip)
        torch._foreach_mul_(values, keep)
        torch._foreach_add_(values, gradients, alpha=-learning_rate)
        add_noise(values, noise, task.generator)
    task.facts.update({"epsilon": epsilon, "delta": delta, "noise": noise, "scope": "all trained weights"})
    train(model, task.retain, replace(task.recipe, epochs=epochs), task.seed)
    task.epoch_done(1, model)
    return model
