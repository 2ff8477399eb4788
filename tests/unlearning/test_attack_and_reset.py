"""attack_and_reset against its definition, on tiny nets and data."""

import copy

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import unlearn
from forget_lib.unlearning.common import frozen_copy
from forget_lib.unlearning.parts.adversarial import PIXEL, harmful_noise
from tests.tiny_tasks import (
    tiny_conv_net,
    tiny_task,
    whole,
)


def test_attack_and_reset_resets_whole_filters_with_the_largest_ratio():
    seen, model = {}, tiny_conv_net(1)
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("attack_and_reset", model, task, share=0.4)
    fresh, count = tiny_conv_net(task.seed), 0
    for name in ("body.0.weight", "body.3.weight"):
        for now, old, new in zip(*(m.get_parameter(name) for m in (seen[0], model, fresh)), strict=True):
            assert torch.equal(now, old) or torch.equal(now, new)
            count += torch.equal(now, new)
    assert count == 2
    images, labels = whole(task.forget)
    noisy = harmful_noise(frozen_copy(model), images, labels, 0.03, 3)
    assert float((noisy - images).abs().max()) <= 0.03 * PIXEL + 1e-9
    model.eval()
    assert cross_entropy(model(noisy), labels) > cross_entropy(model(images), labels)
