import pytest
import torch
from torch import nn

from forget_lib.core.errors import UnknownNameError
from forget_lib.models.nets import MODELS, _pool, build, count_parameters, list_models

OURS = ["mlp", "small_cnn", "small_resnet", "resnet9", "resnet18"]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_model_gives_logits_by_its_head_from_its_features(name, shape):
    net = build(name, shape, 7).eval()
    images = torch.randn(2, *shape)
    with torch.inference_mode():
        assert net(images).shape == (2, 7)
        assert torch.equal(net(images), net.head(net.features(images)))


def test_the_seed_alone_decides_the_weights_and_the_global_state_stays():
    state = torch.random.get_rng_state()
    first, again, other = (build("mlp", (1, 4, 4), 3, seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_the_mlp_has_the_published_size():
    assert count_parameters(build("mlp", (1, 28, 28), 10)) == 784 * 128 + 128 + 128 * 10 + 10


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        build("resnet-18", (1, 28, 28), 10)
    assert set(OURS) <= set(list_models()) == set(MODELS.names)


def test_relu_after_pooling_gives_the_bits_of_relu_before_it_in_values_and_gradients():
    images = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    images[:, :, :2, :2] = -images[:, :, :2, :2].abs()  # a window that ReLU empties
    images[:, :, 2:4, :2] = 1.0  # a window of equals
    weights = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    found = []
    for layers in (_pool(), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))):
        given = images.clone().requires_grad_(True)
        outputs = layers(given)
        (outputs * weights).sum().backward()
        found.append((outputs.detach(), given.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
