"""SFRon. Paper: α 25, λ 0.5, 1500 steps. The "slow" average of the paper has weight 1 in the released default, so it is
off there; it is left out here. There the forget steps are in train mode and ratios 0 / 0 count as salient; here the
statistics of batch norm stay in them, and such weights are left alone."""

import math

import torch
from torch import Tensor, nn

from forget_lib.unlearning import Count, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, finite, random_part, sgd, step, train_mode, trained_weights
from forget_lib.unlearning.parts.importance import Importance, importance_by_batch, sample_cross_entropy

POWER, GAMMA = 0.5, 1.0  # λ and γ
EVERY, CLIP = 5, 7.0  # retain steps to a forget step, and the largest norm of its gradient
MASK_SHARE = 0.3  # part of the retain set that F_r is taken on


def saliency_mask(forget: Importance, retain: Importance) -> Importance:
    """True where F_f / F_r >= γ, by name of parameter."""
    return {name: forget[name] / (retain[name] + 1e-15) >= GAMMA for name in forget}


def adaptive_weights(losses: Tensor) -> Tensor:
    """w_i ∝ loss_i^-power, mean 1, without gradient: samples that are still fitted well weigh more; [B]."""
    weights = losses.detach().clamp(min=1e-8) ** -POWER
    return weights / weights.mean()


def masked_ascent(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, mask: Importance) -> None:
    """One optimiser step up the loss, on the masked gradient, clipped to a norm. Raises: DivergedError."""
    optimizer.zero_grad(set_to_none=True)
    (-finite(loss)).backward()
    for name, parameter in trained_weights(model).items():
        if parameter.grad is not None:
            parameter.grad.mul_(mask[name])
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()


@method("sfron", title="SFRon", uses="forget, retain", family="gradient ascent")
@source("Huang et al., NeurIPS 2024", arxiv="2409.19732", status="V")
def sfron(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 0.01,
    epochs: Count = 1,
    forget_weight: Positive = 25.0,
) -> nn.Module:
    r"""Every few retain steps, climb the forget loss with the weights that matter more for it than for the rest.

    Mask :math:`M = 1[F_f / F_r \ge \gamma]`, F the mean squared gradient of a batch. Every fifth step maximises
    :math:`\alpha_t \overline{w_i \mathcal{L}_i}` on a forget batch, :math:`w_i \propto \mathcal{L}_i^{-\lambda}`,
    :math:`\alpha_t = \alpha (1 + \cos(\pi t / T)) / 2`, its gradient masked and clipped; each step descends
    :math:`\mathcal{L}_{CE}` on a retain batch; one SGD optimiser, rate falling as a cosine.
    Settings: forget_weight is α.
    """
    parts = (task.forget, random_part(task, task.retain, MASK_SHARE))
    forgotten, kept = (importance_by_batch(model, s, sample_cross_entropy, 2, s.batch_size) for s in parts)
    mask = saliency_mask(forgotten, kept)
    optimizer, forget = sgd(model, learning_rate), task.forget.forever()
    total, done = epochs * -(-len(task.retain) // task.retain.batch_size), 0
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            fading = 0.5 * (1 + math.cos(math.pi * done / total))
            optimizer.param_groups[0]["lr"] = learning_rate * fading
            if done % EVERY == 0:
                train_mode(model, batch_norm=False)
                forget_images, forget_labels = next(forget)
                losses = sample_cross_entropy(model(forget_images), forget_labels)
                loss = forget_weight * fading * (adaptive_weights(losses) * losses).mean()
                masked_ascent(model, optimizer, loss, mask)
                train_mode(model)
            step(optimizer, nn.functional.cross_entropy(model(images), labels))
            done += 1
    return model
