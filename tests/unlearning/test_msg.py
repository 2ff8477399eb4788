"""msg against its definition, on tiny nets and data."""

import copy
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import msg, unlearn
from forget_lib.unlearning.common import sgd
from forget_lib.unlearning.parts.winners import repair
from tests.tiny_tasks import (
    SgdByHand,
    batched_task,
    ce,
    changed_tensors,
    same_state,
    tiny_conv_net,
    tiny_frozen_net,
    tiny_net,
    tiny_task,
    training,
)


def test_msg_renews_the_weights_with_the_smallest_difference_of_gradients():
    task, model = tiny_task(net=tiny_conv_net), tiny_conv_net()
    seen = {}
    spied = replace(task, on_epoch=lambda e, m: seen.setdefault(e, copy.deepcopy(m)))
    unlearn("msg", model, spied, share=0.3)
    state = torch.Generator().manual_seed(task.seed)
    scores = msg.difference_gradient(model, replace(task, generator=state))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(task.seed))[:7]
    model.eval()
    loss = ce(task.retain.subset(order))(model) - ce(task.forget)(model)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    for name, score in scores.items():
        assert torch.allclose(score, gradients[name])
        changed = seen[0].get_parameter(name) != model.get_parameter(name)
        assert int(changed.sum()) == round(0.3 * score.numel())
        assert score.abs()[changed].max() <= score.abs()[~changed].min()
    assert changed_tensors(model, seen[0]) == {"body.0.weight", "body.3.weight"}


def test_the_rate_of_a_repair_follows_its_schedule():
    rates, model = [], tiny_net()
    optimizer = sgd(model, 0.1)
    note = lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])  # noqa: E731
    optimizer.register_step_pre_hook(note)
    repair(model, tiny_task(), 4, optimizer, msg.up_then_down)
    assert torch.allclose(torch.tensor(rates), torch.tensor([0.002, 0.05, 0.1, 0.05]))


def test_msg_moves_kept_convolution_weights_by_a_tenth_of_their_gradient():
    """With every weight drawn anew the factor is 1, with hardly any it is 0.1."""
    factors, task = [], tiny_task(net=tiny_conv_net)
    register = torch.Tensor.register_hook

    def spy(self, hook):
        if self.dim() == 4 and self.is_leaf:
            factors.append(hook(torch.ones_like(self)))
        return register(self, hook)

    torch.Tensor.register_hook = spy
    try:
        unlearn("msg", tiny_conv_net(), task, share=0.3)
    finally:
        torch.Tensor.register_hook = register
    for factor in factors:
        assert int((factor == 1).sum()) == round(0.3 * factor.numel())
        assert torch.allclose(factor[factor != 1], torch.tensor(0.1).double(), atol=1e-6)
    assert len(factors) == 2


def test_msg_in_two_epochs_of_three_batches():
    """All of it by hand: weights anew of variance 2 / (outputs · kernel), a rate that rises and falls, a tenth of the
    gradient of kept weights; the first convolution is frozen. Two thirds of the weights have no gradient at all."""
    task, expected = batched_task(), tiny_frozen_net().eval()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(task.seed))[:7]
    kernel = expected.body[3].weight
    apart = ce(task.retain.subset(order))(expected) - ce(task.forget)(expected)
    (gradient,) = torch.autograd.grad(apart, [kernel])
    chosen = gradient == 0
    assert int(chosen.sum()) == 16
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        fresh = torch.empty_like(kernel).normal_(0, (2 / (3 * 2 * 2)) ** 0.5)
    kernel.data[chosen] = fresh[chosen]
    hand, trained = SgdByHand(training(expected), 0.1), [p for p in expected.parameters() if p.requires_grad]
    place = next(i for i, parameter in enumerate(trained) if parameter is kernel)
    batches = 2 * list(task.retain.batches())
    for (images, labels), factor in zip(batches, (0.02, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3), strict=True):
        hand.rate = 0.1 * factor
        gradients = hand.gradient(cross_entropy(expected(images), labels))
        gradients[place] = gradients[place] * torch.where(chosen, 1.0, 0.1).double()
        hand.move(gradients)
    found = unlearn("msg", tiny_frozen_net(), task, learning_rate=0.1, epochs=2, share=2 / 3)
    assert same_state(found, expected, 1e-6)
