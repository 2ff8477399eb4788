"""cmf against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import cmf, unlearn
from tests.tiny_tasks import (
    CLASSES,
    SgdByHand,
    batched_task,
    drawn_labels,
    same_state,
    tiny_conv_net,
    tiny_frozen_net,
    tiny_net,
    tiny_task,
    training,
    whole,
)

RATE, TEMPERATURE = 0.05, 3.0


def smooth(fresh) -> nn.Module:
    """The net with features that are never all 0."""
    net = fresh()
    net.body[5] = nn.Tanh()
    return net


def test_class_means_of_two_axes_lie_on_the_diagonal():
    """Lengths do not count: means (1, 0) and (0, 1), centre (½, ½), directions ±(1, -1) / √2; class 2 has no sample."""
    features = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, 7.0]])
    means, centre = cmf.class_means(features, torch.tensor([0, 0, 1, 1]), 3)
    half = 1 / math.sqrt(2)
    assert torch.allclose(means, torch.tensor([[half, -half], [-half, half], [0.0, 0.0]]))
    assert torch.allclose(centre, torch.tensor([0.5, 0.5]))
    assert torch.allclose(cmf.cosines(features, means, centre)[:, 0], torch.tensor([1.0, 1.0, -1.0, -1.0]))


def test_a_class_of_one_sample_has_that_sample_as_its_mean():
    features = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    means, centre = cmf.class_means(features, torch.tensor([0, 1, 1]), 2)
    assert torch.allclose(centre, torch.tensor([1 / 3, 2 / 3]))
    assert torch.allclose(means[0], torch.tensor([1.0, -1.0]) / math.sqrt(2))


def means_by_hand(net: nn.Module, task) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images, labels = whole(concatenate(task.retain, task.forget))
    features = net.eval().features(images).detach()
    z = normalize(features, dim=1)
    return (
        features,
        torch.stack([normalize(z[labels == k].mean(0) - z.mean(0), dim=0) for k in range(CLASSES)]),
        z.mean(0),
    )


def logits_by_hand(features, means, centre):
    return TEMPERATURE * normalize(normalize(features, dim=1) - centre, dim=1) @ means.T


def trained_by_hand(net: nn.Module) -> nn.Module:
    """Two epochs of several batches; labels drawn once an epoch, gradients clipped to a length of 1."""
    net.head.requires_grad_(False)
    task, sgd = batched_task(), SgdByHand(net, RATE)
    _, means, centre = means_by_hand(net, task)
    for _ in range(2):
        wrong = drawn_labels(task, allow_true=False)
        torch.randint(1, CLASSES, (len(wrong),), generator=task.generator)
        training(net)
        for images, labels in concatenate(task.retain, task.forget.with_labels(wrong)).batches():
            gradient = sgd.gradient(cross_entropy(logits_by_hand(net.features(images), means, centre), labels))
            length = math.sqrt(sum(float(g.square().sum()) for g in gradient))
            sgd.move([g / max(1.0, length) for g in gradient])
        _, means, centre = means_by_hand(net, task)
    return net


@pytest.mark.parametrize("fresh", [tiny_frozen_net, tiny_conv_net])
def test_cmf_learns_random_labels_by_the_class_means(fresh):
    settings = {"learning_rate": RATE, "epochs": 2, "temperature": TEMPERATURE}
    found, expected = unlearn("cmf", smooth(fresh), batched_task(), **settings), trained_by_hand(smooth(fresh))
    assert same_state(found.body, expected.body)
    assert not same_state(found.body, smooth(fresh).body)
    features, means, centre = means_by_hand(expected, batched_task())
    length = features.norm(dim=1).mean()
    linear = (features - length * centre) @ means.T
    scale = logits_by_hand(features, means, centre).max(1).values.mean() / linear.max(1).values.mean()
    assert torch.allclose(found.head(features), scale * linear, atol=1e-9)


def test_the_head_agrees_with_the_class_means_where_features_have_one_length():
    features = normalize(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    means, centre = cmf.class_means(features, torch.arange(8) % 3, 3)
    linear = (features - centre) @ means.T
    assert torch.equal(linear.argmax(1), cmf.cosines(features, means, centre).argmax(1))


def test_cmf_s_head_takes_nothing_from_the_head_before():
    """The classifier is the features' own: with another head, the same model comes out."""
    other = smooth(tiny_conv_net)
    nn.init.normal_(other.head.weight)
    first, second = (unlearn("cmf", net, tiny_task(net=tiny_conv_net)) for net in (smooth(tiny_conv_net), other))
    assert same_state(first, second)


def test_features_that_are_all_alike_leave_a_head_of_zeros():
    net = tiny_net()
    for parameter in net.body.parameters():
        parameter.data.zero_()
    net.body[1].bias.data.fill_(1)
    net.body.requires_grad_(False)
    net.body[1].bias.requires_grad_(True)
    assert unlearn("cmf", net, tiny_task(), learning_rate=1e-9).head.weight.abs().max() < 1e-6
