"""negative_gradient against its definition, on tiny nets and data."""

import math

import torch

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
    weights,
)

RATE = 0.3


def test_negative_gradient_climbs_and_clips():
    task, expected = tiny_task(), tiny_net()
    by_hand(expected, [lambda m: -ce(task.forget)(m)] * 2, rate=RATE)
    found = unlearn("negative_gradient", tiny_net(), task, learning_rate=RATE, epochs=2, clip_norm=1e6)
    assert close(found, expected)
    clipped = unlearn("negative_gradient", tiny_net(), task, learning_rate=1.0, epochs=1, clip_norm=1e-3)
    moved = [b - a * (1 - 5e-4) for a, b in zip(weights(tiny_net()), weights(clipped), strict=True)]
    assert math.isclose(float(torch.cat([m.flatten() for m in moved]).norm()), 1e-3, rel_tol=1e-2)
