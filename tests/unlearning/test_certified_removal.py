"""certified_removal against its definition, on tiny nets and data."""

import math

import pytest
import torch
from torch import Tensor

from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.study.tuning import load_spaces
from forget_lib.unlearning import certified_removal as certified
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import tiny_net, tiny_samples, tiny_task, whole


def head_problem(size: int = 500, width: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, width, generator=generator, dtype=torch.float64)
    labels = (x @ torch.randn(width, 3, generator=generator, dtype=torch.float64)).argmax(1)
    return x / x.norm(dim=1).max(), certified.signed(labels, 3)


def test_the_fitted_head_is_the_minimiser():
    x, signs = head_problem()
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w = certified.fit_head(x, signs, 0.01, noise)[0].requires_grad_()
    loss = torch.log1p(torch.exp(-signs * (x @ w))).sum() + 0.01 * 500 / 2 * w.square().sum() + (noise * w).sum()
    (gradient,) = torch.autograd.grad(loss, w)
    assert float(gradient.norm()) < 1e-7


def test_removing_one_sample_is_retraining_and_the_bound_holds_over_a_hundred_removals():
    x, signs = head_problem()
    zero = torch.zeros(8, 3, dtype=torch.float64)
    start, ratios = certified.fit_head(x, signs, 0.01, zero)[0], []
    for index in range(100):
        gone = torch.arange(500) == index
        removed, bound = certified.remove(start, x, signs, gone, 0.01)
        left = certified.gradients(removed, x[~gone], signs[~gone], 0.01, zero).norm()
        assert float(left) <= bound
        ratios.append(float(left) / bound)
        if index < 10:
            again = certified.fit_head(x[~gone], signs[~gone], 0.01, zero)[0]
            assert float((removed - again).norm() / again.norm()) < 1e-3
            assert float((removed - again).norm()) < 0.2 * float((start - again).norm())
    assert max(ratios) > 1e-4  # the bound is loose, but not beyond use


def test_the_bound_holds_with_noise_and_over_removals_in_a_row():
    x, signs = head_problem()
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gone = torch.arange(500) < 60
    removed, bound = certified.remove(certified.fit_head(x, signs, 0.01, noise)[0], x, signs, gone, 0.01)
    assert float(certified.gradients(removed, x[~gone], signs[~gone], 0.01, noise).norm()) <= bound


def rows(model, *parts: Samples) -> tuple[Tensor, float]:
    """Features and a one, each row over its length, and the mean length; written out."""
    found = [model.features(whole(part)[0]).detach() for part in parts]
    x = torch.cat([torch.cat(found), torch.ones(sum(map(len, parts)), 1).double()], 1)
    return x / x.norm(dim=1, keepdim=True), float(x.norm(dim=1).mean())


def head(model) -> Tensor:
    return torch.cat([model.head.weight.T, model.head.bias[None]]).detach()


def test_certified_removal_takes_one_step_and_refits_beyond_its_budget_and_changes_only_the_head():
    task, model = tiny_task(), tiny_net()
    found = unlearn("certified_removal", model, task, noise=0.0, regularisation=0.01)
    (x, _), (_, length) = rows(model, task.forget, task.retain), rows(model, task.retain)
    labels = torch.cat([task.forget.labels, task.retain.labels])
    signs, zero, gone = certified.signed(labels, 3), torch.zeros(6, 3).double(), torch.arange(18) < 7
    w = certified.remove(certified.fit_head(x, signs, 0.01, zero)[0], x, signs, gone, 0.01)[0]
    assert torch.allclose(head(found), w / length)
    assert torch.equal(found.body[1].weight, model.body[1].weight)
    assert task.facts["epsilon"] == math.inf  # without noise nothing is certified
    assert certified.budget(2.0, 1.0, 1e-4) == pytest.approx(2 / (2 * math.log(1.5e4)) ** 0.5)
    generator = torch.Generator().manual_seed(task.seed)
    first, second = (1e-3 * torch.randn(6, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    refitted = certified.fit_head(x[~gone], signs[~gone], 0.01, second)[0] / length
    found = unlearn("certified_removal", model, tiny_task(), noise=1e-3, regularisation=0.01)
    assert torch.allclose(head(found), refitted, rtol=1e-6)
    assert not torch.allclose(first, second)


def test_the_same_retain_set_gives_the_same_refitted_head_whichever_samples_were_removed():
    heads, settings = [], {"noise": 1e-3, "regularisation": 0.01}
    for forget in (tiny_samples(7, 7), tiny_samples(2, 8), tiny_samples(5, 9).with_labels(torch.zeros(5).long())):
        task = tiny_task(forget=forget)
        heads.append(head(unlearn("certified_removal", tiny_net(), task, **settings)))
        assert task.facts["refitted"]
    assert torch.equal(heads[0], heads[1])
    assert torch.equal(heads[0], heads[2])


def test_the_record_says_what_was_bounded_and_spent_and_a_second_request_adds_to_it():
    everything, settings = tiny_samples(400, 3), {"noise": 30.0, "regularisation": 0.05, "epsilon": 0.5, "delta": 0.01}
    parts = [everything.subset(torch.arange(*ends)) for ends in ((0, 1), (1, 2), (2, 400))]
    first = tiny_task(forget=parts[0], retain=concatenate(*parts[1:]))
    model = unlearn("certified_removal", tiny_net(), first, **settings)
    second = tiny_task(forget=parts[1], retain=parts[2])
    last = unlearn("certified_removal", model, second, spent=first.facts["spent"], **settings)
    assert first.facts["spent"] == first.facts["bound"] > 0
    assert second.facts["spent"] == first.facts["bound"] + second.facts["bound"]
    for facts in (first.facts, second.facts):
        assert (facts["epsilon"], facts["delta"], facts["refitted"]) == (0.5, 0.01, False)
        assert facts["budget"] == pytest.approx(30 * 0.5 / (2 * math.log(1.5 / 0.01)) ** 0.5)
    (x, length), noise = rows(tiny_net(), parts[2]), torch.Generator().manual_seed(first.seed)
    b = 30 * torch.randn(6, 3, generator=noise, dtype=torch.float64)
    left = certified.gradients(head(last) * length, x, certified.signed(parts[2].labels, 3), 0.05, b)
    assert 0 < float(left.norm()) <= second.facts["spent"]  # of the first head's own objective
    third = tiny_task(forget=parts[1], retain=parts[2])
    unlearn("certified_removal", model, third, spent=second.facts["budget"], **settings)
    assert third.facts["refitted"]
    assert third.facts["spent"] == 0


def test_the_bound_adds_up_over_classes_as_the_length_of_the_whole_gradient_does():
    """One class more with the same labels doubles the square of the bound; the largest of both would not."""
    x, signs = head_problem()
    gone, zero = torch.arange(500) < 20, torch.zeros(8, 1, dtype=torch.float64)
    one, two = signs[:, :1], signs[:, :1].expand(-1, 2)
    start = certified.fit_head(x, one, 0.01, zero)[0]
    moved, bound = certified.remove(start, x, one, gone, 0.01)
    change, staying = moved - start, x[~gone]
    by_hand = 0.25 * torch.linalg.svdvals(staying)[0] * change.norm() * (staying @ change).norm()
    assert bound == pytest.approx(float(by_hand), rel=1e-9)
    assert certified.remove(start.expand(-1, 2), x, two, gone, 0.01)[1] == pytest.approx(2**0.5 * bound, rel=1e-9)


def test_the_fits_are_part_of_the_cost():
    """A fit takes at least one Hessian of each class, of n d² products, on 18 or 11 samples."""
    task, model = tiny_task(), tiny_net()
    unlearn("certified_removal", model, task, noise=1e-3, regularisation=0.01)
    (x, _), signs = (
        rows(model, task.forget, task.retain),
        certified.signed(torch.cat([task.forget.labels, task.retain.labels]), 3),
    )
    noise = torch.Generator().manual_seed(task.seed)
    first, second = (1e-3 * torch.randn(6, 3, generator=noise, dtype=torch.float64) for _ in range(2))
    steps = 1 + sum(certified.fit_head(x[i:], signs[i:], 0.01, b)[1] for i, b in ((0, first), (7, second)))
    assert steps > 5
    products = steps * 3 * (18 * 6**2 + 6**3 // 3)
    assert task.meter.passes == 18 + round(products / (4 * 5 + 5 * 3))


def test_privacy_parameters_are_not_tuned():
    for space in load_spaces()["certified_removal"].values():
        assert set(space.ranges) == {"regularisation"}
