"""guided_unlearning against its definition, on tiny nets and data."""

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import guided_unlearning, unlearn
from forget_lib.unlearning.common import sgd, step
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


def test_guided_unlearning_starts_its_last_layers_anew_and_repairs_them_first(monkeypatch):
    """Two epochs on a cosine: half the rate in the second. The net has two layers, so one starts anew."""
    monkeypatch.setattr(guided_unlearning, "RETAIN_SHARE", 1.0)
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    images, labels = whole(task.forget)
    logits = expected(images).detach()
    logits[torch.arange(7), labels] = -torch.inf
    second, (retain, targets) = logits.argmax(1), whole(task.retain)
    expected.head.load_state_dict(tiny_net(task.seed).head.state_dict())
    mixture, wanted = torch.cat([retain, images]), torch.cat([targets, second])
    mixed = lambda m: cross_entropy(m(mixture), wanted)  # noqa: E731
    away, towards = (sgd(expected, rate) for rate in (0.1 * RATE, RATE))
    step(towards, ce(task.retain)(expected))
    for rate in (1.0, 0.5):
        away.param_groups[0]["lr"], towards.param_groups[0]["lr"] = rate * 0.1 * RATE, rate * RATE
        step(away, -ce(task.forget)(expected))
        step(towards, mixed(expected))
    settings = {"learning_rate": RATE, "epochs": 2, "ascent": 0.1, "k": 3}
    assert close(unlearn("guided_unlearning", original, task, **settings), expected)


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
    settings = {"learning_rate": RATE, "epochs": 1, "ascent": 0.1, "k": 0}
    assert close(unlearn("guided_unlearning", tiny_net(), task, **settings), expected)


def test_batch_norm_stays_in_the_ascent_and_trains_in_both_repairs():
    """The mixture holds half of the retain set: 6 of 11, beside 7 relabelled samples."""
    with batch_norm_modes() as seen:
        unlearn("guided_unlearning", tiny_conv_net(), tiny_task(net=tiny_conv_net), epochs=2)
    assert {size for size, training in seen if training} == {11, 13}
    assert (7, False) in seen
