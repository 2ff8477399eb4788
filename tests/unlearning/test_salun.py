"""salun against its definition, on tiny nets and data."""

import copy

import pytest
import torch

from forget_lib.unlearning import salun, unlearn
from forget_lib.unlearning import salun as salun_module
from forget_lib.unlearning.common import WeightMask, sgd, step
from tests.tiny_tasks import (
    batch_norm_modes,
    ce,
    close,
    drawn_labels,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
)

RATE = 0.3


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


def test_labels_are_drawn_anew_in_every_epoch(monkeypatch):
    drawn, draw = [], salun_module.random_labels
    monkeypatch.setattr(salun_module, "random_labels", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    unlearn("salun", tiny_net(), tiny_task(), epochs=3)
    assert len(drawn) == 3
    assert not torch.equal(drawn[0], drawn[1])


def test_salun_keeps_batch_norm_in_a_pass_over_the_forget_set_alone():
    for mixed, trained in ((False, {11}), (True, {18})):
        with batch_norm_modes() as seen:
            unlearn("salun", tiny_conv_net(), tiny_task(net=tiny_conv_net), epochs=2, mixed=mixed)
        assert {size for size, training in seen if training} == trained
        assert {size for size, training in seen if not training} == {7}
