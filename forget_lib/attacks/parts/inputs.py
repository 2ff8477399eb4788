"""What an attack is given. Arrays may be tensors; shapes: N samples, C classes, K reference models, D features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forget_lib.core.errors import DivergedError, ForgetError, TooFewError
from forget_lib.datasets.samples import Samples
from forget_lib.models.train import predict
from forget_lib.statistics import scores

LOGIT_LIMIT = 1e4
"""Logits beyond this are clipped: float32 softmax is saturated long before."""
FEWEST_OF_FAMILY = 8
COMPONENTS, MOST_IMAGES = 30, 1000
"""Principal components of images (of few images fewer), and the images from which they are taken."""
Values = Tensor | np.ndarray


def as_array(values: Values) -> np.ndarray:
    """The values as an array on the CPU."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


@dataclass(frozen=True)
class Side:
    """Samples, and what the target answers on them in evaluation mode, without augmentation.

    logits: float [N, C]. labels: int [N], those used in training. indices: int [N], rows in the pool, to check that
    sides are disjoint. people: int [N] ids; intervals then redraw people, since images of one person are alike.
    before: float [N, C], the model before unlearning, for two-snapshot attacks. known: float [N, D], what is known of
    the samples without any model under attack, see `known_outside`.
    """

    logits: Values
    labels: Values
    indices: Values | None = None
    people: Values | None = None
    before: Values | None = None
    known: Values | None = None

    def take(self, rows: np.ndarray) -> Side:
        """Some of the samples."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        taken: list[Any] = [None if value is None else as_array(value)[rows] for value in values]
        return Side(*taken)

    def checked(self, name: str) -> tuple[Side, int]:
        """The side with finite float64 logits, and how many rows were clipped; see `validate`."""
        labels = as_array(self.labels).astype(np.int64)
        logits, clipped = _clean(self.logits, name)
        if len(labels) != len(logits):
            raise ForgetError(f"{name}: {len(logits)} rows of logits but {len(labels)} labels.")
        if len(labels) < 2:
            raise TooFewError(f"An attack needs at least 2 {name} samples, got {len(labels)}.")
        before, more = (None, 0) if self.before is None else _clean(self.before, f"{name}, before unlearning:")
        return dataclasses.replace(self, logits=logits, labels=labels, before=before), clipped + more


def known_outside(helper: nn.Module, parts: Mapping[str, Samples]) -> dict[str, np.ndarray]:
    """What is known of samples without the model under attack, by set, float64 [N, C + 1 + components].

    Logits of a helper net that was trained on none of them, its margin of the label, and principal components of the
    images, which are those of the set "population".
    """
    flat = {name: samples.images.flatten(1).double().cpu().numpy() / 255 for name, samples in parts.items()}
    middle = flat["population"].mean(axis=0)
    images = flat["population"][:MOST_IMAGES] - middle
    axes = np.linalg.svd(images, full_matrices=False)[2][: min(COMPONENTS, len(images) // 4)]
    found = {}
    for name, samples in parts.items():
        logits = predict(helper, samples).double().numpy()
        margin = scores.phi(logits, samples.labels.cpu().numpy())
        found[name] = np.hstack([logits, margin[:, None], (flat[name] - middle) @ axes.T])
    return found


@dataclass(frozen=True)
class References:
    """Reference models on the samples under attack; columns are the forget samples, then the unseen ones.

    logits: float [K, nF + nU, C] of the models as trained. membership: bool [K, nF + nU], True where reference k was
    trained on the sample. population_logits: float [K, nZ, C]. unlearned_logits: float [K, nF + nU, C] after the method
    under attack removed each reference's own forget set: where `membership` is True the sample was then unlearned.
    """

    logits: np.ndarray
    membership: np.ndarray
    population_logits: np.ndarray | None = None
    unlearned_logits: np.ndarray | None = None

    @property
    def number(self) -> int:
        """Number of reference models K."""
        return len(self.logits)

    def take(self, columns: np.ndarray) -> References:
        """The same references on some of the samples."""
        unlearned = None if self.unlearned_logits is None else self.unlearned_logits[:, columns]
        return References(self.logits[:, columns], self.membership[:, columns], self.population_logits, unlearned)


@dataclass(frozen=True)
class AttackInput:
    """Forget samples and exchangeable unseen ones (same sampling rule, same classes, never trained on), never the test
    set. population: samples disjoint from all else. clipped: rows of logits that `validate` cut off.
    """

    forget: Side
    unseen: Side
    population: Side | None = None
    references: References | None = None
    seed: int = 0
    clipped: int = 0

    @property
    def logits(self) -> np.ndarray:
        """float [nF + nU, C]: forget first, then unseen."""
        return np.concatenate([as_array(side.logits) for side in (self.forget, self.unseen)])

    @property
    def labels(self) -> np.ndarray:
        """int [nF + nU]: forget first, then unseen."""
        return np.concatenate([as_array(side.labels) for side in (self.forget, self.unseen)])

    @property
    def number_forget(self) -> int:
        """Number of forget samples nF."""
        return len(self.forget.labels)

    @property
    def pool(self) -> References:
        """The references. Raises: ForgetError where there are none."""
        if self.references is None:
            raise ForgetError("This attack needs reference models; train a pool first (forget_lib.study.pools).")
        return self.references


@dataclass(frozen=True)
class ProbeInput:
    """Penultimate features of one model.

    gallery: float [G, D], enrolled images with gallery_people [G], those of the forgotten people among them; they also
    train the linear probe. queries: float [Q, D] with query_people [Q]: other images. forgotten: ids of the forgotten
    people (or classes).
    """

    gallery: np.ndarray
    gallery_people: np.ndarray
    queries: np.ndarray
    query_people: np.ndarray
    forgotten: tuple[int, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(np.isin(self.forgotten, people).all() for people in (self.gallery_people, self.query_people)):
            raise ForgetError("Every forgotten person needs at least one gallery and one query image.")
        if not (np.isfinite(self.gallery).all() and np.isfinite(self.queries).all()):
            raise ForgetError("Embeddings must be finite.")

    @property
    def similarity(self) -> np.ndarray:
        """Cosine similarity of queries and gallery, float64 [Q, G] in [-1, 1]."""
        one, two = (np.asarray(part, dtype=np.float64) for part in (self.queries, self.gallery))
        one, two = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (one, two))
        return one @ two.T


@dataclass(frozen=True)
class WeightsInput:
    """A model that may be trained on (a copy of it), and what it is to learn again.

    forget: with the labels used in training. original_accuracy: of the original model on it, in [0, 1]. learning_rate:
    of plain SGD, the same for all models compared.
    """

    model: nn.Module
    forget: Samples
    original_accuracy: float
    learning_rate: float = 0.01
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.forget) < 2 or not 0 < self.original_accuracy <= 1 or self.learning_rate <= 0:
            raise ForgetError(
                f"Relearning needs at least 2 forget samples, an original accuracy in (0, 1] and a positive rate; got "
                f"{len(self.forget)}, {self.original_accuracy} and {self.learning_rate}."
            )


@dataclass(frozen=True)
class FamilyInput:
    """Margins of N unlearned, N retrained and, for the null, N further (held-out) retrained models: float [N, n].

    utility: mean retain and test accuracy relative to the retrained models, multiplied together (1: no loss).
    """

    unlearned: np.ndarray
    retrained: np.ndarray
    held_out: np.ndarray | None = None
    utility: float = 1.0

    def __post_init__(self) -> None:
        shapes = [part.shape for part in (self.unlearned, self.retrained, self.held_out) if part is not None]
        if len(set(shapes)) != 1 or self.unlearned.ndim != 2:
            raise ForgetError(f"Families must have the same shape [N, n]; got {shapes}.")
        if len(self.unlearned) < FEWEST_OF_FAMILY:
            needed = f"at least {FEWEST_OF_FAMILY} models a family"
            raise TooFewError(f"The challenge's score needs {needed}, got {len(self.unlearned)}.")


def validate(inputs: AttackInput) -> AttackInput:
    """A checked copy with float64 arrays: finite logits, same classes on both sides, disjoint sets.

    Infinite logits are clipped and counted in `clipped`. Unseen samples of classes that the forget set does not have
    are left out, so that nobody compares a forgotten class with all the others. Where whole people are forgotten, their
    images of a class that no unseen person shows (a rare age) are left out too.
    Raises: TooFewError, DivergedError (NaN), ForgetError (shapes, a class missing from unseen, overlap).
    """
    sides: dict[str, Any] = {}
    clipped = inputs.clipped
    for name in ("forget", "unseen", "population"):
        side = getattr(inputs, name)
        if side is not None:
            sides[name], more = side.checked(name)
            clipped += more
    if inputs.forget.indices is not None and inputs.unseen.indices is not None:
        common = np.intersect1d(as_array(inputs.forget.indices), as_array(inputs.unseen.indices))
        if len(common):
            raise ForgetError(
                f"{len(common)} samples are in both the forget and the unseen set (first: {common[0]}); "
                "unseen samples must never have been trained on."
            )
    return _same_classes(dataclasses.replace(inputs, **sides, clipped=clipped))


def _clean(logits: Values, name: str) -> tuple[np.ndarray, int]:
    array = as_array(logits).astype(np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise ForgetError(f"{name} logits must be [samples, classes >= 2], got shape {array.shape}.")
    if np.isnan(array).any():
        raise DivergedError(f"{name} logits hold NaN: the model has diverged and cannot be attacked.")
    count = int((np.abs(array) > LOGIT_LIMIT).any(axis=1).sum())
    return np.clip(array, -LOGIT_LIMIT, LOGIT_LIMIT), count


def _same_classes(inputs: AttackInput) -> AttackInput:
    forget, unseen = inputs.forget, inputs.unseen
    both = np.isin(forget.labels, unseen.labels)
    if not both.all() and (forget.people is None or both.sum() < 2):
        missing = sorted(set(forget.labels[~both].tolist()))
        raise ForgetError(
            f"Classes {missing} are in the forget set but not among the unseen samples. Compare a forgotten class with "
            "held-out samples of that class; where none exist, report the paired difference from the retrained model."
        )
    if not both.all():
        print(f"{(~both).sum()} of {len(both)} forget images are left out: no unseen person is of their class")
    alike = np.isin(unseen.labels, as_array(forget.labels)[both])
    if both.all() and alike.all():
        return inputs
    references = None if inputs.references is None else inputs.references.take(np.concatenate([both, alike]))
    return dataclasses.replace(inputs, forget=forget.take(both), unseen=unseen.take(alike), references=references)
