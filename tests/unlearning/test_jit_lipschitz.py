"""jit_lipschitz against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import jit_lipschitz as jit
from forget_lib.unlearning import unlearn
from forget_lib.unlearning.parts.adversarial import PIXEL
from tests.tiny_tasks import (
    batch_norm_modes,
    by_hand,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


def test_jit_loss_is_the_mean_ratio_of_distances_with_a_gradient_through_the_clean_image_alone():
    model, (images, _) = tiny_net(), whole(tiny_samples(4, 1))
    noises = torch.randn(3, *images.shape, generator=torch.Generator().manual_seed(0)).double()
    frozen, expected = tiny_net(), 0
    for noise in noises:
        moved = (images + noise).clamp(images.min(), images.max())
        for x, y in zip(images, moved, strict=True):
            apart = (model(x[None]) - frozen(y[None]).detach()).norm()
            expected = expected + apart / (x - y).norm() / 12
    found = jit.lipschitz_loss(model, images, noises)
    assert torch.isclose(found, expected)
    first, second = (torch.autograd.grad(loss, list(model.parameters())) for loss in (found, expected))
    assert all(torch.allclose(a, b) for a, b in zip(first, second, strict=True))


def test_jit_takes_a_plain_step_on_each_batch_with_a_cleared_gradient(monkeypatch):
    monkeypatch.setattr(jit, "COPIES", 2)
    monkeypatch.setattr(jit, "CLIP", 1e9)
    task, expected = tiny_task(), tiny_net()
    noise, order = torch.Generator().manual_seed(task.seed), torch.Generator().manual_seed(0)
    order.set_state(task.forget.generator.get_state())
    for _ in range(2):
        images = whole(task.forget)[0][torch.randperm(7, generator=order)]
        noises = PIXEL * 0.1 * torch.randn((2, 7, 1, 2, 2), generator=noise).double()
        by_hand(expected, [lambda m: jit.lipschitz_loss(m, images, noises)], rate=0.1, momentum=0, decay=0)  # noqa: B023
    settings = {"learning_rate": 0.1, "epochs": 2, "deviation": 0.1}
    assert close(unlearn("jit_lipschitz", tiny_net(), task, **settings), expected, 1e-9)


def test_jit_clips_its_gradient():
    """However large the rate of a first step is, it moves the weights by the rate times 1 at most."""
    found = unlearn("jit_lipschitz", tiny_net(), tiny_task(), learning_rate=0.01, epochs=1, deviation=1e-4)
    start = tiny_net()
    for parameter in start.parameters():
        parameter.data.mul_(50)
    large = unlearn("jit_lipschitz", start, tiny_task(), learning_rate=0.01, epochs=1, deviation=0.1)
    moved = sum(float((a - b).square().sum()) for a, b in zip(large.parameters(), start.parameters(), strict=True))
    assert found is not large
    assert moved**0.5 <= 0.01 * (1 + 1e-6)


def test_batch_norm_stays_in_all_passes():
    with batch_norm_modes() as seen:
        unlearn("jit_lipschitz", tiny_conv_net(), tiny_task(net=tiny_conv_net))
    assert set(seen) == {(7, False)}
