"""What methods with a guarantee share: clipping and noise."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning.common import frozen_copy, trained_weights


def clip(tensors: list[Tensor], longest: float) -> None:
    """Shortens tensors in place, all taken as one vector, to length `longest` where they are longer."""
    length = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))))
    if length > longest:
        torch._foreach_mul_(tensors, longest / length)


def add_noise(tensors: list[Tensor], deviation: float, generator: torch.Generator) -> None:
    """Adds Gaussian noise of that standard deviation to each number, in place."""
    for tensor in tensors:
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        tensor.add_(noise.to(tensor.device), alpha=deviation)


class ClippedSum:
    """The sum over samples of their gradients, each clipped to a length; in eval mode, by trained weight."""

    def __init__(self, model: nn.Module, longest: float, meter: Meter, chunk: int = 64) -> None:
        self.weights, self.longest, self.meter, self.chunk = trained_weights(model), longest, meter, chunk
        frozen = detach_meters(frozen_copy(model))
        fixed = dict(frozen.named_parameters()) | dict(frozen.named_buffers())

        def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            logits = torch.func.functional_call(frozen, fixed | weights, (image[None],))
            return cross_entropy(logits, label[None])

        self.gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

    def of(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        """The sum, a tensor for each trained weight; zeros for no samples."""
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        total = [torch.zeros_like(weight) for weight in weights.values()]
        for start in range(0, len(labels), self.chunk):
            part = slice(start, start + self.chunk)
            gradients = [g.flatten(1) for g in self.gradients(weights, images[part], labels[part]).values()]
            lengths = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
            scale = (self.longest / lengths).clamp(max=1.0)
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_.add_((scale @ gradient).view_as(sum_))
            self.meter.add(3 * len(scale))
        return total
