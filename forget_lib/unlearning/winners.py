"""Winners of the NeurIPS 2023 unlearning challenge, as deepunlearn describes and re-implements them.

Places 6 (KDE) and 7 (RNI) are left out: the first trains on the validation set, which other methods here keep for
choosing settings, and the second draws nine tensors of a ResNet-18 by number, which has no counterpart in small nets.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.unlearning.common import (
    check_range,
    epochs_of,
    frozen_copy,
    gradients_of,
    kernels,
    sgd,
    step,
    train_mode,
    trained_weights,
)
from forget_lib.unlearning.importance import Importance
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask
from forget_lib.unlearning.uniform import uniform_divergence

WINNERS = {"paper": "NeurIPS 2023 challenge; Cadet et al. (deepunlearn)", "family": "challenge winners"}


def repair(
    model: nn.Module,
    task: UnlearningTask,
    epochs: int,
    optimizer: torch.optim.Optimizer,
    loss: Callable,
    rate: Callable,
) -> nn.Module:
    """Epochs over the retain set.

    Args: loss: (images, logits, labels) to a scalar. rate: factor of the learning rate at progress in [0, 1).
    """
    base = [group["lr"] for group in optimizer.param_groups]
    steps, done = epochs * -(-len(task.retain) // task.retain.batch_size), 0
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            for group, value in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = value * rate(min(done / steps, 1.0))
            step(optimizer, loss(images, model(images), labels))
            done += 1
    return model


def cosine(progress: float) -> float:
    """1 falling to 0."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def cross_entropy(_images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, for `repair`."""
    return functional.cross_entropy(logits, labels)


def contrast(forget_logits: Tensor, retain_logits: Tensor, temperature: float = 1.15) -> Tensor:
    """Mean of -log softmax over retain samples of f(x_f) · f(x_r) / T: lowest where all products are equal."""
    return -functional.log_softmax(forget_logits @ retain_logits.detach().T / temperature, 1).mean()


@method("fcs", title="FCS", uses="forget, retain", **WINNERS)
def fcs(
    model: nn.Module,
    task: UnlearningTask,
    *,
    uniform_rate: float = 3e-3,
    forget_rate: float = 3e-4,
    retain_rate: float = 0.01,
    epochs: int = 1,
    weight_decay: float = 1e-2,
) -> nn.Module:
    r"""Uniform outputs first, then rounds that make forget samples resemble no retain sample and repair in turn.

    Stage 1: one pass over the forget set, :math:`KL(u \| p_\theta(x_f))`. Stage 2, in each epoch: over pairs of
    batches, :math:`-\overline{\log softmax_r(f(x_f) \cdot sg f(x_r) / 1.15)}`, then one pass :math:`\mathcal{L}_{CE}
    (D_r)` with weight decay 0.01. Three SGD optimisers; the forget rate falls as a cosine to 1e-6. Status V
    (8 epochs, retain rate 1e-3 · batch / 64); rates and epochs here for small models.
    Args: uniform_rate, forget_rate, retain_rate of SGD (> 0). epochs of stage 2 (>= 1). weight_decay (>= 0).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("weight_decay", weight_decay, 0)
    check_range("epochs", epochs, 1)
    uniform, forget = (sgd(model, rate, weight_decay=0) for rate in (uniform_rate, forget_rate))
    retain = sgd(model, retain_rate, weight_decay=weight_decay)
    train_mode(model, batch_norm=False)
    for images, _ in task.forget.batches():
        step(uniform, uniform_divergence(model(images)))
    total = epochs * min(-(-len(s) // s.batch_size) for s in (task.forget, task.retain))
    done = 0
    for _ in epochs_of(task, model, epochs):
        train_mode(model, batch_norm=False)
        for (images, _), (retain_images, _) in zip(task.forget.batches(), task.retain.batches(), strict=False):
            forget.param_groups[0]["lr"] = 1e-6 + (forget_rate - 1e-6) * cosine(min(done / total, 1.0))
            with torch.no_grad():
                others = model(retain_images)
            step(forget, contrast(model(images), others))
            done += 1
        train_mode(model)
        for images, labels in task.retain.batches():
            step(retain, functional.cross_entropy(model(images), labels))
    return model


def difference_gradient(model: nn.Module, task: UnlearningTask) -> Importance:
    """∇[CE(as many retain samples as forget samples) - CE(forget set)] in eval mode, by name of weight."""
    order = torch.randperm(len(task.retain), generator=task.generator)[: len(task.forget)]
    part = task.retain.subset(order.to(task.retain.labels.device))
    model.eval()
    model.zero_grad()
    for samples, sign in ((part, 1), (task.forget, -1)):
        for images, labels in samples.batches(shuffle=False, augment=False):
            loss = functional.cross_entropy(model(images), labels, reduction="sum")
            (sign * loss / len(samples)).backward()
    gradients = gradients_of(model)
    model.zero_grad()
    return {name: gradients[name] for name in kernels(model, (nn.Conv2d,))}


@method("msg", title="MSG", uses="forget, retain", needs=("trained convolution",), **WINNERS)
def msg(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.05,
    epochs: int = 1,
    share: float = 0.3,
    kept_factor: float = 0.1,
) -> nn.Module:
    r"""Draw anew the convolution weights that neither set cares about most, and repair, mostly through them.

    :math:`g = \nabla[\mathcal{L}_{CE}(D'_r) - \mathcal{L}_{CE}(D_f)]`, :math:`|D'_r| = |D_f|`; in each convolution the
    30 % of weights with the smallest :math:`|g|` are drawn anew (Kaiming, fan out). Then :math:`\min
    \mathcal{L}_{CE}(D_r)` with gradients of kept weights times 0.1; the rate rises over the first half and falls over
    the second. Status V (5 epochs at 1e-3); rates and epochs here for small models.
    Args: learning_rate of SGD (> 0). epochs (>= 1). share drawn anew, in (0, 1]. kept_factor (>= 0).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    check_range("share", share, 0, 1, open_low=True)
    check_range("kept_factor", kept_factor, 0)
    scores, handles = difference_gradient(model, task), []
    for name, weight in kernels(model, (nn.Conv2d,)).items():
        flat = scores[name].abs().flatten()
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen[flat.topk(round(share * len(flat)), largest=False).indices] = True
        chosen = chosen.view_as(weight)
        fresh = nn.init.kaiming_normal_(torch.empty_like(weight), mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            weight.copy_(torch.where(chosen, fresh, weight))
        factors = torch.where(chosen, 1.0, kept_factor).to(weight)
        handles.append(weight.register_hook(lambda gradient, f=factors: gradient * f))
    try:
        return repair(model, task, epochs, sgd(model, learning_rate), cross_entropy, up_then_down)
    finally:
        for handle in handles:
            handle.remove()


def up_then_down(progress: float) -> float:
    """Linear from near 0 to 1 at half way, and back."""
    return max(0.02, 1 - abs(2 * progress - 1))


def class_weights(labels: Tensor, number_of_classes: int, power: float) -> Tensor:
    """count^power by class, scaled so that the mean over samples is 1; 0 for classes without a sample."""
    counts = torch.bincount(labels, minlength=number_of_classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** power, 0.0)
    return weights / (weights * counts).sum() * len(labels)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over samples of w_y · CE."""
    return (weights.to(logits)[labels] * functional.cross_entropy(logits, labels, reduction="none")).mean()


@torch.no_grad()
def add_noise(weights: dict[str, nn.Parameter], deviation: float, generator: torch.Generator) -> None:
    """θ ← θ + N(0, deviation²), in place."""
    for weight in weights.values():
        weight.add_(deviation * torch.randn(weight.shape, generator=generator).to(weight))


@method("cfw", title="CFW", uses="retain", needs=("trained convolution",), **WINNERS)
def cfw(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.05,
    epochs: int = 2,
    deviation: float = 0.6,
    last_deviation: float = 0.005,
) -> nn.Module:
    r"""Noise on all convolutions, then repair with balanced classes, a little noise again before the last epoch.

    :math:`\theta_{conv} \leftarrow \theta_{conv} + \mathcal{N}(0, 0.6^2)`; :math:`\min \overline{w_y
    \mathcal{L}_{CE}(x_r, y)}`, :math:`w_y \propto 1 / n_y`, cosine schedule; :math:`\mathcal{N}(0, 0.005^2)` before the
    last epoch. Status V (4 epochs at 7e-4). The public code visits only direct children with "conv" in their name, so
    in a ResNet only the first convolution is moved; its weighted loss multiplies a mean by a mean.
    Args: learning_rate of SGD (> 0). epochs (>= 1). deviation, last_deviation (>= 0).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    for name, value in (("deviation", deviation), ("last_deviation", last_deviation)):
        check_range(name, value, 0)
    convolutions = kernels(model, (nn.Conv2d,))
    weights = class_weights(task.retain.labels, task.number_of_classes, -1.0)
    add_noise(convolutions, deviation, task.generator)
    optimizer = sgd(model, learning_rate)
    steps, done = epochs * -(-len(task.retain) // task.retain.batch_size), 0
    for epoch in epochs_of(task, model, epochs):
        if epoch == epochs - 1:
            add_noise(convolutions, last_deviation, task.generator)
        for images, labels in task.retain.batches():
            optimizer.param_groups[0]["lr"] = learning_rate * cosine(min(done / steps, 1.0))
            step(optimizer, weighted_cross_entropy(model(images), labels, weights))
            done += 1
    return model


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


@method("prmq", title="PRMQ", uses="retain", **WINNERS)
def prmq(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 5e-3,
    epochs: int = 1,
    share: float = 0.99,
    entropy_weight: float = 1.0,
) -> nn.Module:
    r"""Keep the largest hundredth of the weights, draw the rest anew, repair towards the original's certainty.

    Global pruning by :math:`|\theta|` over convolutions and linear layers, pruned weights drawn from
    :math:`U(\pm 1 / \sqrt{fan\ in})`; then :math:`\min \overline{w_y \mathcal{L}_{CE}(x_r, y)} +
    \overline{(H(p_\theta(x_r)) - H(p_{\theta_0}(x_r)))^2}`, :math:`w_y \propto n_y^{-0.1}`; last the weights are
    rounded to 16 bits. Status V (3.2 epochs at 5e-4; here whole epochs, rates for small models).
    Args: learning_rate of SGD (> 0). epochs (>= 1). share drawn anew, in (0, 1]. entropy_weight (>= 0).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("share", share, 0, 1, open_low=True)
    check_range("entropy_weight", entropy_weight, 0)
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


@method("convolution_transpose", title="CT", uses="retain", needs=("trained convolution",), **WINNERS)
def convolution_transpose(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.02, epochs: int = 2
) -> nn.Module:
    r"""Transpose every convolution kernel in space, then repair on the retain set.

    :math:`W_{o,i,a,b} \leftarrow W_{o,i,b,a}`, then :math:`\min \mathcal{L}_{CE}(D_r)` with a cosine schedule. Status V
    (3 epochs at 1e-3); rates and epochs here for small models. Kernels that are not square are left as they are.
    Args: learning_rate of SGD (> 0). epochs (>= 1).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    with torch.no_grad():
        for weight in kernels(model, (nn.Conv2d,)).values():
            if weight.shape[2] == weight.shape[3]:
                weight.copy_(weight.transpose(2, 3).clone())
    return repair(model, task, epochs, sgd(model, learning_rate), cross_entropy, cosine)
