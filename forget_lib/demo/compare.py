"""Two models side by side: accuracies by class, predictions, a map of their features, layers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forget_lib.demo.library import Bench
from forget_lib.statistics.intervals import Interval, clopper_pearson
from forget_lib.statistics.metrics import cka_by_layer, per_class_accuracy

MAP_POINTS = 400
CKA_IMAGES = 500


def class_accuracies(logits: Tensor, labels: Tensor, classes: int) -> list[Interval | None]:
    """Accuracy of each class with its exact 95 % interval; None for a class without samples."""
    rates = per_class_accuracy(logits, labels)
    found: list[Interval | None] = []
    for label in range(classes):
        count = int((labels == label).sum())
        rate = rates[label] if label < len(rates) else float("nan")
        found.append(clopper_pearson(round(float(rate) * count), count) if count else None)
    return found


def prediction_matrix(logits: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """Share of the samples of each true class (row) that get each prediction (column): float [K, K], rows sum to 1.

    A class without samples has a row of zeros.
    """
    counts = torch.zeros(classes, classes, dtype=torch.float64)
    counts.index_put_((labels, logits.argmax(1)), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    return (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()


@dataclass(frozen=True)
class FeatureMap:
    """Where the same samples lie in two models' feature spaces.

    Attributes: first, second: float [N, 2] in [0, 1]. labels, predicted_first, predicted_second: int64 [N].
        images: uint8 [N, C, H, W]. explained: share of the first model's variance on the two axes.
    """

    first: np.ndarray
    second: np.ndarray
    labels: Tensor
    predicted_first: Tensor
    predicted_second: Tensor
    images: Tensor
    explained: float


def aligned_projection(features: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Two feature matrices [N, D] on the first two principal axes of `reference`, the same layout for both.

    `features` is centred and turned (orthogonal Procrustes) onto `reference` first: two networks may hold the same
    arrangement of samples in differently turned spaces, and a turn changes no distance.
    Returns: positions of `features`, of `reference` (float [N, 2]), and the share of variance the two axes hold.
    """
    moved, fixed = (part - part.mean(axis=0) for part in (features.astype(np.float64), reference.astype(np.float64)))
    left, _, right = np.linalg.svd(moved.T @ fixed)
    _, singular, axes = np.linalg.svd(fixed, full_matrices=False)
    basis = axes[:2].T
    total = float((singular**2).sum())
    share = float((singular[:2] ** 2).sum()) / total if total else 0.0
    return moved @ (left @ right) @ basis, fixed @ basis, share


def feature_map(bench: Bench, first: str, second: str, points: int = MAP_POINTS) -> FeatureMap:
    """The map of two models on test samples, evenly spread over the test set."""
    samples = bench.samples("test")
    every = torch.linspace(0, len(samples) - 1, min(points, len(samples))).round().long()
    part = samples.subset(every.to(samples.labels.device))
    features, predicted = [], []
    for name in (first, second):
        model = bench.model(name)
        with torch.inference_mode():
            batches = [model.features(x) for x, _ in part.batches(batch_size=500, shuffle=False, augment=False)]
            joined = torch.cat(batches)
            predicted.append(model.head(joined).argmax(1).cpu())
        features.append(joined.flatten(1).float().cpu().numpy())
    two, one, explained = aligned_projection(features[1], features[0])
    low = np.minimum(one.min(axis=0), two.min(axis=0))
    span = np.maximum(one.max(axis=0), two.max(axis=0)) - low
    one, two = ((each - low) / np.where(span == 0, 1, span) for each in (one, two))
    return FeatureMap(one, two, part.labels.cpu(), *predicted, part.images.cpu(), explained)


def layer_similarity(bench: Bench, first: str, second: str) -> dict[str, float]:
    """Linear CKA by layer of two models on test images, in [0, 1]; 1 is the same up to a turn."""
    images = bench.samples("test").images[:CKA_IMAGES]
    return cka_by_layer(bench.model(first), bench.model(second), images)
