"""Methods that choose weights, layers or samples, against their formulas in double precision on a tiny net."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from forget_lib.models.recipe import Recipe
from forget_lib.models.train import Meter, train
from forget_lib.unlearning import l1_sparse, salun, unlearn, unsir
from forget_lib.unlearning.boundary_shrink import nearest_labels
from forget_lib.unlearning.common import WeightMask, frozen_copy, sgd, step
from forget_lib.unlearning.parts import dampening as dampening_module
from forget_lib.unlearning.parts import importance
from forget_lib.unlearning.parts import layers as layers_module
from forget_lib.unlearning.parts.adversarial import fast_gradient_sign
from tests.tiny_tasks import (
    CLASSES,
    adam_by_hand,
    by_hand,
    ce,
    changed_tensors,
    close,
    drawn_labels,
    one_by_one,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)

RATE = 0.3


# Noise, layers, sparsity


def test_unsir_noise_minimises_minus_cross_entropy_plus_its_size():
    logits = torch.tensor([[0.0, 0.0, math.log(2)]], dtype=torch.float64)
    noise = torch.tensor([[[[1.0, 2.0], [0.0, 2.0]]]], dtype=torch.float64)
    assert math.isclose(float(unsir.noise_loss(logits, torch.tensor([2]), noise)), -math.log(2) + 0.1 * 9)
    task = tiny_task(classes=(1,))
    start = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(task.seed)).double()
    noise, labels = unsir.learn_noise(tiny_net(), task, 4, 1, 0.1)
    begin = start.clone().requires_grad_()
    loss = (
        -cross_entropy(tiny_net()(begin), torch.ones(4, dtype=torch.int64)) + 0.1 * begin.square().sum((1, 2, 3)).mean()
    )
    (gradient,) = torch.autograd.grad(loss, begin)
    assert torch.allclose(noise, start - 0.1 * gradient.sign(), atol=1e-5)  # the first step of Adam
    assert labels.tolist() == [1] * 4


def test_unsir_labels_the_noise_of_each_class_with_that_class():
    _, labels = unsir.learn_noise(tiny_net(), tiny_task(classes=(0, 2)), 3, 1, 0.1)
    assert labels.tolist() == [0, 0, 0, 2, 2, 2]


def test_unsir_impairs_on_noise_and_retain_then_repairs_on_retain():
    task, expected = tiny_task(classes=(1,)), tiny_net()
    noise = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(task.seed)).double()
    images, labels = whole(task.retain)
    mixture = torch.cat([noise, noise, images])
    targets = torch.cat([torch.ones(8, dtype=torch.int64), labels])
    adam_by_hand(expected, [lambda m: cross_entropy(m(mixture), targets)], rate=0.1)
    adam_by_hand(expected, [ce(task.retain)], rate=0.05)
    settings = {"noise_steps": 0, "noise_count": 4, "noise_copies": 2, "impair_rate": 0.1, "repair_rate": 0.05}
    assert close(unlearn("unsir", tiny_net(), task, **settings), expected, 1e-6)


def test_some_of_each_class_is_balanced():
    part = unsir.some_of_each_class(tiny_task(retain=tiny_samples(30, 1)), 4)
    assert torch.bincount(part.labels).tolist() == [4, 4, 4]


LAST_TWO = {"body.3.weight", "body.4.weight", "body.4.bias", "head.weight", "head.bias"}
LAST_TWO_STATISTICS = {"body.4.running_mean", "body.4.running_var", "body.4.num_batches_tracked"}


def test_cf_k_changes_the_last_k_layers_and_no_other_tensor():
    task, original = tiny_task(net=tiny_conv_net), tiny_conv_net()
    assert changed_tensors(original, unlearn("cf_k", original, task, k=1)) == {"head.weight", "head.bias"}
    assert changed_tensors(original, unlearn("cf_k", original, task, k=2)) == LAST_TWO | LAST_TWO_STATISTICS
    everything = changed_tensors(original, unlearn("cf_k", original, task, k=3))
    assert everything == set(original.state_dict())


def test_cf_k_of_all_layers_is_fine_tuning():
    settings = {"learning_rate": RATE, "epochs": 2}
    assert close(
        unlearn("cf_k", tiny_net(), tiny_task(), k=2, **settings),
        unlearn("finetune", tiny_net(), tiny_task(), **settings),
    )


def test_eu_k_starts_the_last_k_layers_from_a_fresh_model_and_keeps_the_others():
    seen = {}
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.update({e: copy.deepcopy(m.state_dict())}))
    original, fresh = tiny_conv_net(1), tiny_conv_net(task.seed).state_dict()
    found = unlearn("eu_k", original, task, k=2)
    for name, value in seen[0].items():
        reset = name in LAST_TWO | LAST_TWO_STATISTICS
        assert torch.equal(value, fresh[name] if reset else original.state_dict()[name]), name
    assert changed_tensors(original, found) == LAST_TWO | LAST_TWO_STATISTICS
    assert max(seen) == task.recipe.epochs
    assert max(seen) == 2
    unlearn("eu_k", original, tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.update({e: None})), epochs=5)
    assert max(seen) == 5


def test_eu_k_of_all_layers_trains_as_the_recipe_does():
    task = tiny_task(recipe=Recipe(epochs=3, batch_size=50, learning_rate=0.05))
    expected = tiny_net(task.seed)
    train(expected, task.retain, task.recipe, task.seed)
    assert close(unlearn("eu_k", tiny_net(), task, k=2), expected, 1e-8)


def test_last_layers_are_counted_from_the_head():
    assert layers_module.last_layers(tiny_conv_net(), tiny_task(), 1) == ["head"]
    assert layers_module.last_layers(tiny_conv_net(), tiny_task(), 2) == ["body.3", "body.4", "head"]


def test_l1_sparse_adds_a_fading_penalty_on_all_weights():
    assert [l1_sparse.penalty_at(e, 4, 0.4) for e in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert [l1_sparse.penalty_at(e, 4, 0.4, 2) for e in range(4)] == pytest.approx([0.4, 0.2, 0, 0])
    task, expected = tiny_task(), tiny_net()

    def loss(weight):
        return lambda m: ce(task.retain)(m) + weight * sum(p.abs().sum() for p in m.parameters())

    by_hand(expected, [loss(0.1), loss(0.05)], rate=RATE)
    assert close(unlearn("l1_sparse", tiny_net(), task, learning_rate=RATE, epochs=2, alpha=0.1), expected)


# Saliency


def test_salun_mask_holds_the_largest_gradients_of_the_forget_loss():
    task, model = tiny_task(forget=tiny_samples(7, 7, batch_size=2)), tiny_net()
    gradient = torch.autograd.grad(ce(task.forget)(model), list(model.parameters()))
    found = salun.forget_gradient(model, task)
    for name, g in zip(dict(model.named_parameters()), gradient, strict=True):
        assert torch.allclose(found[name], g.abs())
    flat = torch.cat([g.abs().flatten() for g in gradient])
    for share in (0.1, 0.5, 1.0):
        mask = torch.cat([part.flatten() for part in salun.top_share(found, share).values()])
        assert int(mask.sum()) == round(share * 43)
        assert not (~mask).any() or flat[mask].min() >= flat[~mask].max()


def test_salun_moves_no_masked_weight_and_all_others_as_random_label_would():
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    wrong = task.forget.with_labels(drawn_labels(task, allow_true=True))
    gradient = torch.autograd.grad(ce(task.forget)(expected), list(expected.parameters()))
    flat = torch.cat([g.abs().flatten() for g in gradient])
    limit = flat.sort(descending=True).values[round(0.4 * 43) - 1]
    free = [g.abs() >= limit for g in gradient]
    speed = [torch.zeros_like(p) for p in expected.parameters()]
    for samples in (wrong, task.retain):
        gradients = torch.autograd.grad(ce(samples)(expected), list(expected.parameters()))
        for p, g, v, m in zip(expected.parameters(), gradients, speed, free, strict=True):
            with torch.no_grad():
                v.mul_(0.9).add_((g + 5e-4 * p) * m)
                p.sub_(RATE * v)
    assert close(unlearn("salun", original, task, learning_rate=RATE, epochs=1, share=0.4), expected)


@pytest.mark.parametrize("mixed", [True, False])
def test_salun_masked_weights_keep_their_bits_under_momentum_and_weight_decay(mixed):
    task, original = tiny_task(net=tiny_conv_net), tiny_conv_net()
    mask = salun.top_share(salun.forget_gradient(copy.deepcopy(original), task), 0.3)
    found = unlearn("salun", original, task, learning_rate=RATE, epochs=4, share=0.3, mixed=mixed)
    for name, parameter in found.named_parameters():
        before = original.get_parameter(name)
        assert torch.equal(parameter[~mask[name]], before[~mask[name]]), name
        assert not mask[name].any() or not torch.equal(parameter[mask[name]], before[mask[name]])


# Importances and dampening


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


def test_dampening_by_hand():
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 4.0]]))
    forget = {"weight": torch.tensor([[20.0, 40.0, 9.0, 5.0]])}
    everything = {"weight": torch.tensor([[1.0, 1.0, 1.0, 0.0]])}
    # Ratios 20, 40, 9 and infinite; above α = 10: first, second and fourth; factors λ / ratio.
    assert dampening_module.dampen(model, forget, everything, alpha=10.0, strength=2.0) == 3
    assert torch.allclose(model.weight, torch.tensor([[1 * 2 / 20, -2 * 2 / 40, 3.0, 0.0]]))
    dampening_module.dampen(model, forget, everything, alpha=10.0, strength=100.0)  # never grows a weight
    assert torch.allclose(model.weight, torch.tensor([[0.1, -0.1, 3.0, 0.0]]))


@pytest.mark.parametrize("convention", ["sample", "batch"])
@pytest.mark.parametrize(
    ("name", "losses", "power"),
    [("ssd", importance.sample_cross_entropy, 2), ("lfssd", importance.sample_output_norm, 1)],
)
def test_ssd_dampens_by_forget_against_all_training_data(name, losses, power, convention):
    task, expected = tiny_task(classes=(1,)), tiny_net()

    def mean_power(batches):
        sums = [torch.zeros_like(p) for p in expected.parameters()]
        for images, labels in batches:
            gradients = torch.autograd.grad(losses(expected(images), labels).mean(), list(expected.parameters()))
            sums = [s + g.abs() ** power / len(batches) for s, g in zip(sums, gradients, strict=True)]
        return sums

    forget, retain = (one_by_one(samples) for samples in (task.forget, task.retain))
    everything = forget + retain
    if convention == "batch":
        forget, everything = ([tuple(map(torch.cat, zip(*part, strict=True)))] for part in (forget, everything))
    chosen = 0
    for parameter, f, d in zip(expected.parameters(), mean_power(forget), mean_power(everything), strict=True):
        with torch.no_grad():
            chosen += int((f > 1.2 * d).sum())
            parameter.copy_(torch.where(f > 1.2 * d, parameter * (0.9 * d / f).clamp(max=1), parameter))
    found = unlearn(name, tiny_net(), task, alpha=1.2, strength=0.9, importance=convention, batch_size=50)
    assert 0 < chosen < 43
    assert close(found, expected, 1e-7)


def test_ssd_by_sample_has_ratios_of_at_most_all_over_forget():
    task = tiny_task(classes=(1,))
    original = tiny_net()
    assert close(unlearn("ssd", original, task, importance="sample", alpha=18 / 7 + 1e-9), original, 0)
    assert not close(unlearn("ssd", original, task, importance="sample", alpha=1.0), original, 0)


def test_adaptive_alpha_is_the_percentile_of_the_finite_ratios():
    generator = np.random.default_rng(0)
    f, d = (torch.from_numpy(generator.random(200)) for _ in range(2))
    d[:20] = 0
    ratios = (f / d)[20:].numpy()
    q = 100 - math.log(1 + 100 * 0.25)
    assert dampening_module.adaptive_alpha({"w": f}, {"w": d}, 0.25) == pytest.approx(np.percentile(ratios, q))
    task = tiny_task(classes=(1,))
    forget, everything = dampening_module.importances(
        tiny_net(), task, importance.sample_cross_entropy, 2, "sample", 64
    )
    alpha = dampening_module.adaptive_alpha(forget, everything, 7 / 18)
    expected = unlearn("ssd", tiny_net(), task, alpha=alpha, importance="sample")
    assert close(unlearn("adaptive_ssd", tiny_net(), task, importance="sample"), expected)


# Boundary


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


def test_a_weight_mask_holds_some_weights_to_the_bit_and_the_others_move_as_if_they_were_alone():
    model, start, hand = tiny_net(), dict(tiny_net().named_parameters()), tiny_net()
    free = {name: torch.arange(p.numel()).view_as(p) % 2 == 0 for name, p in model.named_parameters()}
    mask, optimizer, loss = WeightMask(model, free), sgd(model, RATE), ce(tiny_samples(7, 3))
    speed = [torch.zeros_like(parameter) for parameter in hand.parameters()]
    for _ in range(3):
        step(optimizer, loss(model))
        mask.hold()
        gradients = torch.autograd.grad(loss(hand), list(hand.parameters()))
        for (name, parameter), gradient, v in zip(hand.named_parameters(), gradients, speed, strict=True):
            v.mul_(0.9).add_((gradient + 5e-4 * parameter.detach()) * free[name])
            parameter.data.sub_(RATE * v)
    assert close(model, hand)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter[~free[name]], start[name][~free[name]])
