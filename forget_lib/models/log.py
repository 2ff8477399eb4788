"""What a training did with the samples that may have to be forgotten: their batches' updates, and how sure it was."""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.image_data import checksum_of
from forget_lib.datasets.samples import Samples
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import predict, train


def sample_keys(samples: Samples) -> tuple[str, ...]:
    """A hash for each sample, of its image and its label."""
    images, labels = samples.images.cpu(), samples.labels.cpu()
    return tuple(
        hashlib.sha256(image.contiguous().numpy().tobytes() + label.numpy().tobytes()).hexdigest()[:24]
        for image, label in zip(images, labels, strict=True)
    )


def model_key(model: nn.Module) -> str:
    """A hash of all weights and statistics of a model."""
    return checksum_of(*(value.detach().float().cpu() for value in model.state_dict().values()))


@dataclass
class TrainingLog:
    """The record of one training with respect to the samples that were watched.

    Attributes: samples: key of each watched sample. model: key of the trained model. update: Σ of the changes of each
        parameter over all batches with a watched sample, float64. batches, expected: seen, and of the whole training.
        touched: batches with a watched sample. confidence: float32 [watched], mean probability of the true label over
        the epochs, in eval mode.
    """

    samples: tuple[str, ...]
    expected: int
    update: dict[str, Tensor] = field(default_factory=dict)
    model: str = ""
    batches: int = 0
    touched: int = 0
    confidence: Tensor = field(default_factory=lambda: torch.zeros(0))

    def check(self, model: nn.Module, forget: Samples) -> None:
        """Raises: ForgetError for a log that was cut short, or is of another model or of other samples."""
        if self.batches != self.expected or not self.model:
            raise ForgetError(
                f"The training log is cut short: {self.batches} of {self.expected} batches. Record it again."
            )
        if self.model != model_key(model):
            raise ForgetError("The training log is of another model than the one to unlearn. Record it again.")
        if sorted(self.samples) != sorted(sample_keys(forget)):
            raise ForgetError(
                f"The training log watched {len(self.samples)} samples that are not the {len(forget)} to forget; what "
                "may have to be forgotten must be known before training. Record it again for this request."
            )

    def confidence_of(self, samples: Samples) -> Tensor:
        """Mean confidence while training, float32 [len(samples)]. Raises: ForgetError for a sample not watched."""
        positions = {key: position for position, key in enumerate(self.samples)}
        keys = sample_keys(samples)
        if not set(keys) <= set(positions):
            raise ForgetError("The training log did not watch all of these samples. Record it again for this request.")
        return self.confidence[[positions[key] for key in keys]]


@dataclass(frozen=True, kw_only=True)
class _Watched(Samples):
    """Samples that note, when the next batch is asked for, what the step on the last one did to the model."""

    model: nn.Module
    watched: Tensor
    log: TrainingLog

    def batches(self, epochs: int = 1, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        given = Samples(*(getattr(self, f.name) for f in dataclasses.fields(Samples)))
        numbered = given.with_labels(torch.arange(len(self), device=self.labels.device))
        for images, positions in numbered.batches(epochs, **options):
            touched = bool(self.watched[positions].any())
            before = {n: p.detach().double() for n, p in self.model.named_parameters()} if touched else {}
            yield images, self.labels[positions]
            for name, parameter in self.model.named_parameters() if touched else ():
                change = parameter.detach().double() - before[name]
                self.log.update[name] = self.log.update.get(name, 0) + change
            self.log.touched += touched
            self.log.batches += 1


def logged_training(model: nn.Module, samples: Samples, recipe: Recipe, seed: int, watched: Tensor) -> TrainingLog:
    """`train`, bit for bit, with a log of what the watched samples did; `model` is trained in place.

    Memory: one more model in double precision. Time: one more forward pass of the watched samples an epoch.
    Args: watched: bool [len(samples)] or int64 positions, the samples that may have to be forgotten.
    Raises: ForgetError for no sample to watch; DivergedError.
    """
    chosen = torch.zeros(len(samples), dtype=torch.bool, device=samples.labels.device)
    chosen[watched.to(samples.labels.device)] = True
    if not chosen.any():
        raise ForgetError("There is no sample to watch: name those that may have to be forgotten.")
    part = samples.subset(chosen)
    some = next(iter(model.parameters()))
    steps = len(list(torch.arange(len(samples)).split(recipe.batch_size)))
    steps -= len(samples) > recipe.batch_size and len(samples) % recipe.batch_size == 1
    log = TrainingLog(sample_keys(part), expected=recipe.epochs * steps)
    sure: list[Tensor] = []

    def after_epoch(_epoch: int, trained: nn.Module) -> None:
        probabilities = predict(trained, part).softmax(1)
        sure.append(probabilities.gather(1, part.labels.cpu()[:, None]).flatten())

    fields = {f.name: getattr(samples, f.name) for f in dataclasses.fields(Samples)}
    train(model, _Watched(**fields, model=model, watched=chosen, log=log), recipe, seed, on_epoch=after_epoch)
    log.model, log.confidence = model_key(model), torch.stack(sure).mean(0)
    log.update = {name: value.to(some.device) for name, value in log.update.items()}
    return log
