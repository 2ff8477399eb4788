"""Labelled images in memory, given out in normalised batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.names import AUGMENTATIONS


def normalise(images: Tensor) -> Tensor:
    """uint8 [B, C, H, W] to float32 in [-2, 2]: (x / 255 - 0.5) / 0.25.

    The constants are fixed. Mean and deviation of the data would carry a trace of the forget set into a retrained
    model. Floats are what the net takes already, and stay as they are.
    """
    if images.is_floating_point():
        return images
    batch = images.to(torch.float32).mul_(4 / 255).sub_(2)
    return batch.contiguous(memory_format=torch.channels_last) if batch.shape[1] == 3 else batch


def augmented(images: Tensor, augmentation: str, generator: torch.Generator | None) -> Tensor:
    """Flips (each image with probability 1/2) and shifts (the whole batch by up to H/16 pixels, reflected) uint8
    images."""
    if augmentation == "none":
        return images
    reach = max(1, images.shape[2] // 16)
    if augmentation == "flip_shift":
        flip = torch.rand(len(images), generator=generator).lt(0.5).to(images.device)
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
    down, right = torch.randint(0, 2 * reach + 1, (2,), generator=generator).tolist()
    padded = functional.pad(images.float(), (reach,) * 4, mode="reflect").to(torch.uint8)
    return padded[:, :, down : down + images.shape[2], right : right + images.shape[3]]


def alternating(images: Tensor, flip: Tensor, generator: torch.Generator | None) -> Tensor:
    """Flips the uint8 images that `flip` (bool [B]) says, and shifts each by itself by up to H/16 pixels, reflected."""
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    count, _, height, width = images.shape
    reach = max(1, height // 16)
    padded = functional.pad(images.float(), (reach,) * 4, mode="reflect").to(torch.uint8)
    down, right = torch.randint(0, 2 * reach + 1, (2, count), generator=generator).to(images.device)
    rows = (down[:, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (right[:, None] + torch.arange(width, device=images.device))[:, None, :]
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Samples:
    """Images with labels, and how they are to be given out.

    Attributes:
        images: uint8 [N, C, H, W], or floats [N, …] as the net takes them. labels: int64 [N], on the same device.
        batch_size: default size of a batch. generator: CPU generator of order and augmentation; None keeps the order.
        augmentation: "none", "shift", "flip_shift" or "alternating", used where `batches` is asked to augment. With
            "alternating" a random half of the images is flipped in the first epoch, the other half in the next, and
            so on: two epochs show both sides of every image.
        people: int64 [N] person ids, or None.
    """

    images: Tensor
    labels: Tensor
    batch_size: int = 128
    generator: torch.Generator | None = None
    augmentation: str = "none"
    people: Tensor | None = None

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)
        if self.batch_size < 1:
            raise ForgetError(f"A batch needs at least one image; got batch_size={self.batch_size}.")

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self,
        epochs: int = 1,
        *,
        batch_size: int | None = None,
        shuffle: bool = True,
        augment: bool = True,
        first_epoch: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (float32 [B, C, H, W] normalised, int64 [B]) for `epochs` passes; the last batch may be smaller.

        A last batch of one sample joins the batch before it: batch norm cannot train on a single sample. first_epoch:
        number of the first pass, for an augmentation that goes by it.
        """
        size = batch_size or self.batch_size
        turns = augment and self.augmentation == "alternating"
        # The same half in every call, so that a caller who asks for one epoch at a time gets the other half in turn.
        flipped = torch.rand(len(self), generator=torch.Generator().manual_seed(0)).lt(0.5) if turns else None
        for number in range(first_epoch, first_epoch + epochs):
            order = torch.randperm(len(self), generator=self.generator) if shuffle else torch.arange(len(self))
            parts = list(order.to(self.labels.device).split(size))
            if len(parts) > 1 and len(parts[-1]) == 1:
                parts[-2:] = [torch.cat(parts[-2:])]
            for part in parts:
                images = self.images.index_select(0, part)  # copies whole images; [part] goes pixel by pixel
                if flipped is not None:
                    images = alternating(images, flipped.to(part.device)[part] ^ bool(number % 2), self.generator)
                elif augment:
                    images = augmented(images, self.augmentation, self.generator)
                yield normalise(images), self.labels.index_select(0, part)

    def forever(self, *, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches without end, shuffled anew on every pass."""
        while True:
            yield from self.batches(batch_size=batch_size)

    def subset(self, indices: Tensor) -> "Samples":
        """The samples at `indices` (int64 or bool tensor), given out the same way."""
        people = None if self.people is None else self.people[indices]
        return replace(self, images=self.images[indices], labels=self.labels[indices], people=people)

    def with_labels(self, labels: Tensor) -> "Samples":
        """The same images under other labels (int64 [N])."""
        return replace(self, labels=labels)

    def to(self, device: torch.device | str) -> "Samples":
        """The samples on another device."""
        people = None if self.people is None else self.people.to(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), people=people)


def concatenate(first: Samples, second: Samples) -> Samples:
    """Both sets of samples as one, given out as `first` is."""
    both = [(first.images, second.images), (first.labels, second.labels)]
    images, labels = (torch.cat(pair) for pair in both)
    return replace(first, images=images, labels=labels, people=None)
