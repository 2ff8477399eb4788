"""Many nets with one hidden layer (the `mlp`) trained at once as batched matrices, in a tenth of the time.

`torch.func` would take any net without batch norm, but adds the bias after the product: other bits, half as slow again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import DivergedError, ForgetError
from forget_lib.datasets.samples import normalise
from forget_lib.models.nets import Classifier
from forget_lib.models.optimizers import make_optimizer
from forget_lib.models.recipe import Recipe, rate_at

STACKED_VERSION = 2
"""Raised when nets trained together get other numbers; records of before are then made again."""
HIDDEN = 128
"""Width of the hidden layer of `models.mlp`."""
NAMES = ["body.1.weight", "body.1.bias", "head.weight", "head.bias"]


def mlp_classifier(input_shape: tuple[int, ...], number_of_classes: int, hidden: int, seed: int) -> Classifier:
    """The project's `mlp` with another width; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), hidden), nn.ReLU())
        return Classifier(body, hidden, number_of_classes)


def stackable(model: str, recipe: Recipe) -> bool:
    """Whether nets of this name can be trained together, with the same result as one by one."""
    built_in = model == "mlp" and recipe.known and not recipe.function and recipe.optimizer != "muon"
    return built_in and recipe.augmentation == "none" and recipe.precision == "float32"


@dataclass
class BatchedMlp:
    """K nets: weights w1 [K, D, H] and w2 [K, H, C], biases b1 [K, 1, H] and b2 [K, 1, C], float32."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor

    @classmethod
    def of(cls, nets: Sequence[Classifier]) -> "BatchedMlp":
        """The nets, copied into stacked matrices. Raises: ForgetError for a net of another kind."""
        if not nets or any(list(net.state_dict()) != NAMES for net in nets):
            raise ForgetError("Only nets with one hidden layer (the mlp) can be trained as one batch.")
        w1, b1, w2, b2 = (torch.stack([net.state_dict()[name] for net in nets]) for name in NAMES)
        return cls(w1.transpose(1, 2).contiguous(), b1[:, None], w2.transpose(1, 2).contiguous(), b2[:, None])

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [K, B, C] of inputs [K, B, D]."""
        hidden = torch.relu(torch.baddbmm(self.b1, inputs, self.w1))
        return torch.baddbmm(self.b2, hidden, self.w2)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits float32 [K, N, C] of the same images for all, uint8 or normalised float32 [N, C, H, W]."""
        parts = [flat.expand(len(self.w1), *flat.shape) for flat in _flat(images).split(512)]
        return torch.cat([self.forward(part) for part in parts], dim=1)

    def classifiers(self, input_shape: tuple[int, ...]) -> list[Classifier]:
        """The nets one by one, with weights of their own, in eval mode."""
        nets = [mlp_classifier(input_shape, self.w2.shape[2], self.w1.shape[2], 0) for _ in self.w1]
        for k, net in enumerate(nets):
            for name, value in zip(NAMES, (self.w1[k].T, self.b1[k, 0], self.w2[k].T, self.b2[k, 0]), strict=True):
                net.get_parameter(name).data = value.detach().clone()
        return [net.eval() for net in nets]


def _flat(images: Tensor) -> Tensor:
    ready = normalise(images) if images.dtype == torch.uint8 else images
    return ready.contiguous().flatten(1)


def train_batched(
    nets: BatchedMlp, images: Tensor, labels: Tensor, sets: Tensor, recipe: Recipe, seeds: Sequence[int]
) -> BatchedMlp:
    """Trains net k on images[sets[k]], in place; returns the nets. sets: int64 [K, n], training sets of one size.

    seeds: one a net, for its order of batches, so that it does not depend on which others train beside it.
    Raises: ForgetError for sets or a recipe that do not fit (see `stackable`); DivergedError.
    """
    if not len(sets) == len(nets.w1) == len(seeds) or sets.shape[1] == 0:
        raise ForgetError(f"{len(nets.w1)} nets need as many non-empty training sets and seeds, got {len(sets)}.")
    if not stackable("mlp", recipe):
        raise ForgetError("Nets trained as one batch take sgd or adam in float32; set augmentation to none.")
    inputs = _flat(images)
    parameters = [tensor.requires_grad_(True) for tensor in (nets.w1, nets.b1, nets.w2, nets.b2)]
    optimizer, generators = make_optimizer(parameters, recipe), [torch.Generator().manual_seed(seed) for seed in seeds]
    size, step = sets.shape[1], 0
    total = recipe.epochs * math.ceil(size / recipe.batch_size)
    for epoch in range(recipe.epochs):
        order = torch.stack([part[torch.randperm(size, generator=g)] for part, g in zip(sets, generators, strict=True)])
        parts = list(order.split(recipe.batch_size, dim=1))
        if len(parts) > 1 and parts[-1].shape[1] == 1:  # as `Samples.batches` does: a step on one image is mostly noise
            parts[-2:] = [torch.cat(parts[-2:], dim=1)]
        for chosen in parts:
            optimizer.param_groups[0]["lr"] = rate_at(recipe, step / total)
            logits, wanted = nets.forward(inputs[chosen]).flatten(0, 1), labels[chosen].flatten()
            loss = functional.cross_entropy(logits, wanted, reduction="sum", label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            # The sum over nets of each one's mean loss: the gradient of a net is as if it trained alone.
            (loss / chosen.shape[1]).backward()
            optimizer.step()
            step += 1
        if not bool(loss.isfinite()):
            raise DivergedError(f"The loss is {float(loss.detach())} in epoch {epoch + 1}; lower learning_rate.")
    for tensor in parameters:
        tensor.requires_grad_(False)
    return nets
