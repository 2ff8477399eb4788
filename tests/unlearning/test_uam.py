"""uam against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.core.errors import DivergedError
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import SgdByHand, batched_task, same_state, tiny_conv_net, tiny_frozen_net, tiny_task, training

RATE, REACH, EPOCHS = 0.1, 0.7, 2


def by_definition(net: torch.nn.Module) -> torch.nn.Module:
    """Two epochs of three retain batches, beside the first, second and first of two forget batches."""
    task, sgd = batched_task(), SgdByHand(training(net), RATE)
    first, second = task.forget.batches()
    forget = [first, second, first] * EPOCHS
    for done, (images, labels) in enumerate(task.retain.batches(EPOCHS)):
        others, other_labels = forget[done]
        logits = net(torch.cat([others, images]))[: len(others)]
        up = sgd.gradient(cross_entropy(logits, other_labels))
        norm = math.sqrt(sum(float(g.square().sum()) for g in up))
        distance = REACH * (1 + math.cos(math.pi * done / 6)) / 2
        before = [weight.detach().clone() for weight in sgd.weights]
        with torch.no_grad():
            for weight, g in zip(sgd.weights, up, strict=True):
                weight.add_(distance * g / norm)
        gradient = sgd.gradient(cross_entropy(net(images), labels))
        with torch.no_grad():
            for weight, value in zip(sgd.weights, before, strict=True):
                weight.copy_(value)
        sgd.move(gradient)
    return net


@pytest.mark.parametrize("fresh", [tiny_frozen_net, tiny_conv_net])
def test_uam_descends_the_retain_loss_by_its_gradient_where_the_forget_loss_is_high(fresh):
    found = unlearn("uam", fresh(), batched_task(), learning_rate=RATE, epochs=EPOCHS, reach=REACH)
    assert same_state(found, by_definition(fresh()))


def test_uam_with_a_tiny_reach_is_fine_tuning():
    task = tiny_task()
    tuned = unlearn("finetune", task.fresh_model(0), tiny_task(), learning_rate=RATE, epochs=EPOCHS)
    found = unlearn("uam", task.fresh_model(0), tiny_task(), learning_rate=RATE, epochs=EPOCHS, reach=1e-9)
    assert same_state(found, tuned, 1e-6)


def test_uam_that_diverges_says_what_to_lower():
    with pytest.raises(DivergedError, match="learning rate"):
        unlearn("uam", tiny_conv_net(), batched_task(), learning_rate=1e200, epochs=3)
