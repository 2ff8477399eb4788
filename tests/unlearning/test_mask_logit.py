"""mask_logit against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    tiny_net,
    tiny_task,
    whole,
)


def test_mask_logit_moves_one_bias_and_hides_the_class():
    task, original = tiny_task(classes=(1,)), tiny_net()
    found = unlearn("mask_logit", original, task)
    changed = [n for n, p in found.named_parameters() if not torch.equal(p, original.get_parameter(n))]
    assert changed == ["head.bias"]
    images = torch.cat([whole(task.forget)[0], whole(task.retain)[0]])
    logits = original(images)
    lead = (logits[:, 1] - logits[:, [0, 2]].max(1).values).max().clamp(min=1)
    assert torch.allclose(found.head.bias - original.head.bias, torch.stack([0 * lead, -2 * lead, 0 * lead]))
    assert not (found(images).argmax(1) == 1).any()
