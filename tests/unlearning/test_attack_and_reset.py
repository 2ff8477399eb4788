"""attack_and_reset against its definition, on tiny nets and data."""

import copy

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import attack_and_reset as module
from forget_lib.unlearning import unlearn
from forget_lib.unlearning.common import frozen_copy
from forget_lib.unlearning.parts.adversarial import PIXEL, harmful_noise
from tests.tiny_tasks import (
    tiny_conv_net,
    tiny_task,
    whole,
)


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


def test_attack_and_reset_ranks_by_forget_over_retain_under_attack_and_repairs_on_the_retain_set(monkeypatch):
    """With made scores the filters of the largest ratio go, not those of the largest score."""
    scores = [{"body.0.weight": torch.tensor([9.0, 1.0]), "body.3.weight": torch.tensor([1.0, 1.0, 4.0])}]
    scores += [{"body.0.weight": torch.tensor([9.0, 0.1]), "body.3.weight": torch.tensor([2.0, 2.0, 2.0])}]
    repaired = []
    monkeypatch.setattr(module, "filter_scores", lambda *_: scores.pop(0))
    monkeypatch.setattr(module, "finetune", lambda model, task, **given: repaired.append(given) or model)
    model, task = tiny_conv_net(1), tiny_task(net=tiny_conv_net)
    found = unlearn("attack_and_reset", model, task, share=0.4, learning_rate=0.3, epochs=2)
    moved = [(found.body[i].weight != model.body[i].weight).flatten(1).any(1).tolist() for i in (0, 3)]
    assert moved == [[False, True], [False, False, True]]
    assert repaired == [{"learning_rate": 0.3, "epochs": 2}]


def test_the_scores_of_filters_are_taken_under_the_attack():
    model, task = tiny_conv_net().eval(), tiny_task()
    images, labels = whole(task.forget)
    noisy = harmful_noise(frozen_copy(model), images, labels, module.REACH, module.STEPS)
    (gradient,) = torch.autograd.grad(cross_entropy(model(noisy), labels), [model.body[0].weight])
    assert torch.allclose(module.filter_scores(model, task.forget)["body.0.weight"], gradient.flatten(1).norm(dim=1))
