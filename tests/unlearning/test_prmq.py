"""prmq against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import prmq, unlearn
from tests.tiny_tasks import (
    by_hand,
    close,
    tiny_net,
    tiny_task,
    weights,
    whole,
)


def test_prmq_keeps_the_largest_weights_compares_entropies_and_rounds():
    model = tiny_net()
    before = torch.cat([m.weight.detach().abs().flatten() for m in (model.body[1], model.head)])
    generator = torch.Generator().manual_seed(1)
    assert prmq.prune_and_renew(model, 0.8, generator) == 28
    after = torch.cat([m.weight.detach().abs().flatten() for m in (model.body[1], model.head)])
    kept = before == after
    assert int(kept.sum()) == 7
    assert before[kept].min() >= before[~kept].max()
    assert after[:20][~kept[:20]].max() <= 4**-0.5
    assert after[20:][~kept[20:]].max() <= 5**-0.5
    p = torch.tensor([0.5, 0.25, 0.25]).double()
    assert prmq.entropy(p.log()[None])[0] == pytest.approx(1.5 * math.log(2))
    found = unlearn("prmq", tiny_net(), tiny_task())
    assert all(torch.equal(w, w.half().double()) for w in weights(found))


def test_prmq_repairs_on_weighed_classes_and_towards_the_entropy_of_the_original(monkeypatch):
    """Instead of pruning, the head of the student is made less sure, so that its entropy is another from the start."""
    monkeypatch.setattr(prmq, "prune_and_renew", lambda model, *_: model.head.weight.data.mul_(0.1))
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    original.head.weight.data.mul_(5)
    expected.head.weight.data.mul_(0.5)
    images, labels = whole(task.retain)
    logs = original(images).log_softmax(1).detach()
    before = -(logs.exp() * logs).sum(1)
    weight = torch.bincount(labels).double()[labels] ** -0.1

    def loss(model):
        now = model(images).log_softmax(1)
        entropy = -(now.exp() * now).sum(1)
        each = cross_entropy(model(images), labels, reduction="none")
        return (weight / weight.mean() * each).mean() + (entropy - before).square().mean()

    by_hand(expected, [loss] * 2, rate=0.3)
    found = unlearn("prmq", original, task, learning_rate=0.3, epochs=2)
    assert close(found, expected, 2e-3)  # rounded to 16 bits
