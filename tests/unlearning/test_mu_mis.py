"""mu_mis against its definition, on tiny nets and data."""

import pytest
import torch
from torch import nn

from forget_lib.models.nets import Classifier
from forget_lib.unlearning import mu_mis, unlearn
from tests.tiny_tasks import (
    CLASSES,
    SgdByHand,
    batched_task,
    same_state,
    tiny_conv_net,
    tiny_frozen_net,
    tiny_samples,
    tiny_task,
    whole,
)

RATE, WEIGHT, EPOCHS = 0.01, 0.7, 2


def other_classes(labels, generator):
    return (labels + torch.randint(1, CLASSES, labels.shape, generator=generator)) % CLASSES


def by_definition(net: nn.Module) -> nn.Module:
    """Two epochs of two forget batches, sample by sample; batch norm normalises by its statistics."""
    task, sgd = batched_task(), SgdByHand(net.eval(), RATE, momentum=0, decay=0)
    for images, labels in task.forget.batches(EPOCHS):
        loss, others = 0, other_classes(labels, task.generator)
        for image, label, other in zip(images, labels, others, strict=True):
            image = image[None].requires_grad_()
            for weight, k in ((1, label), (-WEIGHT, other)):
                (gradient,) = torch.autograd.grad(net(image)[0, k], image, create_graph=True)
                loss = loss + weight * gradient.square().sum() / len(labels)
        sgd.step(loss)
    return net


@pytest.mark.parametrize("fresh", [tiny_frozen_net, tiny_conv_net])
def test_mu_mis_lowers_the_sensitivity_of_the_true_output_and_raises_another_s(fresh):
    found = unlearn("mu_mis", fresh(), batched_task(), learning_rate=RATE, epochs=EPOCHS, other_weight=WEIGHT)
    expected = by_definition(fresh())
    assert same_state(found, expected)
    assert not same_state(found, fresh())


def test_in_a_linear_net_the_true_row_shrinks_and_another_row_grows():
    """∇_x f_k is row k, so a step takes 2 η W_y off the true row and adds 2 η λ W_y' to the other: ×0.8 and ×1.1."""

    def fresh(seed: int = 0) -> Classifier:
        torch.manual_seed(seed)
        return Classifier(nn.Flatten(), 4, CLASSES).double()

    task = tiny_task(net=fresh, forget=tiny_samples(1, 3))
    label = int(task.forget.labels[0])
    other = int(other_classes(task.forget.labels, torch.Generator().manual_seed(7))[0])
    # One sample alone is one batch; its order takes nothing from the task's generator.
    net, factors = fresh(), torch.ones(3, 1, dtype=torch.float64)
    factors[label], factors[other] = 0.8, 1.1
    found = unlearn("mu_mis", net, task, learning_rate=0.1, epochs=1, other_weight=0.5)
    assert torch.allclose(found.head.weight, net.head.weight * factors)
    assert torch.equal(found.head.bias, net.head.bias)


def test_sensitivity_is_each_sample_s_own():
    net, (images, labels) = tiny_conv_net().eval(), whole(tiny_samples(5, 5))
    images.requires_grad_()
    found = mu_mis.sensitivity(net(images), labels, images)
    for index in range(5):
        one = images[index : index + 1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net(one)[0, labels[index]], one)
        assert torch.allclose(found[index], gradient.square().sum())
