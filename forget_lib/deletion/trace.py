r"""The fixed statistic: how much of the step from a retrained model to the original is left in a model.

For the forget samples x, let m(x) be a margin of a model, :math:`\bar m_0` its mean over K models retrained without
them and :math:`\bar m_1` its mean over L models trained with them. The *trace* of a model is the projection

.. math:: t(m) = \frac{\sum_x w_x (m(x) - \bar m_0(x)) - b_0}{\sum_x w_x^2 - b_0 - b_1}, \qquad w = \bar m_1 - \bar m_0,

0 on average for retraining, 1 for the original; below 0 is over-forgotten. :math:`b_0 = \sum_x s_0^2(x) / K` and
:math:`b_1 = \sum_x s_1^2(x) / L` take out what the noise of the two means adds (:math:`s^2`: variance between models).
It is read twice: at the *outputs* (the logit margin of the label) and in the *embedding* (the margin of a new linear
head on the frozen features). The second looks through everything that only hides an answer at the output, such as a
masked class.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from forget_lib.core.errors import TooFewError

RIDGE = 1.0
"""Penalty of the new head, relative to the mean square of a feature: it looks along the directions in which the
features vary most. A hundredth of it made the reading of a small net's embedding three to five times as noisy."""
FEWEST = 3
"""Fewest models a side for a trace at all; the rule of the verdict asks for more."""


class Reading(NamedTuple):
    """The trace of a model beside that of the references.

    value: of the model judged. deviation: SD over retrained references of the trace of one model. references: how many.
    kept: traces of retrainings that kept a share of the forget set, for the power of the test.
    """

    value: float
    deviation: float
    references: int
    kept: tuple[float, ...] = ()


def scale_of(retrained: np.ndarray, trained: np.ndarray) -> float:
    """Squared distance between the two means, less what their noise adds; NaN where it is not above 0.

    retrained: margins [K, n] of models trained without the forget set. trained: [L, n], with it.
    """
    weights = trained.mean(axis=0) - retrained.mean(axis=0)
    length = float(weights @ weights) - sum(_noise(part) for part in (retrained, trained))
    return length if length > 0 else math.nan


def _noise(margins: np.ndarray) -> float:
    """Expected squared distance of the mean of these models from the mean of all such models."""
    return float(margins.var(axis=0, ddof=1).sum()) / len(margins)


def _along(models: np.ndarray, retrained: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Numerator of the trace of each model, float64 [M]."""
    without = retrained.mean(axis=0)
    return (models - without) @ (trained.mean(axis=0) - without) - _noise(retrained)


def traces(models: np.ndarray, retrained: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """t(m) of each model, float64 [M]; NaN where models with and without the forget set cannot be told apart.

    models: margins [M, n]. retrained: [K, n] of models trained without the forget set. trained: [L, n], with it.
    """
    return _along(models, retrained, trained) / scale_of(retrained, trained)


def leave_one_out(retrained: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Trace of each retrained model [K], judged by the other K - 1, on the scale of all.

    Raises: TooFewError below 3 models a side.
    """
    if min(len(retrained), len(trained)) < FEWEST:
        raise TooFewError(
            f"A trace needs at least {FEWEST} models trained with and {FEWEST} without the forget set; "
            f"got {len(trained)} and {len(retrained)}."
        )
    others = [np.delete(retrained, k, axis=0) for k in range(len(retrained))]
    found = [_along(retrained[k : k + 1], others[k], trained)[0] for k in range(len(retrained))]
    return np.array(found) / scale_of(retrained, trained)


def read(margins: np.ndarray, retrained: np.ndarray, trained: np.ndarray, kept: np.ndarray | None = None) -> Reading:
    """The reading of a model with margins [n].

    retrained: [K, n]. trained: [L, n]. kept: [J, n] of retrainings that kept a share of the forget set, or None.
    The SD is that of the leave-one-out traces, times (K - 1) / K: leaving one out stretches them by that much. It is
    infinite, and the traces 0, where models with and without the forget set cannot be told apart.
    Raises: TooFewError below 3 models a side.
    """
    alone, number = leave_one_out(retrained, trained), len(retrained)
    rows = np.concatenate([margins[None], *([] if kept is None else [kept])])
    found = traces(rows, retrained, trained)
    if not (np.isfinite(found).all() and np.isfinite(alone).all()):
        return Reading(0.0, math.inf, number, (0.0,) * (len(rows) - 1))
    deviation = float(alone.std(ddof=1)) * (number - 1) / number
    return Reading(float(found[0]), deviation, number, tuple(map(float, found[1:])))


def probe_margins(
    forget: np.ndarray | Tensor,
    forget_labels: np.ndarray | Tensor,
    retain: np.ndarray | Tensor,
    retain_labels: np.ndarray | Tensor,
    classes: int,
) -> np.ndarray:
    """Margin of the label under a new linear head, for each forget sample, float64 [n].

    forget [n, D], retain [m, D]: features of one model. The head is a ridge regression of one-hot labels on the retain
    samples and one half of the forget samples; the other half is read, then the halves change places. The margin is
    the label's response less the largest other one, unbounded. Halves alternate within each class, in the order given.
    Raises: TooFewError below 2 forget samples.
    """
    forget, retain = (np.asarray(part, dtype=np.float64) for part in (forget, retain))
    forget_labels, retain_labels = (np.asarray(part) for part in (forget_labels, retain_labels))
    if len(forget) < 2:
        raise TooFewError("A probe of the embedding needs at least 2 forget samples.")
    second = _alternate(forget_labels)
    margins = np.empty(len(forget))
    for learned, read_ in ((~second, second), (second, ~second)):
        features = np.concatenate([retain, forget[learned]])
        labels = np.concatenate([retain_labels, forget_labels[learned]])
        response = _ridge(features, np.eye(classes)[labels], forget[read_])
        rows, own = np.arange(int(read_.sum())), forget_labels[read_]
        value = response[rows, own].copy()
        response[rows, own] = -np.inf
        margins[read_] = value - response.max(axis=1)
    return margins


def _alternate(labels: np.ndarray) -> np.ndarray:
    """Every second sample of each class, bool [n]; classes of one sample take turns, so both halves have samples."""
    order = np.argsort(labels, kind="stable")
    second = np.zeros(len(labels), dtype=bool)
    second[order[1::2]] = True
    return second


def _ridge(features: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Response [q, C] of a ridge regression with intercept; features are scaled by one number, so that directions
    stay as they are."""
    middle, level = features.mean(axis=0), targets.mean(axis=0)
    centred = features - middle
    scale = max(float(np.sqrt((centred**2).mean())), 1e-12)
    centred = centred / scale
    gram = centred.T @ centred / len(centred) + RIDGE * np.eye(centred.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (targets - level) / len(centred))
    return (queries - middle) / scale @ weights + level
