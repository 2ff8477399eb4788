"""cfw against its definition, on tiny nets and data."""

import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import cfw, unlearn
from forget_lib.unlearning.parts import winners as winners_module
from tests.tiny_tasks import (
    SgdByHand,
    batched_task,
    by_hand,
    changed_tensors,
    close,
    same_state,
    tiny_conv_net,
    tiny_frozen_net,
    tiny_task,
    training,
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


def test_cfw_in_two_epochs_of_three_batches_on_a_cosine():
    """All of it by hand on a net with batch norm and a frozen convolution, which gets no noise."""
    task, expected = batched_task(), training(tiny_frozen_net())
    draws, kernel = torch.Generator().manual_seed(task.seed), expected.body[3].weight
    counts = torch.bincount(task.retain.labels).double()
    rarity = 1 / counts / (1 / counts)[task.retain.labels].mean()
    hand = SgdByHand(expected, 0.1)
    for done, (images, labels) in enumerate(2 * list(task.retain.batches())):
        if done in (0, 3):  # before the first and before the last epoch
            kernel.data += (0.5 if done == 0 else 0.005) * torch.randn(kernel.shape, generator=draws).double()
        hand.rate = 0.05 * (1 + math.cos(math.pi * done / 6))
        each = cross_entropy(expected(images), labels, reduction="none")
        hand.step((rarity[labels] * each).mean())
    found = unlearn("cfw", tiny_frozen_net(), task, learning_rate=0.1, epochs=2, deviation=0.5)
    assert same_state(found, expected, 1e-6)
