"""noisy_finetune against its definition, on tiny nets and data."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.nn.functional import cross_entropy

from forget_lib.core.errors import ForgetError
from forget_lib.models.train import train
from forget_lib.statistics.privacy import gaussian_distance, noise_of_steps
from forget_lib.study.tuning import load_spaces
from forget_lib.unlearning import get_method, list_methods, noisy_finetune, unlearn, why_not_applicable
from forget_lib.unlearning.parts.private import add_noise, clip
from tests.tiny_tasks import changed_tensors, close, tiny_conv_net, tiny_net, tiny_samples, tiny_task, weights

SETTINGS = {"start_clip": 0.5, "gradient_clip": 0.3, "learning_rate": 0.1, "keep": 0.8, "steps": 5, "epochs": 1}


def noise_of(epsilon: float, delta: float = 1e-5) -> float:
    return noise_of_steps(gaussian_distance(epsilon, delta), 5, 0.8, 1.0, 2 * 0.1 * 0.3)


def test_tensors_are_clipped_together_and_only_if_they_are_longer():
    tensors = [torch.tensor([3.0]), torch.tensor([[4.0, 0.0]])]
    clip(tensors, 1.0)
    assert torch.cat([tensor.flatten() for tensor in tensors]).tolist() == pytest.approx([0.6, 0.8, 0.0])
    clip(tensors, 2.0)
    assert tensors[0].item() == pytest.approx(0.6)


def test_noise_has_the_deviation_asked_for():
    tensors = [torch.zeros(100, 100), torch.zeros(5000)]
    add_noise(tensors, 0.3, torch.Generator().manual_seed(0))
    assert [float(tensor.std()) for tensor in tensors] == pytest.approx([0.3, 0.3], rel=0.03)


def test_noisy_steps_from_clipped_weights_then_the_recipe_without_noise():
    task, expected = tiny_task(retain=tiny_samples(11, 11, batch_size=4)), tiny_net()
    generator = torch.Generator().manual_seed(7)
    values = [parameter.detach() for parameter in expected.parameters()]
    length = torch.cat([value.flatten() for value in values]).norm()
    assert length > 0.5
    for value in values:
        value.mul_(0.5 / length)
    for images, labels in islice(tiny_samples(11, 11, batch_size=4).forever(), 5):
        gradients = torch.autograd.grad(cross_entropy(expected(images), labels), list(expected.parameters()))
        longest = max(1.0, float(torch.cat([g.flatten() for g in gradients]).norm()) / 0.3)
        for value, gradient in zip(values, gradients, strict=True):
            value.copy_(0.8 * value - 0.1 * gradient / longest)
        for value in values:
            value.add_(noise_of(2.0) * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    retain = replace(task.retain, generator=torch.Generator())
    train(expected, retain, replace(task.recipe, epochs=1), task.seed)
    assert close(unlearn("noisy_finetune", tiny_net(), task, epsilon=2.0, **SETTINGS), expected, 1e-8)
    assert task.facts == {"epsilon": 2.0, "delta": 1e-5, "noise": noise_of(2.0), "scope": "all trained weights"}


def test_two_starts_end_no_further_apart_than_the_noise_hides(monkeypatch):
    """With the same noise; however different the nets were, and however far the loss drives them."""
    monkeypatch.setattr(noisy_finetune, "train", lambda *_: None)
    ends = []
    for seed, scale in ((0, 1.0), (1, -30.0)):
        start, task = tiny_net(seed), tiny_task(retain=tiny_samples(11, 11, batch_size=4))
        for parameter in start.parameters():
            parameter.data.mul_(scale)
        found = unlearn("noisy_finetune", start, task, **SETTINGS)
        ends.append(torch.cat([weight.flatten() for weight in weights(found)]))
    shift = 2 * 0.1 * 0.3
    assert 0 < float((ends[0] - ends[1]).norm()) <= 0.8**5 * 1.0 + shift * sum(0.8**k for k in range(5))


def test_less_epsilon_is_more_noise_and_more_steps_do_not_add_up():
    assert noise_of(0.5) > noise_of(1.0) > noise_of(1.0, delta=1e-3)
    hidden = gaussian_distance(1.0, 1e-5)
    assert noise_of_steps(hidden, 100, 0.925, 0.01, 1e-4) < noise_of_steps(hidden, 1, 0.925, 0.01, 1e-4)


def test_running_statistics_would_carry_the_forget_set_past_the_noise():
    reason = why_not_applicable("noisy_finetune", tiny_conv_net(), tiny_task(net=tiny_conv_net))
    assert reason == "noisy_finetune needs: no running statistics"


def test_a_frozen_layer_keeps_its_bits():
    def fresh(seed: int = 0) -> torch.nn.Module:
        net = tiny_net(seed)
        net.body[1].requires_grad_(False)
        return net

    original = fresh()
    found = unlearn("noisy_finetune", original, tiny_task(net=fresh), **SETTINGS)
    assert changed_tensors(original, found) == {"head.weight", "head.bias"}


def test_what_a_guarantee_rests_on_is_never_tuned():
    certified = [name for name in list_methods() if get_method(name).family == "certified"]
    assert certified == ["dp_sgd", "langevin", "noisy_finetune"]
    assert not set(certified) & set(load_spaces())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("noisy_finetune", {"epsilon": 0.0}),
        ("noisy_finetune", {"keep": 1.5}),
        ("langevin", {"delta": 2.0}),
        ("dp_sgd", {"epsilon": 501.0}),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, settings):
    with pytest.raises(ForgetError, match=next(iter(settings))):
        unlearn(name, tiny_net(), tiny_task(), **settings)
