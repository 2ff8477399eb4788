"""A drawn digit becomes one of MNIST's."""

import numpy as np
import pytest
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.demo.digit import as_mnist, example, rasterise


def test_a_digit_is_scaled_and_centred_as_mnist_does():
    ink = np.zeros((280, 280), dtype=np.uint8)
    ink[10:210, 5:45] = 255
    digit = as_mnist(ink)[0].numpy()
    rows, columns = np.nonzero(digit)
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == 4
    assert rows.mean() == pytest.approx(13.5, abs=0.6)
    assert columns.mean() == pytest.approx(13.5, abs=0.6)


def test_an_empty_pad_is_no_digit():
    with pytest.raises(ForgetError, match="Nothing is drawn"):
        as_mnist(rasterise([]))


def test_drawn_digits_are_recognised(bench):
    images = torch.stack([as_mnist(rasterise(example(digit))) for digit in range(10)])
    assert (bench.probabilities("original", images).argmax(1) == torch.arange(10)).sum() >= 8
    assert bench.probabilities("retrain", images)[5].argmax() != 5
