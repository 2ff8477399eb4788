"""dp_sgd against its definition, on tiny nets and data."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import accuracy
from forget_lib.statistics.privacy import for_one_of, sampled_noise
from forget_lib.unlearning import unlearn
from forget_lib.unlearning.parts import private
from tests.tiny_tasks import one_by_one, tiny_net, tiny_samples, tiny_task, whole


def clipped_by_hand(model, samples, longest):
    total = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for images, labels in one_by_one(samples):
        gradients = torch.autograd.grad(cross_entropy(model(images), labels), list(model.parameters()))
        length = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += gradient * min(1.0, longest / length)
    return total


@pytest.mark.parametrize("longest", [0.5, 1.5, 100.0])
def test_each_gradient_is_clipped_by_itself_and_none_outweighs_another(longest):
    task, model = tiny_task(), tiny_net()
    sums = private.ClippedSum(model, longest, task.meter, chunk=4)
    found = sums.of(*whole(task.retain))
    for a, b in zip(found, clipped_by_hand(model, task.retain, longest), strict=True):
        assert torch.allclose(a, b)
    assert task.meter.passes == 3 * 11
    with_one = sums.of(*whole(task.retain.subset(torch.arange(1, 11))))
    apart = torch.cat([(a - b).flatten() for a, b in zip(found, with_one, strict=True)]).norm()
    assert float(apart) <= longest * (1 + 1e-9)


def test_a_step_on_a_random_batch_with_noise(monkeypatch):
    monkeypatch.setattr("forget_lib.unlearning.dp_sgd.normalise", lambda images: images.double() * 4 / 255 - 2)
    task = tiny_task()
    settings = {"epsilon": 100.0, "steps": 2, "batch_share": 0.5, "clip_norm": 0.3, "learning_rate": 0.2}
    found = unlearn("dp_sgd", tiny_net(3), task, **settings)
    expected, generator = tiny_net(task.seed), torch.Generator().manual_seed(7)
    noise = sampled_noise(*for_one_of(100.0, 1e-5, 7), 0.5, 2)
    images, labels = (torch.cat([getattr(p, n) for p in (task.forget, task.retain)]) for n in ("images", "labels"))
    for _ in range(2):
        drawn = torch.rand(18, generator=generator) < 0.5
        assert 0 < drawn.sum() < 18
        part = tiny_samples(1, 0).__class__(images[drawn], labels[drawn])
        total = clipped_by_hand(expected, part, 0.3)
        for parameter, sum_ in zip(expected.parameters(), total, strict=True):
            sum_ += noise * 0.3 * torch.randn(sum_.shape, generator=generator, dtype=sum_.dtype)
            parameter.data -= 0.2 / 9 * sum_
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-10)
    assert task.facts["noise"] == noise
    assert task.facts["epsilon_of_one"] == pytest.approx(100 / 7)
    assert task.meter.passes == 0, "to forget costs nothing; the training is the set-up"


def test_the_original_plays_no_part():
    first, second = (unlearn("dp_sgd", tiny_net(seed).float(), float_task(), steps=3) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def float_task():
    parts = {name: tiny_samples(n, n, kind=Samples, batch_size=50) for name, n in (("forget", 7), ("retain", 11))}
    return tiny_task(net=lambda seed: tiny_net(seed).float(), **parts)


def test_a_larger_group_needs_more_noise_and_little_noise_learns():
    assert sampled_noise(*for_one_of(1.0, 1e-5, 10), 0.1, 20) > 5 * sampled_noise(1.0, 1e-5, 0.1, 20)
    images = torch.cat([torch.zeros(60, 1, 2, 2), torch.full((60, 1, 2, 2), 255.0)]).to(torch.uint8)
    blobs = Samples(images, torch.arange(120) // 60, batch_size=50)
    forget, retain = blobs.subset(torch.arange(120) == 5), blobs.subset(torch.arange(120) != 5)
    task = tiny_task(net=lambda seed: tiny_net(seed).float(), forget=forget, retain=retain)
    found = unlearn("dp_sgd", tiny_net().float(), task, epsilon=5.0, steps=50, batch_share=0.2)
    assert accuracy(found, retain) == 1.0
