"""certified_removal against its definition, on tiny nets and data."""

import pytest
import torch
from torch import Tensor

from forget_lib.unlearning import certified_removal as certified
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import tiny_net, tiny_task, whole


def head_problem(size: int = 500, width: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, width, generator=generator, dtype=torch.float64)
    labels = (x @ torch.randn(width, 3, generator=generator, dtype=torch.float64)).argmax(1)
    return x / x.norm(dim=1).max(), certified.signed(labels, 3)


def test_the_fitted_head_is_the_minimiser():
    x, signs = head_problem()
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w = certified.fit_head(x, signs, 0.01, noise).requires_grad_()
    loss = torch.log1p(torch.exp(-signs * (x @ w))).sum() + 0.01 * 500 / 2 * w.square().sum() + (noise * w).sum()
    (gradient,) = torch.autograd.grad(loss, w)
    assert float(gradient.norm()) < 1e-7


def test_removing_one_sample_is_retraining_and_the_bound_holds_over_a_hundred_removals():
    x, signs = head_problem()
    zero = torch.zeros(8, 3, dtype=torch.float64)
    start, ratios = certified.fit_head(x, signs, 0.01, zero), []
    for index in range(100):
        gone = torch.arange(500) == index
        removed, bound = certified.remove(start, x, signs, gone, 0.01)
        left = certified.gradients(removed, x[~gone], signs[~gone], 0.01, zero).norm()
        assert float(left) <= bound
        ratios.append(float(left) / bound)
        if index < 10:
            again = certified.fit_head(x[~gone], signs[~gone], 0.01, zero)
            assert float((removed - again).norm() / again.norm()) < 1e-3
            assert float((removed - again).norm()) < 0.2 * float((start - again).norm())
    assert max(ratios) > 1e-4  # the bound is loose, but not beyond use


def test_the_bound_holds_with_noise_and_over_removals_in_a_row():
    x, signs = head_problem()
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gone = torch.arange(500) < 60
    removed, bound = certified.remove(certified.fit_head(x, signs, 0.01, noise), x, signs, gone, 0.01)
    assert float(certified.gradients(removed, x[~gone], signs[~gone], 0.01, noise).norm()) <= bound


def test_certified_removal_refits_beyond_its_budget_and_changes_only_the_head():
    task, model = tiny_task(), tiny_net()
    found = unlearn("certified_removal", model, task, noise=0.0, regularisation=0.01)
    features = [torch.cat([model.features(whole(s)[0]).detach(), torch.ones(len(s), 1).double()], 1)
                for s in (task.forget, task.retain)]  # fmt: skip
    x = torch.cat(features)
    scale, labels = x.norm(dim=1).max(), torch.cat([task.forget.labels, task.retain.labels])
    signs, zero, gone = certified.signed(labels, 3), torch.zeros(6, 3).double(), torch.arange(18) < 7
    start = certified.fit_head(x / scale, signs, 0.01, zero)
    w = certified.remove(start, x / scale, signs, gone, 0.01)[0] / scale
    assert torch.allclose(found.head.weight, w[:-1].T)
    assert torch.allclose(found.head.bias, w[-1])
    assert torch.equal(found.body[1].weight, model.body[1].weight)
    assert certified.budget(2.0, 1.0, 1e-4) == pytest.approx(2 / (2 * torch.log(torch.tensor(1.5e4)).item()) ** 0.5)
    generator = torch.Generator().manual_seed(task.seed)
    first, second = (1e-3 * torch.randn(6, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    refitted = certified.fit_head(x[~gone] / scale, signs[~gone], 0.01, second) / scale
    found = unlearn("certified_removal", model, tiny_task(), noise=1e-3, regularisation=0.01)
    assert torch.allclose(found.head.weight, refitted[:-1].T, rtol=1e-6)
    assert not torch.allclose(first, second)
