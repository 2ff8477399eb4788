"""adaptive_ssd against its definition, on tiny nets and data."""

import math

import numpy as np
import pytest
import torch

from forget_lib.unlearning import unlearn
from forget_lib.unlearning.parts import dampening as dampening_module
from forget_lib.unlearning.parts import importance
from tests.tiny_tasks import (
    close,
    tiny_net,
    tiny_task,
)


def test_adaptive_alpha_is_the_percentile_of_the_finite_ratios():
    generator = np.random.default_rng(0)
    f, d = (torch.from_numpy(generator.random(200)) for _ in range(2))
    d[:20] = 0
    ratios = (f / d)[20:].numpy()
    q = 100 - math.log(1 + 100 * 0.25)
    assert dampening_module.adaptive_alpha({"w": f}, {"w": d}, 0.25) == pytest.approx(np.percentile(ratios, q))
    task = tiny_task(classes=(1,))
    forget, everything = dampening_module.importances(tiny_net(), task, importance.sample_cross_entropy, 2, "sample")
    alpha = dampening_module.adaptive_alpha(forget, everything, 7 / 18)
    expected = unlearn("ssd", tiny_net(), task, alpha=alpha, importance="sample")
    assert close(unlearn("adaptive_ssd", tiny_net(), task, importance="sample"), expected)
