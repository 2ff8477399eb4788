"""delete_distillation against its definition, on tiny nets and data."""

import math

import torch

from forget_lib.unlearning import delete_distillation, unlearn
from tests.tiny_tasks import (
    by_hand,
    close,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def kl(target, logits):
    """KL(target ‖ softmax(logits)), mean over the batch, written out."""
    logs = logits.log_softmax(1)
    return torch.where(target > 0, target * (target.clamp(min=1e-300).log() - logs), 0.0).sum(1).mean()


def test_delete_imitates_the_original_without_the_true_class():
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    target = delete_distillation.without_true_class(logits, torch.tensor([2])).softmax(1)
    e = math.exp(1)
    assert torch.allclose(target, torch.tensor([[1 / (1 + e), e / (1 + e), 0.0]], dtype=torch.float64))
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    images, labels = whole(task.forget)
    with torch.no_grad():
        q = original(images).softmax(1)
        q[torch.arange(len(labels)), labels] = 0
        q = q / q.sum(1, keepdim=True)
    by_hand(expected, [lambda m: kl(q, m(images))] * 2, rate=RATE, decay=0)
    assert close(unlearn("delete_distillation", original, task, learning_rate=RATE, epochs=2), expected)
