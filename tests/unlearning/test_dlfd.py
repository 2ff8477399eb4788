"""dlfd against its definition, on tiny nets and data."""

import copy

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from forget_lib.unlearning import dlfd, unlearn
from forget_lib.unlearning.common import frozen_copy
from forget_lib.unlearning.parts.adversarial import HIGH, LOW, PIXEL
from tests.tiny_tasks import (
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


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


def test_feature_distance_is_the_cost_of_the_plan():
    a, b = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    cost = torch.stack([1 - cosine_similarity(x[None], b) for x in a])
    assert torch.allclose(dlfd.feature_distance(a, b), (dlfd.transport_plan(cost) * cost).sum())


def test_dlfd_moves_up_the_distance_and_down_the_loss_with_a_weight_that_grows_within_the_range(monkeypatch):
    """Two batches of one epoch: the weight of the loss is 0 for the first and w_r for the second."""
    learned, step = [], dlfd.step
    task, model = tiny_task(retain=tiny_samples(8, 5, batch_size=4)), tiny_net()
    states = [copy.deepcopy(model)]
    given, call = [], dlfd.pairs
    monkeypatch.setattr(dlfd, "pairs", lambda *a: (given.append(p) or p for p in call(*a)))
    monkeypatch.setattr(dlfd, "step", lambda o, loss: (step(o, loss), states.append(copy.deepcopy(model_of(o)))))
    model_of = lambda _o: seen[-1]  # noqa: E731
    seen = [model]
    original = type(model).forward

    def forward(self, images):
        if self.training:
            learned.append(images.detach().clone())
            seen.append(self)
        return original(self, images)

    monkeypatch.setattr(type(model), "forward", forward)
    settings = {"steps": 1, "reach": 0.4, "retain_share": 1.0, "forget_weight": 1.0, "retain_weight": 5.0}
    unlearn("dlfd", model, task, **settings)
    for number, ((images, labels), (others, _)) in enumerate(given):
        frozen = frozen_copy(states[number])
        moving = images.clone().requires_grad_()
        distance = dlfd.feature_distance(frozen.features(moving), frozen.features(others))
        loss = cross_entropy(frozen.head(frozen.features(moving)), labels)
        (gradient,) = torch.autograd.grad(distance - 5.0 * number * loss, moving)
        assert torch.allclose(learned[number], (images + 0.4 * PIXEL * gradient.sign()).clamp(LOW, HIGH))
