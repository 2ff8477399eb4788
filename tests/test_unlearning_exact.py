"""Methods that claim to be exact, or close to retraining by a bound: recorded updates, second order, shards."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.models.log import logged_training
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import Meter, train
from forget_lib.unlearning import certified_removal as certified
from forget_lib.unlearning import influence, sisa, unlearn
from forget_lib.unlearning.parts.voting import Voting
from tests.tiny_tasks import tiny_conv_net, tiny_net, tiny_samples, tiny_task, whole

RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=0.1)


def net(seed: int = 0) -> nn.Module:
    return build("small_cnn", (1, 8, 8), 3, seed)


def data(size: int = 24) -> Samples:
    return tiny_samples(size, 5, kind=Samples, side=8)


def state(model: nn.Module) -> list[bytes]:
    return [value.numpy().tobytes() for value in model.state_dict().values()]


# The training log and amnesiac unlearning


def test_logged_training_is_training_bit_for_bit():
    plain, logged = net(), net()
    train(plain, data(), RECIPE, 3)
    log = logged_training(logged, data(), RECIPE, 3, torch.tensor([1, 5]))
    assert state(plain) == state(logged)
    assert (log.batches, log.expected) == (18, 18)
    assert 3 <= log.touched <= 6
    assert log.confidence.shape == (2,)
    assert bool(((log.confidence > 0) & (log.confidence < 1)).all())


@pytest.mark.parametrize("size", [24, 25, 26])
def test_a_log_counts_batches_as_training_does(size):
    log = logged_training(net(), data(size), RECIPE, 3, torch.tensor([0]))
    assert log.batches == log.expected


def task_of(model: nn.Module, watched: Tensor, log: object) -> object:
    gone = torch.zeros(24, dtype=torch.bool)
    gone[watched] = True
    return tiny_task(forget=data().subset(gone), retain=data().subset(~gone), net=net, training_log=log)


def test_subtracting_restores_the_weights_exactly_when_every_batch_was_watched():
    model, start = net(), net()
    log = logged_training(model, data(), RECIPE, 3, torch.arange(23))  # one of 24 is not watched, and no batch is alone
    assert log.touched == log.batches
    found = unlearn("amnesiac", model, task_of(model, torch.arange(23), log), epochs=0)
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, start.get_parameter(name)), name


def test_subtracting_takes_back_only_what_the_touched_batches_did():
    recipe = dataclasses.replace(RECIPE, epochs=1)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    last, before = order[-1:], net()
    log = logged_training(model := net(), data(), recipe, 3, last)
    assert log.touched == 1
    found = unlearn("amnesiac", model, task_of(model, last, log), epochs=0)

    # By hand: all batches but the last one, which held the watched sample.
    class Cut(Samples):
        def batches(self, *arguments, **options):
            for number, batch in enumerate(super().batches(*arguments, **options)):
                if number < 5:
                    yield batch

    fields = {f.name: getattr(data(), f.name) for f in dataclasses.fields(Samples)}
    train(before, Cut(**fields), recipe, 3)
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, before.get_parameter(name)), name


def test_amnesiac_refuses_a_log_that_is_missing_cut_short_or_of_something_else(tmp_path):
    model, watched = net(), torch.tensor([1, 5])
    log = logged_training(model, data(), RECIPE, 3, watched)
    with pytest.raises(NotApplicableError, match="training log"):
        unlearn("amnesiac", model, task_of(model, watched, None))
    with pytest.raises(ForgetError, match="cut short: 17 of 18"):
        unlearn("amnesiac", model, task_of(model, watched, dataclasses.replace(log, batches=17)))
    with pytest.raises(ForgetError, match="another model"):
        unlearn("amnesiac", net(9), task_of(model, watched, log))
    with pytest.raises(ForgetError, match="not the 3 to forget"):
        unlearn("amnesiac", model, task_of(model, torch.tensor([1, 5, 6]), log))
    with pytest.raises(ForgetError, match="no sample to watch"):
        logged_training(net(), data(), RECIPE, 3, torch.zeros(24, dtype=torch.bool))


def test_a_log_tells_the_confidence_of_what_it_watched_and_of_nothing_else():
    log = logged_training(net(), data(), RECIPE, 3, torch.tensor([1, 5]))
    assert torch.equal(log.confidence_of(data().subset(torch.tensor([5, 1]))), log.confidence[[1, 0]])
    with pytest.raises(ForgetError, match="did not watch"):
        log.confidence_of(data())


# Influence


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fitted(samples: Samples, ridge: float) -> nn.Module:
    """Minimiser of CE + ridge / 2 ‖θ‖² by Newton's method with a Hessian from autograd."""
    model, (images, labels) = linear(), whole(samples)

    def loss(vector: Tensor) -> Tensor:
        weight, bias = vector[:12].view(3, 4), vector[12:]
        return cross_entropy(images.flatten(1) @ weight.T + bias, labels) + ridge / 2 * vector @ vector

    vector = flat(model)
    for _ in range(30):
        hessian, (gradient,) = torch.autograd.functional.hessian(loss, vector), torch.autograd.grad(
            loss(vector.requires_grad_()), vector
        )  # fmt: skip
        vector = (vector - torch.linalg.solve(hessian, gradient)).detach()
    nn.utils.vector_to_parameters(vector, model.parameters())
    return model


def test_the_influence_step_is_that_of_the_exactly_inverted_hessian():
    model, task = linear(), tiny_task()
    (images, labels), (retain, targets) = whole(task.forget), whole(task.retain)

    def mean(vector: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(x.flatten(1) @ vector[:12].view(3, 4).T + vector[12:], y)

    start = flat(model).requires_grad_()
    (f,) = torch.autograd.grad(mean(start, images, labels), start)
    (r,) = torch.autograd.grad(mean(start, retain, targets), start)
    hessian = torch.autograd.functional.hessian(lambda v: mean(v, retain, targets), start.detach())
    step = torch.linalg.solve(hessian + 0.05 * torch.eye(15).double(), 7 / 18 * (f - r))
    found = unlearn("influence", model, task, damping=0.05, iterations=60, samples=11)
    assert torch.allclose(flat(found) - start.detach(), step, rtol=1e-8, atol=1e-11)
    twice = unlearn("influence", model, task, damping=0.05, iterations=60, samples=11, scale=2.0)
    assert torch.allclose(flat(twice) - start.detach(), 2 * step, rtol=1e-8, atol=1e-11)


def test_influence_equals_retraining_to_first_order():
    everything = tiny_samples(300, 1, batch_size=300)
    model, errors = fitted(everything, 0.1), []
    for gone in (2, 100):
        parts = {"forget": everything.subset(torch.arange(gone)), "retain": everything.subset(torch.arange(gone, 300))}
        goal = flat(fitted(parts["retain"], 0.1)) - flat(model)
        # The ridge is part of the objective: its gradient at the optimum is minus that of the loss.
        found = unlearn("influence", model, tiny_task(**parts), damping=0.1, iterations=60, samples=300)
        step = flat(found) - flat(model)
        errors.append(float((step - goal).norm() / goal.norm()))
    assert errors[0] < 0.03
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("make", [tiny_net, tiny_conv_net])
def test_the_curvature_is_the_gauss_newton_matrix(make):
    model, samples, meter = make(), tiny_samples(5, 3), Meter()
    model.eval()
    images, _ = whole(samples)
    parameters = list(model.parameters())
    logits = model(images)
    options = {"retain_graph": True, "materialize_grads": True}
    each = [torch.autograd.grad(z, parameters, **options) for z in logits.flatten()]
    rows = [torch.cat([g.flatten() for g in gradients]) for gradients in each]
    jacobian, p = torch.stack(rows).view(5, 3, -1), logits.softmax(1).detach()
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    matrix = torch.einsum("bkn,bkl,blm->nm", jacobian, bend, jacobian) / 5
    vector = torch.randn(matrix.shape[0], generator=torch.Generator().manual_seed(0)).double()
    found = influence.Curvature(model, samples, meter, batch_size=2).times(vector)
    assert torch.allclose(found, matrix @ vector, rtol=1e-9, atol=1e-12)
    assert meter.passes == 25


# Certified removal


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


# SISA


def fresh(seed: int) -> nn.Module:
    return net(seed)


def test_epochs_of_slices_see_as_many_samples_as_training_without_slices():
    assert sisa.epochs_of_slices(10, 1) == [10]
    assert sisa.epochs_of_slices(6, 3) == [3, 3, 3]
    assert sum(e * (s + 1) / 4 for s, e in enumerate(sisa.epochs_of_slices(20, 4))) == 20


@pytest.mark.parametrize("gone", [[0], [3, 17], list(range(12))])
def test_sisa_equals_training_its_shards_without_the_points_bit_for_bit(gone):
    options = {"shards": 2, "slices": 3, "seed": 4}
    ensemble = sisa.Sisa(data(), fresh, RECIPE, **options)
    untouched = [[dict(s) for s in states] for states in ensemble.states]
    parts = [[part.clone() for part in shard] for shard in ensemble.parts]
    again = ensemble.forget(torch.tensor(gone))
    for shard in range(2):
        model = fresh(4 + shard)
        held = [torch.isin(part, torch.tensor(gone)) for part in parts[shard]]
        for slice_, epochs in enumerate(sisa.epochs_of_slices(3, 3)):
            rest = torch.cat([p[~h] for p, h in zip(parts[shard][: slice_ + 1], held[: slice_ + 1], strict=True)])
            if epochs and len(rest) > 1:
                recipe = dataclasses.replace(RECIPE, epochs=epochs)
                train(model, data().subset(rest), recipe, 1000 * (4 + shard) + slice_)
            kept = ensemble.states[shard][slice_]
            assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
        first = next((s for s, h in enumerate(held) if h.any()), None)
        assert (shard in again) == (first is not None)
        for slice_ in range(3 if first is None else first):  # what had not seen the points was not trained again
            old = untouched[shard][slice_]
            assert all(old[name] is value for name, value in ensemble.states[shard][slice_].items())


def test_sisa_refuses_what_its_shards_never_saw_and_too_many_slices():
    ensemble = sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=2)
    with pytest.raises(ForgetError, match="No shard ever saw 1 of the samples"):
        ensemble.forget(torch.tensor([1, 99]))
    assert sum(len(part) for parts in ensemble.parts for part in parts) == 24
    with pytest.raises(ForgetError, match="24 samples cannot fill 5 shards of 5 slices"):
        sisa.Sisa(data(), fresh, RECIPE, shards=5, slices=5)
    with pytest.raises(ForgetError, match="vote is 'mean'; expected one of softmax, argmax"):
        unlearn("sisa", net(), tiny_task(), vote="mean")


def test_a_shard_that_gets_no_sample_of_a_class_is_named_and_trained_all_the_same(capsys):
    labels = torch.tensor([0, 1, 2] + [0, 1] * 10 + [0])
    ensemble = sisa.Sisa(data().with_labels(labels), fresh, RECIPE, shards=2, slices=1)
    lonely = 1 - next(shard for shard, parts in enumerate(ensemble.parts) if 2 in parts[0])
    assert f"sisa: shard {lonely + 1} of 2 holds no sample of classes [2]" in capsys.readouterr().out
    assert len(ensemble.model().members) == 2
    sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=1)
    assert not capsys.readouterr().out


def test_a_shard_without_a_class_votes_and_an_empty_one_does_not():
    ensemble = sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=1, seed=0)
    first = ensemble.parts[0][0]
    ensemble.forget(first[data().labels[first] == 1])
    assert len(ensemble.model().members) == 2
    ensemble.forget(ensemble.parts[0][0])
    assert len(ensemble.model().members) == 1
    ensemble.forget(ensemble.parts[1][0])
    with pytest.raises(ForgetError, match="All shards are empty"):
        ensemble.model()


def test_votes_by_hand():
    class Fixed(nn.Module):
        def __init__(self, probabilities):
            super().__init__()
            self.logits = torch.tensor(probabilities).log()

        def forward(self, images):
            return self.logits.expand(len(images), -1)

    members = [Fixed([0.6, 0.3, 0.1]), Fixed([0.2, 0.5, 0.3]), Fixed([0.1, 0.5, 0.4])]
    x = torch.zeros(2, 1)
    assert torch.allclose(Voting(members)(x).exp(), torch.tensor([0.3, 1.3 / 3, 0.8 / 3]).expand(2, 3))
    votes = torch.tensor([1 + 1 / 3, 2 + 1 / 3, 1 / 3]) / 4
    assert torch.allclose(Voting(members, "argmax")(x).exp(), votes.expand(2, 3))


def test_sisa_counts_only_what_is_trained_again():
    def run(gone: int) -> int:
        mask = torch.arange(24) < gone
        parts = {"forget": data().subset(mask), "retain": data().subset(~mask)}
        task = tiny_task(net=net, recipe=RECIPE, **parts)
        unlearn("sisa", net(), task, shards=4, slices=1)
        return task.meter.passes

    assert run(1) == 3 * 3 * 5  # one of four shards of six, without the point
    assert run(12) > 3 * run(1) / 2
