"""guided_unlearning against its definition, on tiny nets and data."""

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import guided_unlearning, unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_guided_unlearning_climbs_a_little_then_learns_the_second_choice(monkeypatch):
    monkeypatch.setattr(guided_unlearning, "RETAIN_SHARE", 1.0)
    task, expected = tiny_task(), tiny_net()
    images, labels = whole(task.forget)
    logits = expected(images).detach()
    logits[torch.arange(7), labels] = -torch.inf
    second, (retain, targets) = logits.argmax(1), whole(task.retain)
    by_hand(expected, [lambda m: -ce(task.forget)(m)], rate=0.1 * RATE)
    mixture, wanted = torch.cat([retain, images]), torch.cat([targets, second])
    by_hand(expected, [lambda m: cross_entropy(m(mixture), wanted)], rate=RATE)
    settings = {"learning_rate": RATE, "epochs": 1, "ascent": 0.1}
    assert close(unlearn("guided_unlearning", tiny_net(), task, **settings), expected)
