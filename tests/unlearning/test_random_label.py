"""random_label against its definition, on tiny nets and data."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import random_label as random_label_module
from forget_lib.unlearning import unlearn
from forget_lib.unlearning.random_label import random_labels
from tests.tiny_tasks import (
    CLASSES,
    by_hand,
    close,
    drawn_labels,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)

RATE = 0.3


@pytest.mark.parametrize("labels", ["other", "any"])
def test_random_label_learns_the_drawn_labels_and_the_true_ones(labels):
    task, expected = tiny_task(), tiny_net()
    wrong = drawn_labels(task, allow_true=labels == "any")
    images = torch.cat([whole(task.retain)[0], whole(task.forget)[0]])
    targets = torch.cat([task.retain.labels, wrong])
    by_hand(expected, [lambda m: cross_entropy(m(images), targets)], rate=RATE)
    assert close(unlearn("random_label", tiny_net(), task, learning_rate=RATE, epochs=1, labels=labels), expected)


def test_random_labels_are_uniform_over_the_other_classes_or_over_all():
    task = tiny_task(forget=tiny_samples(6000, 3))
    true = task.forget.labels
    assert not (random_labels(task, allow_true=False) == true).any()
    share = (random_labels(task, allow_true=True) == true).double().mean()
    assert abs(share - 1 / CLASSES) < 0.03
    assert torch.bincount(random_labels(task, allow_true=False)).min() > 1800


def test_labels_are_drawn_anew_in_every_epoch(monkeypatch):
    drawn, draw = [], random_label_module.random_labels
    monkeypatch.setattr(random_label_module, "random_labels", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    unlearn("random_label", tiny_net(), tiny_task(), epochs=3)
    assert len(drawn) == 3
    assert not torch.equal(drawn[0], drawn[1])
