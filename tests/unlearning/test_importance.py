"""importance against its definition, on tiny nets and data."""

import pytest
import torch
from torch import nn

from forget_lib.models.train import Meter
from forget_lib.unlearning.parts import importance
from tests.tiny_tasks import (
    CLASSES,
    ce,
    one_by_one,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
)


class GroupedNet(nn.Module):
    """Has layers that the pass by layer does not know: group norm and a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.Tanh(), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten()
        )
        self.head = nn.Linear(4, CLASSES)

    def forward(self, images):
        return self.head(self.body(images))


class TwiceNet(nn.Module):
    """Runs one layer twice in a pass."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, images):
        return self.head(self.body(self.body(images.flatten(1)).tanh()))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("losses", [importance.sample_cross_entropy, importance.sample_output_norm])
@pytest.mark.parametrize("net", [tiny_net, tiny_conv_net, lambda: GroupedNet().double(), lambda: TwiceNet().double()])
def test_importance_by_sample_is_the_mean_power_of_each_samples_gradient(net, losses, power):
    model, samples, meter = net(), tiny_samples(7, 3), Meter()
    meter.attach(model)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    model.eval()
    for image, label in one_by_one(samples):
        gradients = torch.autograd.grad(losses(model(image), label).sum(), list(model.parameters()))
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += gradient.abs() ** power / 7
    meter.passes = 0
    found = importance.importance_by_sample(model, samples, losses, power, meter, chunk=3)
    assert meter.passes >= 3 * 7
    assert meter.passes <= 3 * (7 + 3)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-9, atol=1e-12) for name in expected)


def test_importance_by_sample_does_not_depend_on_the_batch_and_that_by_batch_does():
    model, samples = tiny_net(), tiny_samples(8, 3)

    def by_sample(chunk):
        return importance.importance_by_sample(model, samples, importance.sample_cross_entropy, 2, Meter(), chunk)

    def by_batch(size):
        return importance.importance_by_batch(model, samples, importance.sample_cross_entropy, 2, size)

    assert torch.allclose(by_sample(2)["head.weight"], by_sample(8)["head.weight"])
    assert by_batch(8)["head.weight"].sum() < 0.7 * by_batch(2)["head.weight"].sum()
    whole_gradient = torch.autograd.grad(ce(samples)(model), list(model.parameters()))
    assert torch.allclose(by_batch(8)["head.weight"], whole_gradient[2] ** 2)
