"""PRMQ. 3.2 epochs at 5e-4; here whole epochs, rates for small models."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning import UnlearningTask, method
from forget_lib.unlearning.common import Count, NotNegative, Positive, Share, frozen_copy, kernels, sgd, trained_weights
from forget_lib.unlearning.parts.winners import WINNER, class_weights, repair, weighted_cross_entropy


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each sample's probabilities, nats, [B]."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)


@torch.no_grad()
def prune_and_renew(model: nn.Module, share: float, generator: torch.Generator) -> int:
    """Replaces the `share` of convolution and linear weights that are smallest, ranked together, by draws from
    ±1/√fan_in; the number replaced.
    """
    weights = kernels(model)
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    chosen = torch.zeros_like(sizes, dtype=torch.bool)
    chosen[sizes.topk(round(share * len(sizes)), largest=False).indices] = True
    for weight, part in zip(weights.values(), chosen.split([w.numel() for w in weights.values()]), strict=True):
        bound = weight[0].numel() ** -0.5
        fresh = bound * (2 * torch.rand(weight.shape, generator=generator) - 1).to(weight)
        weight.copy_(torch.where(part.view_as(weight), fresh, weight))
    return int(chosen.sum())


@method("prmq", title="PRMQ", uses="retain", family="challenge winners")
@WINNER
def prmq(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Positive = 5e-3,
    epochs: Count = 1,
    share: Share = 0.99,
    entropy_weight: NotNegative = 1.0,
) -> nn.Module:
    r"""Keep the largest hundredth of the weights, draw the rest anew, repair towards the original's certainty.

    Global pruning by :math:`|\theta|` over convolutions and linear layers, pruned weights drawn from
    :math:`U(\pm 1 / \sqrt{fan\ in})`; then :math:`\min \overline{w_y \mathcal{L}_{CE}(x_r, y)} +
    \overline{(H(p_\theta(x_r)) - H(p_{\theta_0}(x_r)))^2}`, :math:`w_y \propto n_y^{-0.1}`; last the weights are
    rounded to 16 bits.

    Settings: share of the weights is drawn anew.
    """
    teacher = frozen_copy(model)
    weights = class_weights(task.retain.labels, task.number_of_classes, -0.1)
    prune_and_renew(model, share, task.generator)

    def loss(images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        apart = (entropy(logits) - entropy(teacher(images))).square().mean()
        return weighted_cross_entropy(logits, labels, weights) + entropy_weight * apart

    repair(model, task, epochs, sgd(model, learning_rate), loss, lambda progress: 1.0)
    with torch.no_grad():
        for weight in trained_weights(model).values():
            weight.copy_(weight.half().to(weight.dtype))
    return model
