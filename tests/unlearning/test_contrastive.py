"""contrastive against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from forget_lib.unlearning import contrastive, unlearn
from tests.tiny_tasks import SgdByHand, batched_task, same_state, tiny_conv_net, tiny_frozen_net, training

RATE, WEIGHT, TEMPERATURE = 0.05, 2.0, 0.7


def pair_by_pair(anchors, others, labels, other_labels):
    """The paper's sum, pair by pair."""
    total = 0
    for anchor, label in zip(anchors, labels, strict=True):
        near = [cosine_similarity(anchor, other, 0) / TEMPERATURE for other in others]
        own = [s for s, other in zip(near, other_labels, strict=True) if other == label]
        rest = [s for s, other in zip(near, other_labels, strict=True) if other != label]
        if own:
            total = total + sum(math.e**s for s in own).log()
        if rest:
            total = total - sum(rest) / len(rest)
    return total / len(anchors)


def test_contrast_of_orthogonal_and_equal_features_is_worked_out_by_hand():
    """An anchor on one axis: its own class once on it, log e^{1/0.5} = 2; the others at cosines 0 and -1, mean -1."""
    anchor = torch.tensor([[3.0, 0.0]])
    others = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    same = torch.tensor([[True, False, False]])
    assert contrastive.contrast(anchor, others, same, 0.5) == pytest.approx(2 + 1)
    assert contrastive.contrast(anchor, others, torch.zeros_like(same), 0.5) == pytest.approx(0.0)
    alone = contrastive.contrast(anchor.requires_grad_(), others, torch.ones_like(same), 0.5)
    assert alone.item() == pytest.approx(math.log(math.e**2 + 1 + math.e**-2))
    assert torch.autograd.grad(alone, anchor)[0].isfinite().all()


def by_definition(net: nn.Module, classes: tuple[int, ...]) -> nn.Module:
    """Two epochs of two forget batches, three retain batches to each, cut to the forget batch's size."""
    task, sgd, taken = batched_task(classes=classes), SgdByHand(training(net), RATE, decay=0), 0
    retain = list(task.retain.batches(4))
    for images, labels in task.forget.batches(2):
        for _ in range(3):
            others, other_labels = (part[: len(images)] for part in retain[taken])
            features = net.features(torch.cat([images, others]))
            anchors, rest = features[: len(images)], features[len(images) :]
            loss = WEIGHT * pair_by_pair(anchors, rest, labels, other_labels)
            sgd.step(loss + cross_entropy(net.head(rest), other_labels))
            taken += 1
    return net


@pytest.mark.parametrize("fresh", [tiny_frozen_net, tiny_conv_net])
@pytest.mark.parametrize("classes", [(), (1,)])
def test_contrastive_pushes_features_from_their_class_while_it_learns_the_rest(fresh, classes):
    settings = {"learning_rate": RATE, "epochs": 2, "weight": WEIGHT, "temperature": TEMPERATURE, "draws": 3}
    found = unlearn("contrastive", fresh(), batched_task(classes=classes), **settings)
    assert same_state(found, by_definition(fresh(), classes))
