"""langevin against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from forget_lib.statistics.privacy import gaussian_distance, noise_of_steps
from forget_lib.unlearning import langevin, unlearn
from forget_lib.unlearning.certified_removal import rows_of
from tests.tiny_tasks import changed_tensors, tiny_net, tiny_task

RATE = 1 / (0.5 + 0.1)


def problem(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True), torch.randint(0, 3, (size,), generator=generator)


def test_a_step_is_one_of_gradient_descent_on_the_regularised_loss():
    x, labels = problem(20)
    w = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = cross_entropy(x @ w, labels) + 0.1 / 2 * w.square().sum()
    (gradient,) = torch.autograd.grad(loss, w)
    found = langevin.contracted(w.detach(), x, labels, 0.1, RATE)
    assert torch.allclose(found, w.detach() - RATE * gradient)


def test_each_step_brings_any_two_heads_together_by_the_factor_of_the_accountant():
    x, labels = problem(20)
    generator = torch.Generator().manual_seed(2)
    for scale in (0.01, 1.0, 30.0):
        one, other = (scale * torch.randn(4, 3, dtype=torch.float64, generator=generator) for _ in range(2))
        moved = [langevin.contracted(w, x, labels, 0.1, RATE) for w in (one, other)]
        assert float((moved[0] - moved[1]).norm()) <= (1 - RATE * 0.1) * float((one - other).norm()) + 1e-12


def test_learning_with_and_without_the_forget_set_stays_within_the_distance():
    x, labels = problem(20)
    labels[:5] = 2 - labels[:5]  # as different as can be
    heads = []
    for first in (0, 5):
        w = torch.zeros(4, 3, dtype=torch.float64)
        for _ in range(30):
            w = langevin.contracted(w, x[first:], labels[first:], 0.1, RATE)
        heads.append(w)
    assert 0 < float((heads[0] - heads[1]).norm()) <= langevin.distance_after(30, 5, 20, 0.1, 1e9)


def test_the_distance_by_hand():
    one_step = 2 * math.sqrt(2) * (1 / 10) * RATE
    assert langevin.distance_after(1, 1, 10, 0.1, 1e9) == pytest.approx(one_step)
    assert langevin.distance_after(2, 1, 10, 0.1, 1e9) == pytest.approx(one_step * (1 + 1 - RATE * 0.1))
    assert langevin.distance_after(50, 1, 10, 0.1, 0.25) == 0.5


def test_rows_have_length_one_each_by_itself():
    task, model = tiny_task(), tiny_net().eval()
    rows, length = rows_of(model, task.retain, task.meter)
    assert torch.allclose(rows.norm(dim=1), torch.ones(11, dtype=torch.float64))
    alone, _ = rows_of(model, task.retain.subset(torch.tensor([3, 4])), task.meter)
    assert torch.allclose(alone, rows[3:5])
    assert length > 1


def test_learns_a_head_then_goes_on_without_the_forget_set():
    task, original = tiny_task(), tiny_net().eval()
    settings = {"regularisation": 0.1, "learning_steps": 3, "steps": 2, "radius": 0.4}
    found = unlearn("langevin", original, task, epsilon=2.0, **settings)
    noise = noise_of_steps(gaussian_distance(2.0, 1e-5), 2, 1 - RATE * 0.1, 0.8, 0.0)
    (forget, _), (retain, length) = (rows_of(original, part, task.meter) for part in (task.forget, task.retain))
    everything, labels = torch.cat([forget, retain]), torch.cat([task.forget.labels, task.retain.labels])
    w, generator = torch.zeros(6, 3, dtype=torch.float64), torch.Generator().manual_seed(7)
    for rows, targets in [(everything, labels)] * 3 + [(retain, task.retain.labels)] * 2:
        w = langevin.contracted(w, rows, targets, 0.1, RATE)
        w += noise * torch.randn(6, 3, generator=generator, dtype=torch.float64)
        w *= min(1.0, 0.4 / float(w.norm()))
    assert torch.allclose(found.head.weight, w[:-1].T / length)
    assert torch.allclose(found.head.bias, w[-1] / length)
    assert changed_tensors(original, found) == {"head.weight", "head.bias"}
    assert task.facts["noise"] == pytest.approx(noise)


def test_the_guarantee_is_of_the_whole_model_only_where_nothing_else_is_trained():
    task = tiny_task()
    unlearn("langevin", tiny_net(), task)
    assert task.facts["scope"] == "the head; the features saw the forget set"
    net, frozen = tiny_net(), tiny_task()
    net.body.requires_grad_(False)
    unlearn("langevin", net, frozen)
    assert frozen.facts["scope"] == "all trained weights"


def test_more_steps_without_the_forget_set_need_less_noise():
    noises = []
    for steps in (1, 10, 100):
        task = tiny_task()
        unlearn("langevin", tiny_net(), task, steps=steps)
        noises.append(task.facts["noise"])
    assert noises[0] > 3 * noises[1] > 30 * noises[2]
