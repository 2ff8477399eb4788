"""fcs against its definition, on tiny nets and data."""

import torch
from torch.nn.functional import log_softmax

from forget_lib.unlearning import fcs, unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_fcs_contrast_and_its_three_stages():
    a, b = torch.randn(3, 4).double(), torch.randn(5, 4).double()
    assert torch.allclose(fcs.contrast(a, b), -((a @ b.T / 1.15).softmax(1).log()).mean())
    task, expected = tiny_task(), tiny_net()
    (images, _), (retain, _) = whole(task.forget), whole(task.retain)
    by_hand(expected, [lambda m: -log_softmax(m(images), 1).mean()], rate=0.1, decay=0)
    others = expected(retain).detach()
    by_hand(expected, [lambda m: -log_softmax(m(images) @ others.T / 1.15, 1).mean()], rate=0.2, decay=0)
    by_hand(expected, [ce(task.retain)], rate=RATE, decay=0.01)
    found = unlearn("fcs", tiny_net(), task, uniform_rate=0.1, forget_rate=0.2, retain_rate=RATE)
    assert close(found, expected)
