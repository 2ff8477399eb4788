"""fcs against its definition, on tiny nets and data."""

import torch
from torch.nn.functional import log_softmax

from forget_lib.unlearning import fcs, unlearn
from tests.tiny_tasks import (
    batch_norm_modes,
    by_hand,
    ce,
    close,
    tiny_conv_net,
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


def test_fcs_keeps_batch_norm_in_its_passes_over_the_forget_set_and_trains_it_in_the_repair():
    with batch_norm_modes() as seen:
        unlearn("fcs", tiny_conv_net(), tiny_task(net=tiny_conv_net), epochs=2)
    assert {training for size, training in seen if size == 7} == {False}
    assert [training for size, training in seen if size == 11] == 2 * [False, False, True, True]


def test_the_forget_rate_of_fcs_falls_as_a_cosine(monkeypatch):
    rates, step = [], fcs.step
    monkeypatch.setattr(
        fcs, "step", lambda optimizer, loss: rates.append(optimizer.param_groups[0]["lr"]) or step(optimizer, loss)
    )
    unlearn("fcs", tiny_net(), tiny_task(), epochs=2, uniform_rate=0.5, forget_rate=0.2)
    assert torch.allclose(torch.tensor(rates), torch.tensor([0.5, 0.2, 0.1]), atol=1e-5)
