"""convolution_transpose against its definition, on tiny nets and data."""

import copy

import torch

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    changed_tensors,
    tiny_conv_net,
    tiny_task,
)


def test_transposing_turns_every_kernel_and_nothing_else():
    seen, model = {}, tiny_conv_net()
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("convolution_transpose", model, task)
    assert changed_tensors(model, seen[0]) == {"body.0.weight", "body.3.weight"}
    assert torch.equal(seen[0].body[0].weight, model.body[0].weight.permute(0, 1, 3, 2))
