"""Many small nets trained at once as batched matrices: weights [K, D, H] and [K, H, C], one optimiser for all.

A net of this family is the `mlp` of `forget_lib.models.nets`: flatten, one hidden layer with ReLU, linear head. 64 of
them take a tenth of the time of 64 trainings one after the other.
"""

from __future__ import annotations

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

STACKED_VERSION = 1
"""Raised when nets trained together get other numbers; records of before are then made again."""

CHUNK = 512
HIDDEN = 128
"""Width of the hidden layer of `models.mlp`."""


def mlp_classifier(input_shape: tuple[int, int, int], number_of_classes: int, hidden: int, seed: int) -> Classifier:
    """The project's `mlp` with another width; the global random state is left as it was."""
    inputs = math.prod(input_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU())
        return Classifier(body, hidden, number_of_classes)


@dataclass
class BatchedMlp:
    """K nets: w1 [K, D, H], b1 [K, 1, H], w2 [K, H, C], b2 [K, 1, C], float32."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor

    @classmethod
    def of(cls, classifiers: Sequence[Classifier]) -> BatchedMlp:
        """Stacks classifiers (`body` = Flatten, Linear, ReLU) of one shape.

        Raises: ForgetError for a model of another kind.
        """
        states = [model.state_dict() for model in classifiers]
        if not states or any(
            sorted(state) != ["body.1.bias", "body.1.weight", "head.bias", "head.weight"] for state in states
        ):
            raise ForgetError(
                "Only nets with one hidden layer (the mlp) can be trained as one batch; use one process a net."
            )
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        return cls(
            stacked["body.1.weight"].transpose(1, 2).contiguous(),
            stacked["body.1.bias"][:, None].clone(),
            stacked["head.weight"].transpose(1, 2).contiguous(),
            stacked["head.bias"][:, None].clone(),
        )

    def __len__(self) -> int:
        return len(self.w1)

    @property
    def parameters(self) -> list[Tensor]:
        """The four weight tensors."""
        return [self.w1, self.b1, self.w2, self.b2]

    def forward(self, flat: Tensor) -> Tensor:
        """Logits [K, B, C] of inputs [K, B, D] (each net its own) or [B, D] (all nets the same)."""
        flat = flat.expand(len(self), *flat.shape[-2:])
        hidden = torch.relu(torch.baddbmm(self.b1, flat, self.w1))
        return torch.baddbmm(self.b2, hidden, self.w2)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits float32 [K, N, C] of images [N, C, H, W]; see `flattened`."""
        parts = [self.forward(flattened(part)) for part in images.split(CHUNK)]
        return torch.cat(parts, dim=1) if parts else torch.empty(len(self), 0, self.w2.shape[2])

    def classifier(self, index: int, input_shape: tuple[int, int, int]) -> Classifier:
        """Net `index` as the project's `mlp` Classifier, on which every method works. Its weights are copies."""
        model = mlp_classifier(input_shape, self.w2.shape[2], self.w1.shape[2], 0)
        model.body[1].weight.data = self.w1[index].detach().T.clone()
        model.body[1].bias.data = self.b1[index, 0].detach().clone()
        model.head.weight.data = self.w2[index].detach().T.clone()
        model.head.bias.data = self.b2[index, 0].detach().clone()
        return model

    def copy(self) -> BatchedMlp:
        """The same nets with weights of their own."""
        return BatchedMlp(*(tensor.detach().clone() for tensor in self.parameters))


def flattened(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] to normalised float32 [N, C * H * W], as the nets see them; float32 images are kept."""
    ready = normalise(images) if images.dtype == torch.uint8 else images
    return ready.contiguous().flatten(1)


def is_plain(recipe: Recipe) -> bool:
    """Whether nets can be trained as one batch by this recipe, with the same result as one by one."""
    built_in = recipe.known and not recipe.function
    return built_in and recipe.augmentation == "none" and recipe.optimizer != "muon" and recipe.precision == "float32"


def train_batched(
    nets: BatchedMlp, images: Tensor, labels: Tensor, sets: Tensor, recipe: Recipe, seeds: Sequence[int]
) -> BatchedMlp:
    """Trains net k on images[sets[k]] by a plain recipe (see `is_plain`), in place; returns the nets.

    images: [N, C, H, W], see `flattened`. labels: int64 [N]. sets: int64 [K, n], training sets of one size.
    seeds: one a net, for its order of batches, so that a net's data do not depend on which others train beside it.
    Raises: ForgetError for sets of another number or another recipe; DivergedError for a loss that is not finite.
    """
    if len(sets) != len(nets) or len(seeds) != len(nets) or sets.shape[1] == 0:
        raise ForgetError(f"{len(nets)} nets need as many non-empty training sets and seeds, got {tuple(sets.shape)}.")
    if not is_plain(recipe):
        raise ForgetError(
            "Nets trained as one batch take no augmentation, and sgd or adam in float32 only; set augmentation to none."
        )
    flat = flattened(images)
    parameters = [tensor.requires_grad_(True) for tensor in nets.parameters]
    optimizer = make_optimizer(parameters, recipe)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    size, batch = sets.shape[1], recipe.batch_size
    total, step = recipe.epochs * math.ceil(size / batch), 0
    for epoch in range(recipe.epochs):
        order = torch.stack([part[torch.randperm(size, generator=g)] for part, g in zip(sets, generators, strict=True)])
        for chosen in order.split(batch, dim=1):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(recipe, step / total)
            logits = nets.forward(flat[chosen])
            each = functional.cross_entropy(
                logits.flatten(0, 1), labels[chosen].flatten(), reduction="sum", label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad(set_to_none=True)
            # The sum over nets of each one's mean loss: the gradient of a net is as if it trained alone.
            (each / chosen.shape[1]).backward()
            optimizer.step()
            step += 1
        if not bool(each.isfinite()):
            raise DivergedError(f"The loss is {float(each.detach())} in epoch {epoch + 1}; lower learning_rate.")
    for tensor in parameters:
        tensor.requires_grad_(False)
    return nets
