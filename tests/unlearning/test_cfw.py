"""cfw against its definition, on tiny nets and data."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import cfw, unlearn
from forget_lib.unlearning.parts import winners as winners_module
from tests.tiny_tasks import (
    by_hand,
    changed_tensors,
    close,
    tiny_conv_net,
    tiny_task,
    whole,
)


def test_cfw_moves_every_convolution_and_weighs_classes_equally():
    labels = torch.tensor([0, 0, 0, 2])
    w = winners_module.class_weights(labels, 3, -1.0)
    assert torch.allclose(w[labels].mean(), torch.tensor(1.0))
    assert float(3 * w[0]) == pytest.approx(float(w[2]))
    assert float(w[1]) == 0
    logits = torch.randn(4, 3).double()
    each = cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(winners_module.weighted_cross_entropy(logits, labels, w), (w[labels] * each).mean())
    seen, model = {}, tiny_conv_net()
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("cfw", model, task)
    assert changed_tensors(model, seen[0]) == {"body.0.weight", "body.3.weight"}


def test_cfw_repairs_with_classes_weighed_by_their_rarity(monkeypatch):
    monkeypatch.setattr(cfw, "LAST_DEVIATION", 0.0)
    task, expected = tiny_task(net=tiny_conv_net), tiny_conv_net().train()
    images, labels = whole(task.retain)
    rarity = 1 / torch.bincount(labels).double()[labels]
    loss = lambda m: (rarity / rarity.mean() * cross_entropy(m(images), labels, reduction="none")).mean()  # noqa: E731
    by_hand(expected, [loss], rate=0.01)
    settings = {"learning_rate": 0.01, "epochs": 1, "deviation": 0.0}
    assert close(unlearn("cfw", tiny_conv_net(), task, **settings), expected, 1e-6)


def test_cfw_adds_its_large_noise_first_and_its_small_one_before_the_last_epoch(monkeypatch):
    """Without a rate the weights move by the noise alone."""
    monkeypatch.setattr(cfw, "sgd", lambda model, rate: torch.optim.SGD(model.parameters(), 0.0))
    seen, model = {}, tiny_conv_net()
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("cfw", model, task, epochs=2, deviation=0.5)
    noise = torch.Generator().manual_seed(task.seed)
    large = 0.5 * torch.randn(2, 1, 3, 3, generator=noise)
    assert torch.allclose(seen[0].body[0].weight, model.body[0].weight + large)
    assert torch.equal(seen[1].body[0].weight, seen[0].body[0].weight)
    small = (seen[2].body[0].weight - seen[1].body[0].weight).std()
    assert 0.002 < float(small.detach()) < 0.01
