"""The second part of the methods against their formulas, in double precision on a tiny net."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, softmax

from forget_lib.core.errors import ForgetError, NotApplicableError, UnknownNameError
from forget_lib.datasets.samples import concatenate
from forget_lib.models.train import Meter
from forget_lib.unlearning import dlfd, fisher, lotus, negmerge, regun, rum, sfron, unlearn
from forget_lib.unlearning import jit_lipschitz as jit
from forget_lib.unlearning.parts import task_vectors
from forget_lib.unlearning.parts.adversarial import PIXEL
from forget_lib.unlearning.parts.importance import importance_by_batch, sample_cross_entropy
from tests.tiny_tasks import (
    CLASSES,
    adam_by_hand,
    by_hand,
    ce,
    close,
    one_by_one,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    weights,
    whole,
)

RATE = 0.3
OUT_OF_RANGE = [
    ("fisher", {"alpha": 0.0}), ("fisher", {"samples": 0}), ("influence", {"damping": 0.0}),
    ("influence", {"iterations": 0}), ("jit_lipschitz", {"copies": 0}), ("jit_lipschitz", {"deviation": 0.0}),
    ("boundary_expand", {"learning_rate": 0.0}), ("lotus", {"retain_share": 1.5}), ("lotus", {"alpha": -1.0}),
    ("task_negation", {"kept": 0.0}), ("negmerge", {"repeats": 0}), ("guided_unlearning", {"ascent": 0.0}),
    ("sfron", {"every": 0}), ("sfron", {"clip_norm": 0.0}), ("dlfd", {"steps": 0}), ("dlfd", {"reach": 2.0}),
    ("certified_removal", {"delta": 2.0}), ("certified_removal", {"regularisation": 0.0}), ("sisa", {"shards": 0}),
    ("rum", {"epochs": 0}), ("fcs", {"weight_decay": -1.0}), ("msg", {"share": 0.0}), ("cfw", {"deviation": -1.0}),
    ("prmq", {"share": 0.0}), ("convolution_transpose", {"epochs": 0}), ("attack_and_reset", {"share": 0.0}),
    ("attack_and_reset", {"samples": 0}), ("rum", {"retain_share": 0.0}), ("amun", {"steps": 0}),
    ("opc", {"weight": -1.0}), ("regun", {"weight": -1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), OUT_OF_RANGE)
def test_settings_out_of_range_are_refused_by_name(name, settings):
    with pytest.raises(ForgetError, match=next(iter(settings))):
        unlearn(name, tiny_conv_net(), tiny_task(classes=(1,), net=tiny_conv_net), **settings)


# Noise


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


def test_jit_takes_a_plain_step_on_each_batch_with_a_cleared_gradient():
    task, expected = tiny_task(), tiny_net()
    noise, order = torch.Generator().manual_seed(task.seed), torch.Generator().manual_seed(0)
    order.set_state(task.forget.generator.get_state())
    for _ in range(2):
        images = whole(task.forget)[0][torch.randperm(7, generator=order)]
        noises = PIXEL * 0.1 * torch.randn((2, 7, 1, 2, 2), generator=noise).double()
        by_hand(expected, [lambda m: jit.lipschitz_loss(m, images, noises)], rate=0.1, momentum=0, decay=0)  # noqa: B023
    settings = {"learning_rate": 0.1, "epochs": 2, "copies": 2, "deviation": 0.1, "clip_norm": 1e9}
    assert close(unlearn("jit_lipschitz", tiny_net(), task, **settings), expected, 1e-9)


def test_transport_plan_has_uniform_marginals_and_prefers_the_cheap_pairs():
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(dlfd.transport_plan(cost), torch.eye(2, dtype=torch.float64) / 2, atol=1e-9)
    cost = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).double()
    plan = dlfd.transport_plan(cost, 0.1, 500)
    assert torch.allclose(plan.sum(1), torch.full((4,), 1 / 4).double(), atol=1e-6)
    assert torch.allclose(plan.sum(0), torch.full((6,), 1 / 6).double(), atol=1e-9)


def test_dlfd_moves_retain_images_away_from_the_features_and_its_literal_variant_does_not():
    away, moved = [], {}
    for literal in (False, True):
        seen = []
        task, model = tiny_task(), tiny_net()
        original = nn.Module.__call__

        def record(self, images, *rest, seen=seen, original=original):
            if isinstance(self, type(tiny_net())) and self.training:
                seen.append(images.detach().clone())
            return original(self, images, *rest)

        nn.Module.__call__ = record
        try:
            settings = {"steps": 5, "reach": 0.1, "retain_weight": 0.0, "retain_share": 1.0, "literal": literal}
            unlearn("dlfd", model, task, **settings)
        finally:
            nn.Module.__call__ = original
        moved[literal] = seen[0]
        away.append(dlfd.feature_distance(*(model.features(x) for x in (seen[0], whole(task.forget)[0]))).item())
    assert away[0] > away[1] + 0.01
    pixels = whole(tiny_task().retain)[0]
    assert all(any(torch.equal(image, other) for other in pixels) for image in moved[True])  # not moved at all


# Relabelling and distillation


def test_boundary_expand_trains_a_class_more_and_returns_the_model_without_it():
    task, expected = tiny_task(classes=(1,)), tiny_net()
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        extra = nn.Linear(5, 1).double()
    both = nn.ModuleList([expected, extra])
    images, labels = whole(task.forget)
    target = torch.full_like(labels, CLASSES)

    def loss(pair):
        features = pair[0].features(images)
        return cross_entropy(torch.cat([pair[0].head(features), pair[1](features)], 1), target)

    by_hand(both, [loss] * 3, rate=RATE)
    found = unlearn("boundary_expand", tiny_net(), task, learning_rate=RATE, epochs=3)
    assert found(images).shape == (7, CLASSES)
    assert close(found, expected, 1e-7)


def test_lotus_draws_its_targets_by_gumbel_softmax():
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64).expand(20000, 3)
    hard = lotus.gumbel_softmax(logits, torch.zeros(20000).double(), generator)
    assert torch.equal(hard.sum(1), torch.ones(20000).double())
    assert torch.allclose(hard.mean(0), softmax(logits[0], 0), atol=0.015)  # Gumbel's trick draws from the softmax
    flat = lotus.gumbel_softmax(logits, torch.full((20000,), 50.0).double(), generator)
    assert float((flat - 1 / 3).abs().max()) < 0.12


def test_lotus_flattens_only_the_forget_set_and_stops_once_it_is_as_unsure():
    task = tiny_task(classes=(1,))
    model = tiny_net()
    with torch.no_grad():
        model.head.bias[1] = -50  # never right on the forget set: nothing is left to do (δ = 0 is not ≤ -0.01)
    reached = []
    unlearn("lotus", model, replace(task, on_epoch=lambda e, m: reached.append(e)), epochs=2)
    assert reached == [0, 1, 2]
    with torch.no_grad():
        model.head.bias[1] = 0
        model.head.bias[0] = 50
    validation = tiny_samples(9, 9, batch_size=50)
    validation = validation.with_labels(torch.zeros(9, dtype=torch.int64))  # right on all of it, not on the forget set
    reached.clear()
    task = tiny_task(validation=validation, on_epoch=lambda e, m: reached.append(e))
    assert close(unlearn("lotus", model, task), model, 0)
    assert reached == [0]


def test_guided_unlearning_climbs_a_little_then_learns_the_second_choice():
    task, expected = tiny_task(), tiny_net()
    images, labels = whole(task.forget)
    logits = expected(images).detach()
    logits[torch.arange(7), labels] = -torch.inf
    second, (retain, targets) = logits.argmax(1), whole(task.retain)
    by_hand(expected, [lambda m: -ce(task.forget)(m)], rate=0.1 * RATE)
    mixture, wanted = torch.cat([retain, images]), torch.cat([targets, second])
    by_hand(expected, [lambda m: cross_entropy(m(mixture), wanted)], rate=RATE)
    settings = {"learning_rate": RATE, "epochs": 1, "ascent": 0.1, "retain_share": 1.0}
    assert close(unlearn("guided_unlearning", tiny_net(), task, **settings), expected)


def test_opc_contracts_the_logits_to_the_origin():
    task, expected = tiny_task(), tiny_net()
    images, _ = whole(task.forget)
    by_hand(expected, [lambda m: ce(task.retain)(m) + 0.5 * m(images).norm(dim=1).mean()], rate=RATE)
    assert close(unlearn("opc", tiny_net(), task, learning_rate=RATE, weight=0.5), expected, 1e-8)


@pytest.mark.parametrize("classes", [(), (1,)])
def test_regun_teaches_the_mean_output_of_held_out_samples_of_the_class(classes):
    task, expected = tiny_task(classes=classes), tiny_net()
    (images, labels), (held, held_labels) = whole(task.forget), whole(task.validation)
    p = softmax(tiny_net()(held), 1).detach()
    q = torch.stack([p[held_labels == label].mean(0) for label in range(CLASSES)])
    if classes:
        q = (q - torch.diag(torch.diag(q))) / (1 - torch.diag(q))[:, None]
    far = lambda m: kl_div(log_softmax(m(images), 1), q[labels], reduction="batchmean")  # noqa: E731
    by_hand(expected, [lambda m: ce(task.retain)(m) + 2 * far(m)], rate=RATE)
    assert close(unlearn("regun", tiny_net(), task, learning_rate=RATE, weight=2.0), expected, 1e-8)
    few = replace(task, validation=task.validation.subset(held_labels == 2))
    with pytest.raises(NotApplicableError, match="validation samples of classes"):
        unlearn("regun", tiny_net(), few)


# Task arithmetic


def test_task_negation_goes_back_along_what_fine_tuning_on_the_forget_set_did():
    task, original, tuned = tiny_task(), tiny_net(), tiny_net()
    by_hand(tuned, [ce(task.forget)] * 2, rate=0.01, decay=0)
    found = unlearn("task_negation", original, task, learning_rate=0.01, epochs=2, scale=0.7)
    for start, there, here in zip(*(map(weights, (original, tuned, found))), strict=True):
        assert torch.allclose(here, start - 0.7 * (there - start))


def test_the_scale_is_the_largest_that_keeps_the_accuracy_on_the_classes_that_stay():
    task, model = tiny_task(classes=(1,)), tiny_net()
    vector = {name: 5 * torch.randn(p.shape).double() for name, p in model.named_parameters()}
    images, labels = whole(task.validation)
    staying = labels != 1

    def accuracy(scale):
        moved = copy.deepcopy(model)
        task_vectors.move(moved, vector, scale)
        return float((moved(images[staying]).argmax(1) == labels[staying]).double().mean())

    good = [s for s in task_vectors.SCALES if accuracy(s) >= 0.95 * accuracy(0.0)] or [0.1]
    assert task_vectors.largest_scale(model, task, vector, 0.95) == max(good)


def test_negmerge_keeps_only_what_all_agree_on():
    parts = [torch.tensor(v) for v in ([1.0, -2.0, 3.0, 0.0], [3.0, 2.0, 1.0, 1.0])]
    assert torch.equal(negmerge.agreed([{"w": p} for p in parts])["w"], torch.tensor([2.0, 0.0, 2.0, 0.0]))


def test_statistics_of_batch_norm_are_taken_anew_from_the_retain_set():
    model, samples = tiny_conv_net(), tiny_samples(11, 3, batch_size=50)
    task_vectors.renew_statistics(model, samples)
    images, _ = whole(samples)
    assert torch.allclose(model.body[1].running_mean, model.body[0](images).mean((0, 2, 3)))
    assert model.body[1].momentum == 0.1


# SFRon, RUM


def test_sfron_weighs_samples_and_masks_its_ascent():
    losses = torch.tensor([1.0, 4.0, 0.25]).double()
    wanted = torch.tensor([1.0, 0.5, 2.0]).double()
    assert torch.allclose(sfron.adaptive_weights(losses, 0.5), wanted / wanted.mean())
    mask = sfron.saliency_mask({"w": torch.tensor([2.0, 1.0, 0.0])}, {"w": torch.tensor([1.0, 2.0, 0.0])}, 1.0)
    assert mask["w"].tolist() == [True, False, False]
    task, expected = tiny_task(), tiny_net()
    images, labels = whole(task.forget)
    squares = [importance_by_batch(tiny_net(), s, sample_cross_entropy, 2, 50) for s in (task.forget, task.retain)]
    mask = sfron.saliency_mask(*squares, 1.0)
    each = cross_entropy(expected(images), labels, reduction="none")
    w = each.detach() ** -0.5
    gradients = torch.autograd.grad(-0.2 * (w / w.mean() * each).mean(), list(expected.parameters()))
    speed = []
    for (name, p), g in zip(expected.named_parameters(), gradients, strict=True):
        speed.append(g * mask[name] + 5e-4 * p.detach())
        p.data.sub_(RATE * speed[-1])
    for p, g, v in zip(
        expected.parameters(), torch.autograd.grad(ce(task.retain)(expected), list(expected.parameters())), speed,
        strict=True,
    ):  # fmt: skip
        p.data.sub_(RATE * (0.9 * v + g + 5e-4 * p.detach()))
    settings = {"learning_rate": RATE, "forget_weight": 0.2, "mask_share": 1.0, "clip_norm": 1e9}
    assert close(unlearn("sfron", tiny_net(), task, **settings), expected)


def test_rum_unlearns_from_the_least_to_the_most_memorised_with_the_whole_forget_set_out_of_retain(monkeypatch):
    scores = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.8, 0.6, 0.0])
    task, seen = tiny_task(memorisation=scores), []
    images = task.forget.images

    def spy(name, model, part, **settings):
        positions = [next(i for i in range(7) if torch.equal(images[i], x)) for x in part.forget.images]
        seen.append((name, positions, len(part.retain), settings))
        return model

    monkeypatch.setattr(rum, "unlearn", spy)
    unlearn("rum", tiny_net(), task, low="ssd", middle="finetune", high="salun", retain_share=1.0)
    once = {"epochs": 1}
    assert seen == [("ssd", [1, 3, 6], 11, {}), ("finetune", [2, 5], 11, once), ("salun", [0, 4], 11, once)]
    seen.clear()
    unlearn("rum", tiny_net(), task, retain_share=0.5)
    assert [part[2] for part in seen] == [6, 6]


def test_rum_says_where_its_scores_are_from_and_refuses_itself():
    model, task = tiny_net(), tiny_task()
    images, labels = whole(task.forget)
    scores, source = rum.memorisation_of(model, task)
    assert source == "confidence"
    assert torch.allclose(scores, 1 - softmax(model(images), 1)[torch.arange(7), labels].detach())
    with pytest.raises(ForgetError, match="rum cannot be a part of itself"):
        unlearn("rum", model, task, low="rum")
    with pytest.raises(UnknownNameError, match="finetune"):
        unlearn("rum", model, task, low="finetun")
    with pytest.raises(ForgetError, match="memorisation scores"):
        unlearn("rum", model, tiny_task(memorisation=torch.ones(3)))


# Parts


def test_outputs_by_class_are_means_of_probabilities():
    logits, labels = torch.randn(6, 3).double(), torch.tensor([0, 0, 2, 2, 2, 0])
    q, there = regun.outputs_by_class(logits, labels, 3)
    assert there.tolist() == [True, False, True]
    assert torch.allclose(q[2], softmax(logits[2:5], 1).mean(0))


def test_feature_distance_is_the_cost_of_the_plan():
    a, b = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    cost = torch.stack([1 - cosine_similarity(x[None], b) for x in a])
    assert torch.allclose(dlfd.feature_distance(a, b), (dlfd.transport_plan(cost) * cost).sum())


def test_lotus_moves_by_adamw_on_soft_targets():
    """With α = 0 and one class of overwhelming logits every target is that class: one step is then Adam's."""
    task, model = tiny_task(classes=(1,)), tiny_net()
    with torch.no_grad():
        model.head.bias[0] = 200.0
    images, _ = whole(concatenate(task.forget, task.retain))
    expected = copy.deepcopy(model)
    target = torch.zeros(18, dtype=torch.int64)
    adam_by_hand(expected, [lambda m: cross_entropy(m(images), target)], rate=1e-3)
    found = unlearn("lotus", model, task, epochs=1, alpha=0.0, retain_share=1.0, batch_size=50)
    assert close(found, expected, 1e-2)
