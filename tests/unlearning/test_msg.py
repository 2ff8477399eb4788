"""msg against its definition, on tiny nets and data."""

import copy
from dataclasses import replace

import torch

from forget_lib.unlearning import msg, unlearn
from tests.tiny_tasks import (
    ce,
    changed_tensors,
    tiny_conv_net,
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
