"""unsir against its definition, on tiny nets and data."""

import math

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import unlearn, unsir
from tests.tiny_tasks import (
    adam_by_hand,
    batch_norm_modes,
    ce,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


def test_unsir_noise_minimises_minus_cross_entropy_plus_its_size():
    logits = torch.tensor([[0.0, 0.0, math.log(2)]], dtype=torch.float64)
    noise = torch.tensor([[[[1.0, 2.0], [0.0, 2.0]]]], dtype=torch.float64)
    assert math.isclose(float(unsir.noise_loss(logits, torch.tensor([2]), noise)), -math.log(2) + 0.1 * 9)
    task = tiny_task(classes=(1,))
    start = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(task.seed)).double()
    noise, labels = unsir.learn_noise(tiny_net(), task, 4, 1, 0.1)
    begin = start.clone().requires_grad_()
    loss = (
        -cross_entropy(tiny_net()(begin), torch.ones(4, dtype=torch.int64)) + 0.1 * begin.square().sum((1, 2, 3)).mean()
    )
    (gradient,) = torch.autograd.grad(loss, begin)
    assert torch.allclose(noise, start - 0.1 * gradient.sign(), atol=1e-5)  # the first step of Adam
    assert labels.tolist() == [1] * 4


def test_unsir_labels_the_noise_of_each_class_with_that_class():
    _, labels = unsir.learn_noise(tiny_net(), tiny_task(classes=(0, 2)), 3, 1, 0.1)
    assert labels.tolist() == [0, 0, 0, 2, 2, 2]


def test_unsir_impairs_on_noise_and_retain_then_repairs_on_retain():
    task, expected = tiny_task(classes=(1,)), tiny_net()
    noise = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(task.seed)).double()
    images, labels = whole(task.retain)
    mixture = torch.cat([noise, noise, images])
    targets = torch.cat([torch.ones(8, dtype=torch.int64), labels])
    adam_by_hand(expected, [lambda m: cross_entropy(m(mixture), targets)], rate=0.1)
    adam_by_hand(expected, [ce(task.retain)], rate=0.05)
    settings = {"noise_steps": 0, "noise_count": 4, "noise_copies": 2, "impair_rate": 0.1, "repair_rate": 0.05}
    assert close(unlearn("unsir", tiny_net(), task, **settings), expected, 1e-6)


def test_some_of_each_class_is_balanced():
    part = unsir.some_of_each_class(tiny_task(retain=tiny_samples(30, 1)), 4)
    assert torch.bincount(part.labels).tolist() == [4, 4, 4]


def test_unsir_learns_its_noise_with_batch_norm_as_it_is():
    task = tiny_task(classes=(1,), net=tiny_conv_net)
    with batch_norm_modes() as seen:
        unsir.learn_noise(tiny_conv_net().train(), task, 4, 3, 0.1)
    assert seen == [(4, False)] * 6
