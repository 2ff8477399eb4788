"""boundary_expand against its definition, on tiny nets and data."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    CLASSES,
    batch_norm_modes,
    by_hand,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_boundary_expand_trains_a_class_more_and_returns_the_model_without_it():
    task, expected = tiny_task(classes=(1,)), tiny_net()
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        extra = nn.Linear(5, 1).double()
    both = nn.ModuleList([expected, extra])
    images, labels = whole(task.forget)
    target = torch.full_like(labels, CLASSES)

    def loss(pair):
        features = pair[0].features(images)
        return cross_entropy(torch.cat([pair[0].head(features), pair[1](features)], 1), target)

    by_hand(both, [loss] * 3, rate=RATE)
    found = unlearn("boundary_expand", tiny_net(), task, learning_rate=RATE, epochs=3)
    assert found(images).shape == (7, CLASSES)
    assert close(found, expected, 1e-7)


def test_batch_norm_stays_in_all_passes():
    with batch_norm_modes() as seen:
        unlearn("boundary_expand", tiny_conv_net(), tiny_task(classes=(1,), net=tiny_conv_net), epochs=2)
    assert {training for _, training in seen} == {False}
