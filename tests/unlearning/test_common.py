"""common against its definition, on tiny nets and data."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning import unlearn
from forget_lib.unlearning.common import pairs, random_part, sgd, step, train_mode
from tests.tiny_tasks import (
    ce,
    changed_tensors,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
)

RATE = 0.3


def test_pairs_shuffle_the_second_set_anew_when_it_is_used_up():
    first, second = tiny_samples(40, 1, batch_size=4), tiny_samples(8, 2, batch_size=4)
    partners = [labels.tolist() for _, (_, labels) in pairs(first, second)]
    passes = [tuple(partners[i] + partners[i + 1]) for i in range(0, 10, 2)]
    assert len(partners) == 10
    assert all(sorted(p) == sorted(second.labels.tolist()) for p in passes)
    assert len(set(passes)) > 1


def test_a_penalty_and_a_clipped_norm_are_what_autograd_and_torch_make_of_them():
    model, hand = tiny_net(), tiny_net()
    samples = tiny_samples(7, 3)
    step(sgd(model, RATE, 0, 0), ce(samples)(model), clip_norm=0.1, l1=0.02)
    (ce(samples)(hand) + 0.02 * sum(parameter.abs().sum() for parameter in hand.parameters())).backward()
    nn.utils.clip_grad_norm_(hand.parameters(), 0.1)
    torch.optim.SGD(hand.parameters(), RATE).step()
    assert close(model, hand, 1e-7)  # torch adds 1e-6 to the norm


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


def test_a_random_part_is_drawn_by_the_generator_of_the_task_and_never_empty():
    task, draws = tiny_task(), torch.Generator().manual_seed(7)
    for share, size in ((0.5, 6), (1.0, 11), (0.01, 1)):
        order = torch.randperm(11, generator=draws)[:size]
        assert torch.equal(random_part(task, task.retain, share).images, task.retain.images[order])
