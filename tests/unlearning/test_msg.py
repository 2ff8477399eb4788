"""msg against its definition, on tiny nets and data."""

import copy
from dataclasses import replace

import torch

from forget_lib.unlearning import msg, unlearn
from forget_lib.unlearning.common import sgd
from forget_lib.unlearning.parts.winners import repair
from tests.tiny_tasks import (
    ce,
    changed_tensors,
    tiny_conv_net,
    tiny_net,
    tiny_task,
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
