"""rem against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, linear, softplus

from forget_lib.models.train import accuracy
from forget_lib.unlearning import rem, unlearn
from tests.tiny_tasks import batched_task, same_state, tiny_frozen_net, tiny_net, tiny_task, training, whole

RATE, SHARE, BARRIER = 0.01, 0.5, 0.7


def test_the_preference_loss_of_the_original_itself_and_of_a_tenth_of_its_probability():
    """2 log(1 + 1) where nothing has changed; 2 log(1.1) where the label is a tenth as probable."""
    before = torch.tensor([[0.5, 0.5]]).log()
    labels = torch.tensor([0])
    assert torch.allclose(rem.preference(before, before, labels), torch.tensor(2 * math.log(2)))
    less = torch.tensor([[0.05, 0.95]]).log()
    assert torch.allclose(rem.preference(less, before, labels), torch.tensor(2 * math.log(1.1)))


def test_branches_add_their_masked_outputs_and_leave_nothing_behind():
    net, images = tiny_net(), whole(tiny_task().forget)[0][:2]
    plain = net(images)
    branches = rem.Branches(net, 0.5)
    assert torch.equal(net(images), plain)
    branches.ids = torch.tensor([3, 5])
    hidden = net.body[1](images.flatten(1))
    first, second = branches.branches
    branches.ids = None
    by_hand = net.body[1](images.flatten(1)) + linear(images.flatten(1), first.weight) * branches.masks[0][[3, 5]]
    assert torch.allclose(hidden, by_hand)
    assert set(branches.masks[0].unique().tolist()) == {0.0, 1.0}
    assert first.bias is None
    assert second.weight.shape == net.head.weight.shape
    branches.ids = torch.tensor([3, 5])
    branches.remove()
    assert torch.equal(net(images), plain)


def by_definition(net: nn.Module, threshold: float) -> nn.Module:
    """Two epochs: a pass of ascent where the accuracy is above the threshold, then all data beside forget batches."""
    task, original = batched_task(), tiny_frozen_net().eval()
    training(net)
    layers = [nn.Conv2d(2, 3, 2, stride=2, bias=False).double(), nn.Linear(3, 3).double()]
    torch.manual_seed(7)
    for layer in layers:
        layer.reset_parameters()
    conv, head = (layer.weight for layer in layers)
    masks = [(torch.rand(rem.MASKS, 3) < SHARE).double() for _ in range(2)]
    weights = [*(p for p in net.parameters() if p.requires_grad), conv, head]
    optimizer = torch.optim.AdamW(weights, RATE, weight_decay=1e-4)
    ids = torch.cat([torch.randint(1, rem.MASKS, (11,), generator=task.generator), torch.zeros(7, dtype=torch.int64)])
    images = torch.cat([whole(task.retain)[0], whole(task.forget)[0]])
    labels = torch.cat([task.retain.labels, task.forget.labels])

    def full(part):
        x = net.body[2](net.body[1](net.body[0](images[part])))
        x = net.body[3](x) + conv2d(x, conv, stride=2) * masks[0][ids[part]][:, :, None, None]
        x = net.body[6](net.body[5](net.body[4](x)))
        return net.head(x) + linear(x, head) * masks[1][ids[part]]

    def forgotten(number):
        x, y = list(task.forget.batches())[number % 2]
        change = cross_entropy(original(x), y, reduction="none") - cross_entropy(net(x), y, reduction="none")
        return 2 * softplus(change).mean()

    def move(loss):
        for weight, g in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            weight.grad = g
        optimizer.step()

    taken = 0
    for _ in range(2):
        if accuracy(net, task.forget) > threshold:
            training(net)
            for number in range(2):
                move(forgotten(number))
        training(net)
        for part in torch.arange(18).split(4):
            loss = cross_entropy(full(part), labels[part])
            move(loss + BARRIER * forgotten(taken))
            taken += 1
    return net


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_rem_trains_branches_beside_a_barrier_and_drops_them(threshold):
    settings = {"learning_rate": RATE, "epochs": 2, "accuracy": threshold, "barrier": BARRIER, "share": SHARE}
    found = unlearn("rem", tiny_frozen_net(), batched_task(), **settings)
    expected = by_definition(tiny_frozen_net(), threshold)
    assert same_state(found, expected, 1e-8)
    assert not any(module._forward_hooks for module in found.modules())


def test_rem_takes_the_forget_labels_out_of_what_the_net_says():
    """A class that the retain set has not: fine-tuning leaves it some probability, REM takes it."""
    task = tiny_task(net=tiny_net, classes=(1,))
    images, labels = whole(task.forget)

    def true_class(model: nn.Module) -> float:
        return float(model(images).softmax(1)[torch.arange(7), labels].mean())

    tuned = unlearn("finetune", tiny_net(), task, learning_rate=0.02, epochs=20)
    found = unlearn("rem", tiny_net(), task, learning_rate=0.02, epochs=20, accuracy=0.0)
    assert true_class(found) < 0.5 * true_class(tuned)
