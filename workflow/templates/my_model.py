"""A model: any net that gives logits [B, K]."""

import math

from torch import nn

from forget_lib.models import model


@model("my_model")
def my_model(input_shape: tuple[int, int, int], number_of_classes: int) -> nn.Module:
    """One hidden layer with dropout; input_shape is (channels, height, width)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 64),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(64, number_of_classes),
    )
