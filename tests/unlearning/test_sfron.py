"""sfron against its definition, on tiny nets and data."""

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import sfron, unlearn
from forget_lib.unlearning.parts.importance import importance_by_batch, sample_cross_entropy
from tests.tiny_tasks import (
    batch_norm_modes,
    ce,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
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
