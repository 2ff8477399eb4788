"""PRMQ. 3.2 epochs at 5e-4; biases are pruned to zero too, and buffers rounded. Here whole epochs, weights alone, rates
for small models."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning import Count, Rate, Share, UnlearningTask, method
from forget_lib.unlearning.common import frozen_copy, kernels, sgd, top_share, trained_weights
from forget_lib.unlearning.parts.winners import WINNER, class_weights, repair, weighted_cross_entropy


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each sample's probabilities, nats, [B]."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)


@torch.no_grad()
def prune_and_renew(model: nn.Module, share: float, generator: torch.Generator) -> int:
    """Draws the smallest `share` of all convolution and linear weights anew from ±1/√fan_in; how many these are."""
    weights = kernels(model)
    chosen = top_share({name: weight.abs() for name, weight in weights.items()}, share, largest=False)
    for name, weight in weights.items():
        bound = weight[0].numel() ** -0.5
        fresh = bound * (2 * torch.rand(weight.shape, generator=generator) - 1).to(weight)
        weight.copy_(torch.where(chosen[name], fresh, weight))
    return sum(int(part.sum()) for part in chosen.values())


@method("prmq", title="PRMQ", uses="retain", family="challenge winners")
@WINNER
def prmq(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 5e-3, epochs: Count = 1, share: Share = 0.99
) -> nn.Module:
    r"""Keep the largest hundredth of the weights, draw the rest anew, repair towards the original's certainty.

    Global pruning by :math:`|\theta|` over convolutions and linear layers, pruned weights drawn from :math:`U(\pm 1 /
    \sqrt{fan\ in})`; then :math:`\min \overline{w_y \mathcal{L}_{CE}(x_r, y)} + \overline{(H(p_\theta(x_r)) -
    H(p_{\theta_0}(x_r)))^2}`, :math:`w_y \propto n_y^{-0.1}`; last the weights are rounded to 16 bits.
    Settings: share of the weights is drawn anew.
    """
    teacher = frozen_copy(model)
    weights = class_weights(task.retain.labels, task.number_of_classes, -0.1)
    prune_and_renew(model, share, task.generator)

    def loss(images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        apart = (entropy(logits) - entropy(teacher(images))).square().mean()
        return weighted_cross_entropy(logits, labels, weights) + apart

    repair(model, task, epochs, sgd(model, learning_rate), loss=loss)
    with torch.no_grad():
        for weight in trained_weights(model).values():
            weight.copy_(weight.half().to(weight.dtype))
    return model
