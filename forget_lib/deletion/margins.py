"""The two readings of one model on the samples to forget: at its outputs and in its embedding."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from forget_lib.datasets.samples import Samples
from forget_lib.deletion.trace import probe_margins
from forget_lib.deletion.verdict import EMBEDDING, OUTPUTS
from forget_lib.models.train import embed, predict
from forget_lib.statistics.scores import phi

MARGINS_VERSION = 1
"""Raised when the margins behind the error rates get other numbers; records of before are then made again."""

RETAINED = 1000
"""Retain samples that teach the new head; the same ones for all models."""


def margins_of(model: nn.Module, forget: Samples, retain: Samples, classes: int) -> dict[str, np.ndarray]:
    """Margins of the forget samples by reading, float64 [n]; see `trace`. The model is not changed.

    Raises: ForgetError for a model without `features`.
    """
    order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(0))[:RETAINED]
    part = retain.subset(order.to(retain.labels.device))
    labels = forget.labels.cpu().numpy()
    features = [embed(model, samples).numpy() for samples in (forget, part)]
    return {
        OUTPUTS: phi(predict(model, forget).numpy(), labels),
        EMBEDDING: probe_margins(features[0], labels, features[1], part.labels.cpu().numpy(), classes),
    }
