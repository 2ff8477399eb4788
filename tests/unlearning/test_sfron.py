"""sfron against its definition, on tiny nets and data."""

import math

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import sfron, unlearn
from forget_lib.unlearning.parts.importance import importance_by_batch, sample_cross_entropy
from tests.tiny_tasks import (
    SgdByHand,
    batch_norm_modes,
    batched_task,
    ce,
    close,
    same_state,
    tiny_conv_net,
    tiny_frozen_net,
    tiny_net,
    tiny_task,
    training,
    whole,
)

RATE = 0.3


def test_sfron_weighs_samples_and_masks_its_ascent(monkeypatch):
    monkeypatch.setattr(sfron, "MASK_SHARE", 1.0)
    monkeypatch.setattr(sfron, "CLIP", 1e9)
    losses = torch.tensor([1.0, 4.0, 0.25]).double()
    wanted = torch.tensor([1.0, 0.5, 2.0]).double()
    assert torch.allclose(sfron.adaptive_weights(losses), wanted / wanted.mean())
    mask = sfron.saliency_mask({"w": torch.tensor([2.0, 1.0, 0.0])}, {"w": torch.tensor([1.0, 2.0, 0.0])})
    assert mask["w"].tolist() == [True, False, False]
    task, expected = tiny_task(), tiny_net()
    images, labels = whole(task.forget)
    squares = [importance_by_batch(tiny_net(), s, sample_cross_entropy, 2, 50) for s in (task.forget, task.retain)]
    mask = sfron.saliency_mask(*squares)
    each = cross_entropy(expected(images), labels, reduction="none")
    w = each.detach() ** -0.5
    gradients = torch.autograd.grad(-0.2 * (w / w.mean() * each).mean(), list(expected.parameters()))
    speed = []
    for (name, p), g in zip(expected.named_parameters(), gradients, strict=True):
        speed.append(g * mask[name] + 5e-4 * p.detach())
        p.data.sub_(RATE * speed[-1])
    for p, g, v in zip(
        expected.parameters(), torch.autograd.grad(ce(task.retain)(expected), list(expected.parameters())), speed,
        strict=True,
    ):  # fmt: skip
        p.data.sub_(RATE * (0.9 * v + g + 5e-4 * p.detach()))
    settings = {"learning_rate": RATE, "forget_weight": 0.2}
    assert close(unlearn("sfron", tiny_net(), task, **settings), expected)


def test_sfron_keeps_batch_norm_in_its_forget_steps():
    with batch_norm_modes() as seen:
        unlearn("sfron", tiny_conv_net(), tiny_task(net=tiny_conv_net))
    assert {training for size, training in seen if size == 7} == {False}
    assert [training for size, training in seen if size == 11 and training] == [True, True]


def test_sfron_climbs_every_few_steps_with_a_clipped_gradient_and_fades(monkeypatch):
    """Two epochs of three retain batches by hand, a forget step before each second; batch norm, and a frozen layer."""
    monkeypatch.setattr(sfron, "MASK_SHARE", 1.0)
    monkeypatch.setattr(sfron, "EVERY", 2)
    monkeypatch.setattr(sfron, "CLIP", 1e-3)
    task, expected = batched_task(), tiny_frozen_net()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(task.seed))
    parts = (task.forget, task.retain.subset(order))
    mask = sfron.saliency_mask(*(importance_by_batch(expected, s, sample_cross_entropy, 2, 4) for s in parts))
    names = [name for name, parameter in expected.named_parameters() if parameter.requires_grad]
    hand, forget, norms = SgdByHand(expected, 0.1), 2 * list(task.forget.batches()), []
    for done, (images, labels) in enumerate(2 * list(task.retain.batches())):
        fading = 0.5 * (1 + math.cos(math.pi * done / 6))
        hand.rate = 0.1 * fading
        if done % 2 == 0:
            others, other_labels = forget[done // 2]
            each = cross_entropy(expected.eval()(others), other_labels, reduction="none")
            weight = each.detach() ** -0.5
            gradient = hand.gradient(-3 * fading * (weight / weight.mean() * each).mean())
            gradient = [g * mask[name] for name, g in zip(names, gradient, strict=True)]
            norms.append(float(torch.cat([g.flatten() for g in gradient]).norm()))
            hand.move([g * min(1.0, 1e-3 / (norms[-1] + 1e-6)) for g in gradient])
        hand.step(cross_entropy(training(expected)(images), labels))
    found = unlearn("sfron", tiny_frozen_net(), task, learning_rate=0.1, epochs=2, forget_weight=3.0)
    assert max(norms) > 2e-3  # so that it was clipped
    assert same_state(found, expected, 1e-7)
