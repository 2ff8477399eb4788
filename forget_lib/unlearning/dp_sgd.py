"""DP-SGD (group privacy). For a group, the code of Koloskova et al. 2025 divides δ by exp((k - 1) ε), which is less
than group privacy asks."""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import nn

from forget_lib.datasets.samples import concatenate, normalise
from forget_lib.statistics.privacy import for_one_of, sampled_noise
from forget_lib.unlearning import Count, Positive, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import trained_weights
from forget_lib.unlearning.parts.private import ClippedSum, add_noise


@method(
    "dp_sgd",
    title="DP-SGD (group privacy)",
    uses="nothing (forget, retain for the set-up)",
    family="certified",
    needs=("no running statistics",),
)
@source("Abadi et al., CCS 2016", arxiv="1607.00133", status="P")
def dp_sgd(
    model: nn.Module,
    task: UnlearningTask,
    *,
    epsilon: Annotated[float, Gt(0), Le(500)] = 1.0,
    delta: Share = 1e-5,
    clip_norm: Positive = 1.0,
    learning_rate: Rate = 0.5,
    steps: Count = 100,
    batch_share: Share = 0.1,
) -> nn.Module:
    r"""Train on everything with clipped gradients and noise, so that no group of this size matters much; to forget, do
    nothing.

    :math:`\theta \leftarrow \theta - \frac{\eta}{q n} (\sum_{i \in B} \Pi_C(\nabla \ell_i) + \mathcal{N}(0, \sigma^2
    C^2 I))`, each sample in the batch B with probability q. Guarantee: (ε, δ)-close to the same training without the
    k samples of the forget set, for any net and loss, by group privacy: each sample has :math:`\epsilon / k`. It is
    the only one whose other side is a training from scratch on the retain set, though with that noise. The number n of
    training samples counts as public. The model is not the original that was given: it is trained here, outside the
    cost that is counted.

    Settings: clip_norm C. batch_share q. σ follows from them, k and (ε, δ).
    Facts: epsilon, delta, noise σ, epsilon_of_one, delta_of_one, scope.
    """
    everything = concatenate(task.forget, task.retain)
    of_one = for_one_of(epsilon, delta, len(task.forget))
    noise = sampled_noise(*of_one, batch_share, steps)
    fresh = task.fresh_model(task.seed).to(task.device).eval()
    values = [weight.detach() for weight in trained_weights(fresh).values()]
    with task.meter.paused():
        sums = ClippedSum(fresh, clip_norm, task.meter)
        for _ in range(steps):
            drawn = torch.rand(len(everything), generator=task.generator).lt(batch_share).to(task.device)
            total = sums.of(normalise(everything.images[drawn]), everything.labels[drawn])
            add_noise(total, noise * clip_norm, task.generator)
            torch._foreach_add_(values, total, alpha=-learning_rate / (batch_share * len(everything)))
    task.facts.update({"epsilon": epsilon, "delta": delta, "noise": noise, "scope": "all trained weights"})
    task.facts.update({"epsilon_of_one": of_one[0], "delta_of_one": of_one[1]})
    return fresh
