"""Each method against its formula: the same update by hand, in double precision, on a tiny net."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from forget_lib.core.errors import NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, detach_meters, train
from forget_lib.unlearning import delete_distillation, scrub_rewind, unlearn
from forget_lib.unlearning.common import pairs, sgd, step, train_mode
from forget_lib.unlearning.parts.distillation import taught
from forget_lib.unlearning.random_label import random_labels
from tests.tiny_tasks import (
    CLASSES,
    adam_by_hand,
    by_hand,
    ce,
    changed_tensors,
    close,
    drawn_labels,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    weights,
    whole,
)

RATE = 0.3


# Simple methods


def test_retrain_is_a_new_model_trained_on_the_retain_set_alone():
    task, original = tiny_task(), tiny_net()
    expected = tiny_net(task.seed)
    train(expected, task.retain, task.recipe, task.seed)
    found = unlearn("retrain", original, task)
    assert close(found, expected, 0)
    shared = {id(p) for p in original.parameters()} & {id(p) for p in found.parameters()}
    assert not shared
    assert not any(torch.equal(a, b) for a, b in zip(found.parameters(), original.parameters(), strict=True))


def test_finetune_takes_plain_steps_on_the_retain_set():
    task, expected = tiny_task(), tiny_net()
    by_hand(expected, [ce(task.retain)] * 2, rate=RATE)
    assert close(unlearn("finetune", tiny_net(), task, learning_rate=RATE, epochs=2), expected)


def test_negative_gradient_climbs_and_clips():
    task, expected = tiny_task(), tiny_net()
    by_hand(expected, [lambda m: -ce(task.forget)(m)] * 2, rate=RATE)
    found = unlearn("negative_gradient", tiny_net(), task, learning_rate=RATE, epochs=2, clip_norm=1e6)
    assert close(found, expected)
    clipped = unlearn("negative_gradient", tiny_net(), task, learning_rate=1.0, epochs=1, clip_norm=1e-3)
    moved = [b - a * (1 - 5e-4) for a, b in zip(weights(tiny_net()), weights(clipped), strict=True)]
    assert math.isclose(float(torch.cat([m.flatten() for m in moved]).norm()), 1e-3, rel_tol=1e-2)


def test_negative_gradient_plus_weighs_descent_and_ascent():
    task, expected = tiny_task(), tiny_net()
    by_hand(expected, [lambda m: 0.8 * ce(task.retain)(m) - 0.2 * ce(task.forget)(m)] * 2, rate=RATE)
    found = unlearn("negative_gradient_plus", tiny_net(), task, learning_rate=RATE, epochs=2, alpha=0.8)
    assert close(found, expected)


def test_negative_gradient_plus_may_take_fewer_forget_samples_a_step():
    task = tiny_task(retain=tiny_samples(40, 5, batch_size=10))
    unlearn("negative_gradient_plus", tiny_net(), task, epochs=1, forget_batch_size=3)
    sizes = [3, 4, 3, 4]  # seven samples in batches of three; a last batch of one joins the one before
    assert task.meter.passes == 3 * (40 + sum(sizes))


def test_pairs_shuffle_the_second_set_anew_when_it_is_used_up():
    first, second = tiny_samples(40, 1, batch_size=4), tiny_samples(8, 2, batch_size=4)
    partners = [labels.tolist() for _, (_, labels) in pairs(first, second)]
    passes = [tuple(partners[i] + partners[i + 1]) for i in range(0, 10, 2)]
    assert len(partners) == 10
    assert all(sorted(p) == sorted(second.labels.tolist()) for p in passes)
    assert len(set(passes)) > 1


@pytest.mark.parametrize("labels", ["other", "any"])
def test_random_label_learns_the_drawn_labels_and_the_true_ones(labels):
    task, expected = tiny_task(), tiny_net()
    wrong = drawn_labels(task, allow_true=labels == "any")
    images = torch.cat([whole(task.retain)[0], whole(task.forget)[0]])
    targets = torch.cat([task.retain.labels, wrong])
    by_hand(expected, [lambda m: cross_entropy(m(images), targets)], rate=RATE)
    assert close(unlearn("random_label", tiny_net(), task, learning_rate=RATE, epochs=1, labels=labels), expected)


def test_random_labels_are_uniform_over_the_other_classes_or_over_all():
    task = tiny_task(forget=tiny_samples(6000, 3))
    true = task.forget.labels
    assert not (random_labels(task, allow_true=False) == true).any()
    share = (random_labels(task, allow_true=True) == true).double().mean()
    assert abs(share - 1 / CLASSES) < 0.03
    assert torch.bincount(random_labels(task, allow_true=False)).min() > 1800


def test_uniform_kl_takes_a_forget_and_a_retain_step_with_optimisers_of_their_own():
    task, expected = tiny_task(), tiny_net()
    images, _ = whole(task.forget)

    def divergence(model):
        logs = model(images).log_softmax(1)
        return (1 / CLASSES * (math.log(1 / CLASSES) - logs)).sum(1).mean()

    by_hand(expected, [divergence], rate=RATE, decay=0)
    by_hand(expected, [ce(task.retain)], rate=0.1, decay=0)
    found = unlearn("uniform_kl", tiny_net(), task, forget_rate=RATE, retain_rate=0.1, epochs=1)
    assert close(found, expected)


def test_over_forget_learns_one_wrong_label_a_sample():
    task, expected = tiny_task(), tiny_net()
    wrong = task.forget.with_labels(drawn_labels(task, allow_true=False))
    by_hand(expected, [lambda m: ce(task.retain)(m) + ce(wrong)(m)] * 2, rate=RATE)
    assert close(unlearn("over_forget", tiny_net(), task, learning_rate=RATE, epochs=2), expected)


def test_mask_logit_moves_one_bias_and_hides_the_class():
    task, original = tiny_task(classes=(1,)), tiny_net()
    found = unlearn("mask_logit", original, task)
    changed = [n for n, p in found.named_parameters() if not torch.equal(p, original.get_parameter(n))]
    assert changed == ["head.bias"]
    images = torch.cat([whole(task.forget)[0], whole(task.retain)[0]])
    logits = original(images)
    lead = (logits[:, 1] - logits[:, [0, 2]].max(1).values).max().clamp(min=1)
    assert torch.allclose(found.head.bias - original.head.bias, torch.stack([0 * lead, -2 * lead, 0 * lead]))
    assert not (found(images).argmax(1) == 1).any()


# Teachers


def kl(target, logits):
    """KL(target ‖ softmax(logits)), mean over the batch, written out."""
    logs = logits.log_softmax(1)
    return torch.where(target > 0, target * (target.clamp(min=1e-300).log() - logs), 0.0).sum(1).mean()


def test_bad_teacher_follows_the_untrained_net_on_forget_and_the_original_on_retain():
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    temperature, bad = 2.0, tiny_net(task.seed)
    forget, retain = whole(task.forget)[0], whole(task.retain)[0]
    with torch.no_grad():
        target = torch.cat([(bad(forget) / temperature).softmax(1), (original(retain) / temperature).softmax(1)])
    images = torch.cat([forget, retain])
    adam_by_hand(expected, [lambda m: kl(target, m(images) / temperature)] * 2, rate=0.1)
    settings = {"learning_rate": 0.1, "epochs": 2, "temperature": temperature, "retain_share": 1.0, "batch_size": 50}
    assert close(unlearn("bad_teacher", original, task, **settings), expected, 1e-6)


def test_bad_teacher_takes_only_a_share_of_the_retain_set():
    task = tiny_task(retain=tiny_samples(100, 5, batch_size=50))
    unlearn("bad_teacher", tiny_net(), task, retain_share=0.3, epochs=1)
    assert task.meter.passes == (7 + 30) * (1 + 3)  # each sample has one teacher


def test_a_teacher_sees_each_of_its_samples_once_unless_they_are_augmented():
    first, second = tiny_net(1), tiny_net(2)
    few, many = tiny_samples(7, 7, batch_size=4), tiny_samples(11, 11, batch_size=4)
    few, many = few.with_labels(few.labels), many.with_labels(many.labels)
    for augmentation, passes in (("none", 18), ("shift", 54)):
        meter = Meter()
        teachers = [meter.attach(net) for net in (first, second)]
        parts = [(t, replace(s, augmentation=augmentation)) for t, s in zip(teachers, (few, many), strict=True)]
        batches = taught(*parts, target=lambda logits, labels: logits + labels[:, None])
        seen = [batch for _ in range(3) for batch in batches()]
        assert sum(len(labels) for _, labels, _ in seen) == 3 * 18
        assert meter.passes == passes
        with torch.no_grad():
            for images, labels, found in seen:
                own = [net(images) + labels[:, None] for net in (first, second)]
                near = [(found - logits).abs().amax(1) < 1e-12 for logits in own]
                assert (near[0] | near[1]).all()
        detach_meters(first), detach_meters(second)


def test_a_penalty_and_a_clipped_norm_are_what_autograd_and_torch_make_of_them():
    model, hand = tiny_net(), tiny_net()
    samples = tiny_samples(7, 3)
    step(sgd(model, RATE, 0, 0), ce(samples)(model), clip_norm=0.1, l1=0.02)
    (ce(samples)(hand) + 0.02 * sum(parameter.abs().sum() for parameter in hand.parameters())).backward()
    nn.utils.clip_grad_norm_(hand.parameters(), 0.1)
    torch.optim.SGD(hand.parameters(), RATE).step()
    assert close(model, hand, 1e-7)  # torch adds 1e-6 to the norm


def scrub_losses(task, original, temperature, alpha, gamma):
    forget, retain = whole(task.forget)[0], whole(task.retain)[0]
    with torch.no_grad():
        on_forget, on_retain = ((original(x) / temperature).softmax(1) for x in (forget, retain))

    def away(model):
        return -(temperature**2) * kl(on_forget, model(forget) / temperature)

    def stay(model):
        near = temperature**2 * kl(on_retain, model(retain) / temperature)
        return gamma * ce(task.retain)(model) + alpha * near

    return away, stay


def test_scrub_takes_max_steps_first_and_min_steps_in_every_epoch():
    task, expected = tiny_task(), tiny_net(3)
    away, stay = scrub_losses(task, tiny_net(3), 4.0, 0.25, 0.75)
    # At θ0 the distance has no gradient; weight decay moves the first max-step off it.
    by_hand(expected, [away, stay, away, stay, stay], rate=RATE)
    settings = {"learning_rate": RATE, "epochs": 3, "max_epochs": 2, "alpha": 0.25, "gamma": 0.75, "temperature": 4.0}
    assert close(unlearn("scrub", tiny_net(3), task, forget_batch_size=50, **settings), expected, 1e-8)


def test_scrub_lowers_its_rate_after_the_third_epoch():
    settings = {"learning_rate": RATE, "max_epochs": 0}
    three, four = (unlearn("scrub", tiny_net(), tiny_task(), epochs=e, **settings) for e in (3, 4))
    five = unlearn("scrub", tiny_net(), tiny_task(), epochs=2, **settings)
    late = sum(float((a - b).norm()) for a, b in zip(weights(three), weights(four), strict=True))
    early = sum(float((a - b).norm()) for a, b in zip(weights(five), weights(three), strict=True))
    assert late < 0.4 * early


def test_scrub_rewind_goes_back_to_the_epoch_closest_to_the_reference():
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    settings = {"learning_rate": 0.4, "max_epochs": 5, "alpha": 0.1, "forget_batch_size": 2}

    def task():
        return tiny_task(forget=tiny_samples(7, 7, batch_size=50).with_labels(labels))

    def error(model, samples):
        return float((model(whole(samples)[0]).argmax(1) != samples.labels).double().mean())

    for seed in range(3):
        runs = [unlearn("scrub", tiny_net(seed), task(), epochs=e, **settings) for e in range(1, 6)]
        reference = error(runs[-1], task().validation)
        errors = [error(run, task().forget) for run in runs]
        best = min(range(5), key=lambda i: abs(errors[i] - reference))
        assert close(unlearn("scrub_rewind", tiny_net(seed), task(), epochs=5, **settings), runs[best], 1e-9)
    assert scrub_rewind.closest([0.9, 0.4, 0.5, 0.2], 0.45) == 1
    assert scrub_rewind.closest([0.0, 0.1, 0.8], 1.0) == 2


def test_scrub_rewind_says_when_no_validation_sample_is_of_the_forgotten_classes():
    validation = tiny_samples(9, 9)
    task = tiny_task(classes=(1,), validation=validation.with_labels(torch.zeros(9, dtype=torch.int64)))
    with pytest.raises(NotApplicableError, match="validation samples of the classes"):
        unlearn("scrub_rewind", tiny_net(), task)


def test_delete_imitates_the_original_without_the_true_class():
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    target = delete_distillation.without_true_class(logits, torch.tensor([2])).softmax(1)
    e = math.exp(1)
    assert torch.allclose(target, torch.tensor([[1 / (1 + e), e / (1 + e), 0.0]], dtype=torch.float64))
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    images, labels = whole(task.forget)
    with torch.no_grad():
        q = original(images).softmax(1)
        q[torch.arange(len(labels)), labels] = 0
        q = q / q.sum(1, keepdim=True)
    by_hand(expected, [lambda m: kl(q, m(images))] * 2, rate=RATE, decay=0)
    assert close(unlearn("delete_distillation", original, task, learning_rate=RATE, epochs=2), expected)


# What all share


@pytest.mark.parametrize("name", ["negative_gradient", "delete_distillation", "boundary_shrink"])
def test_passes_over_the_forget_set_alone_leave_running_statistics(name):
    original = tiny_conv_net()
    found = unlearn(name, original, tiny_task(net=tiny_conv_net), learning_rate=RATE)
    assert not [n for n in changed_tensors(original, found) if "running" in n or "tracked" in n]
    assert not close(found, original, 0)


def test_frozen_batch_norm_keeps_its_statistics_and_train_mode_says_so():
    model = tiny_conv_net()
    model.body[1].requires_grad_(False)
    train_mode(model)
    assert not model.body[1].training
    assert model.body[4].training
    train_mode(model, batch_norm=False)
    assert not model.body[4].training


def test_sgd_has_momentum_and_weight_decay_unless_told_otherwise():
    group = sgd(tiny_net(), 0.1).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 5e-4)


def test_forget_samples_of_any_size_fit_batch_norm():
    """Batches of one sample would stop a net with batch norm in train mode."""
    task = tiny_task(net=tiny_conv_net, retain=tiny_samples(5, 2, batch_size=2))
    for name in ("finetune", "negative_gradient_plus", "random_label", "scrub", "salun"):
        unlearn(name, tiny_conv_net(), task, epochs=1)
    one = replace(task, forget=tiny_samples(1, 3, batch_size=2))
    for name in (
        "negative_gradient_plus",
        "negative_gradient",
        "delete_distillation",
        "ssd",
        "boundary_shrink",
        "salun",
    ):
        assert isinstance(unlearn(name, tiny_conv_net(), one), nn.Module)


def test_samples_without_double_precision_work_too():
    task = tiny_task(forget=tiny_samples(7, 7, kind=Samples), retain=tiny_samples(11, 11, kind=Samples))
    assert unlearn("finetune", tiny_net().float(), task).head.weight.dtype == torch.float32
