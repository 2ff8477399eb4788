"""boundary_shrink against its definition, on tiny nets and data."""

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import unlearn
from forget_lib.unlearning.boundary_shrink import nearest_labels
from forget_lib.unlearning.common import frozen_copy
from forget_lib.unlearning.parts.adversarial import fast_gradient_sign
from tests.tiny_tasks import (
    batch_norm_modes,
    by_hand,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_boundary_shrink_finds_the_neighbour_and_learns_its_class():
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    images, labels = whole(task.forget)
    moving = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(original(moving), labels), moving)
    pixels = (((images + 2) / 4 + 0.1 * gradient.sign()).clamp(0, 1) * 255).round() / 255
    moved = fast_gradient_sign(frozen_copy(original), images, labels, 0.1)
    assert torch.allclose(moved, pixels * 4 - 2, atol=1e-6)
    logits = original(moved)
    logits[torch.arange(len(labels)), labels] = -torch.inf
    near = logits.argmax(1)
    assert torch.equal(nearest_labels(frozen_copy(original), task.forget, 0.1), near)
    assert not (near == labels).any()
    by_hand(expected, [lambda m: cross_entropy(m(images), near)] * 2, rate=RATE)
    assert close(unlearn("boundary_shrink", original, task, learning_rate=RATE, epochs=2), expected)


def test_batch_norm_stays_in_all_passes():
    with batch_norm_modes() as seen:
        unlearn("boundary_shrink", tiny_conv_net(), tiny_task(classes=(1,), net=tiny_conv_net), epochs=2)
    assert {training for _, training in seen} == {False}
