"""Challenge winners and methods by adversarial images against their formulas, in double precision on tiny nets."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax

from forget_lib.unlearning import amun, fcs, msg, prmq, unlearn
from forget_lib.unlearning.common import frozen_copy
from forget_lib.unlearning.parts import winners as winners_module
from forget_lib.unlearning.parts.adversarial import PIXEL, harmful_noise
from tests.tiny_tasks import (
    by_hand,
    ce,
    changed_tensors,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
    weights,
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


def test_msg_renews_the_weights_with_the_smallest_difference_of_gradients():
    task, model = tiny_task(net=tiny_conv_net), tiny_conv_net()
    seen = {}
    spied = replace(task, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("msg", model, spied, share=0.3)
    state = torch.Generator().manual_seed(task.seed)
    scores = msg.difference_gradient(model, replace(task, generator=state))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(task.seed))[:7]
    model.eval()
    loss = ce(task.retain.subset(order))(model) - ce(task.forget)(model)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    for name, score in scores.items():
        assert torch.allclose(score, gradients[name])
        changed = seen[0].get_parameter(name) != model.get_parameter(name)
        assert int(changed.sum()) == round(0.3 * score.numel())
        assert score.abs()[changed].max() <= score.abs()[~changed].min()
    assert changed_tensors(model, seen[0]) == {"body.0.weight", "body.3.weight"}


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


def test_transposing_turns_every_kernel_and_nothing_else():
    seen, model = {}, tiny_conv_net()
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("convolution_transpose", model, task)
    assert changed_tensors(model, seen[0]) == {"body.0.weight", "body.3.weight"}
    assert torch.equal(seen[0].body[0].weight, model.body[0].weight.permute(0, 1, 3, 2))


def test_attack_and_reset_resets_whole_filters_with_the_largest_ratio():
    seen, model = {}, tiny_conv_net(1)
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("attack_and_reset", model, task, share=0.4)
    fresh, count = tiny_conv_net(task.seed), 0
    for name in ("body.0.weight", "body.3.weight"):
        for now, old, new in zip(*(m.get_parameter(name) for m in (seen[0], model, fresh)), strict=True):
            assert torch.equal(now, old) or torch.equal(now, new)
            count += torch.equal(now, new)
    assert count == 2
    images, labels = whole(task.forget)
    noisy = harmful_noise(frozen_copy(model), images, labels, 0.03, 3)
    assert float((noisy - images).abs().max()) <= 0.03 * PIXEL + 1e-9
    model.eval()
    assert cross_entropy(model(noisy), labels) > cross_entropy(model(images), labels)


def test_nearest_wrong_crosses_the_boundary_of_a_linear_net_by_the_shortest_way():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    images, labels = 0.05 * torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double(), None
    labels = model(images).argmax(1)
    moved, said = amun.nearest_wrong(frozen_copy(model), images, labels, 10)
    assert torch.equal(model(moved).argmax(1), said)
    assert not (said == labels).any()
    logits, weight = model(images).detach(), model[1].weight.detach()
    for row in range(6):
        other = logits[row].clone()
        other[labels[row]] = -torch.inf
        k = int(other.argmax())
        distance = (logits[row, labels[row]] - logits[row, k]) / (weight[labels[row]] - weight[k]).norm()
        assert float((moved[row] - images[row]).norm()) == pytest.approx(float(distance), rel=0.05, abs=1e-3)


def test_amun_learns_the_neighbours_under_what_the_model_says_of_them():
    task, model, expected = tiny_task(), tiny_net(), tiny_net()
    images, labels = whole(task.forget)
    moved, said = amun.nearest_wrong(frozen_copy(model), images, labels, 5)
    retain, targets = whole(task.retain)
    loss = lambda m: cross_entropy(m(torch.cat([moved, retain])), torch.cat([said, targets]))  # noqa: E731
    by_hand(expected, [loss], rate=RATE)
    assert close(unlearn("amun", model, task, learning_rate=RATE), expected)


def test_cfw_repairs_with_classes_weighed_by_their_rarity():
    task, expected = tiny_task(net=tiny_conv_net), tiny_conv_net().train()
    images, labels = whole(task.retain)
    rarity = 1 / torch.bincount(labels).double()[labels]
    loss = lambda m: (rarity / rarity.mean() * cross_entropy(m(images), labels, reduction="none")).mean()  # noqa: E731
    by_hand(expected, [loss], rate=0.01)
    settings = {"learning_rate": 0.01, "epochs": 1, "deviation": 0.0, "last_deviation": 0.0}
    assert close(unlearn("cfw", tiny_conv_net(), task, **settings), expected, 1e-6)
