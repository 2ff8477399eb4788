"""convolution_transpose against its definition, on tiny nets and data."""

import copy
import math

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    SgdByHand,
    batched_task,
    changed_tensors,
    same_state,
    tiny_conv_net,
    tiny_frozen_net,
    tiny_task,
    training,
)


def test_transposing_turns_every_kernel_and_nothing_else():
    seen, model = {}, tiny_conv_net()
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("convolution_transpose", model, task)
    assert changed_tensors(model, seen[0]) == {"body.0.weight", "body.3.weight"}
    assert torch.equal(seen[0].body[0].weight, model.body[0].weight.permute(0, 1, 3, 2))


def test_it_repairs_on_a_cosine_over_all_epochs():
    """Two epochs of three batches; the first convolution is frozen, and stays as it is."""
    task, expected = batched_task(), training(tiny_frozen_net())
    kernel = expected.body[3].weight
    kernel.data.copy_(kernel.data.transpose(2, 3).clone())
    hand = SgdByHand(expected, 0.1)
    for done, (images, labels) in enumerate(2 * list(task.retain.batches())):
        hand.rate = 0.05 * (1 + math.cos(math.pi * done / 6))
        hand.step(cross_entropy(expected(images), labels))
    found = unlearn("convolution_transpose", tiny_frozen_net(), task, learning_rate=0.1, epochs=2)
    assert same_state(found, expected)
