"""fisher against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, softmax

from forget_lib.models.train import Meter
from forget_lib.unlearning import fisher, unlearn
from tests.tiny_tasks import (
    CLASSES,
    one_by_one,
    tiny_net,
    tiny_samples,
    tiny_task,
)


def test_expected_fisher_is_the_mean_over_samples_of_squared_gradients_weighted_by_probability():
    model, samples = tiny_net(), tiny_samples(7, 3)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image, _ in one_by_one(samples):
        probabilities = softmax(model(image), 1)[0].detach()
        for label in range(CLASSES):
            loss = cross_entropy(model(image), torch.tensor([label]))
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            for total, gradient in zip(expected.values(), gradients, strict=True):
                total += probabilities[label] * gradient**2 / 7
    found = fisher.expected_fisher(model, samples, CLASSES, Meter())
    assert all(torch.allclose(found[name], expected[name], rtol=1e-9, atol=1e-14) for name in expected)


def test_fisher_noise_is_limited_averaged_by_unit_and_larger_on_head_and_vectors():
    information = torch.tensor([[1.0, 0.0], [0.01, 0.1]], dtype=torch.float64)
    units = torch.tensor([[(1 + 1000) / 2] * 2, [(100 + 10) / 2] * 2], dtype=torch.float64)
    head = torch.tensor([[(1 + 100) / 2] * 2, [(100 + 10) / 2] * 2], dtype=torch.float64)
    assert torch.allclose(fisher.noise_variance(information, 2.0), 2 * units, rtol=1e-6)
    assert torch.allclose(fisher.noise_variance(information, 2.0, head=True), 20 * head, rtol=1e-6)
    assert torch.allclose(fisher.noise_variance(information[0], 2.0), torch.tensor([20.0, 2e4]).double())


def test_fisher_moves_every_weight_by_its_deviation_and_redraws_the_rows_of_the_class():
    original, change = tiny_net(), []
    for seed in range(200):
        found = unlearn("fisher", original, tiny_task(classes=(1,), seed=seed), alpha=1e-4)
        assert not torch.equal(found.head.weight[0], original.head.weight[0])
        change.append(found)
    row = torch.stack([f.head.weight[1].detach() for f in change])
    assert row.mean().abs() < 4 * math.sqrt(1e-3 / row.numel())
    assert row.var() == pytest.approx(1e-3, rel=0.15)
    information = fisher.expected_fisher(original, tiny_task(classes=(1,)).retain, CLASSES, Meter())["body.1.weight"]
    moved = torch.stack([(f.body[1].weight - original.body[1].weight).detach() for f in change])
    deviation = fisher.noise_variance(information, 1e-4).sqrt()
    assert torch.allclose(moved.std(0), deviation, rtol=0.25)
