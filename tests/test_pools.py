"""Pools: balanced halves, batched training that equals single training, caches that resume, mistakes found."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from forget_lib.attacks import AttackInput, Side, get_attack
from forget_lib.core.errors import DataError, DivergedError, ForgetError
from forget_lib.datasets.samples import Samples, normalise
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.stacked import BatchedMlp, mlp_classifier, train_batched
from forget_lib.models.train import predict
from forget_lib.study import pools

SHAPE = (1, 6, 6)


def blobs(number, seed=0):
    """Two noisy classes that a net must memorise to get right."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (number,), generator=generator)
    images = 100 + 10 * labels[:, None, None, None] + torch.randint(0, 120, (number, *SHAPE), generator=generator)
    return images.to(torch.uint8), labels


def make_plan(**changes):
    images, labels = blobs(80)
    settings = {
        "recipe": Recipe(
            epochs=12, batch_size=8, learning_rate=5e-3, optimizer="adam", schedule="cosine", weight_decay=0.0
        )
    }
    settings |= {"population": Samples(*blobs(20, seed=1)), "number": 4, "hidden": 16} | changes
    return pools.PoolPlan(images, labels, np.arange(40), 2, **settings)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 20), st.integers(0, 999))
def test_half_splits_are_balanced_and_complementary(pairs, inside, outside, seed):
    number = 2 * (inside + outside)
    evaluation = np.random.default_rng(seed).permutation(number)[: 2 * inside]
    membership = pools.half_splits(2 * pairs, number, evaluation, seed)
    assert (membership.sum(axis=0) == pairs).all()
    assert (membership.sum(axis=1) == number // 2).all()
    assert (membership[:, evaluation].sum(axis=1) == inside).all()
    assert (membership[0::2] ^ membership[1::2]).all()


@pytest.mark.parametrize(("models", "samples", "evaluation"), [(3, 10, 4), (0, 10, 4), (4, 11, 4), (4, 10, 3)])
def test_odd_numbers_are_refused(models, samples, evaluation):
    with pytest.raises(ForgetError, match="even number"):
        pools.half_splits(models, samples, np.arange(evaluation))


def test_a_reference_that_saw_a_sample_by_mistake_is_found(tmp_path):
    plan = make_plan()
    planned = plan.membership
    trained = planned.copy()
    k, sample = 2, int(np.flatnonzero(~planned[2])[0])
    trained[k, sample] = True
    with pytest.raises(DataError, match=f"reference 2 was trained on sample {sample}"):
        pools.check_membership(planned, trained)
    pools.train_shard(plan, tmp_path)
    path = tmp_path / "reference2.npz"
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {"trained": trained[2]}))
    with pytest.raises(DataError, match="reference 2"):
        pools.load_pool(plan, tmp_path)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_nets_trained_as_a_batch_equal_nets_trained_alone(optimizer):
    images, labels = blobs(30)
    recipe = Recipe(
        epochs=3, batch_size=8, learning_rate=0.01, optimizer=optimizer, schedule="cosine", weight_decay=1e-3
    )
    sets = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(k))[:20] for k in range(3)])
    nets = train_batched(
        BatchedMlp.of([mlp_classifier(SHAPE, 2, 5, k) for k in range(3)]), images, labels, sets, recipe, [7, 8, 9]
    )
    alone = mlp_classifier(SHAPE, 2, 5, 1)
    if optimizer == "adam":
        steps = torch.optim.Adam(alone.parameters(), 0.01, weight_decay=1e-3)
    else:
        steps = torch.optim.SGD(alone.parameters(), 0.01, 0.9, weight_decay=1e-3, nesterov=True)
    generator, step = torch.Generator().manual_seed(8), 0
    for _ in range(3):
        for chosen in sets[1][torch.randperm(20, generator=generator)].split(8):
            steps.param_groups[0]["lr"] = 0.01 * 0.5 * (1 + np.cos(np.pi * step / 9))
            steps.zero_grad()
            functional.cross_entropy(alone(normalise(images[chosen])), labels[chosen]).backward()
            steps.step()
            step += 1
    expected = predict(alone, Samples(images, labels))
    assert torch.allclose(nets.logits(images)[1], expected, atol=1e-4)
    assert torch.allclose(predict(nets.classifiers(SHAPE)[1], Samples(images, labels)), expected, atol=1e-4)


def test_the_batch_and_the_mlp_of_the_project_are_the_same_net():
    images, labels = blobs(10)
    model = build("mlp", SHAPE, 3, seed=4)
    nets = BatchedMlp.of([model, build("mlp", SHAPE, 3, seed=5)])
    assert torch.allclose(nets.logits(images)[0], predict(model, Samples(images, labels)), atol=1e-5)
    back = nets.classifiers(SHAPE)[0]
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())
    back.head.weight.data.zero_()
    assert nets.w2[0].abs().sum() > 0  # a copy: methods may change it
    with pytest.raises(ForgetError, match="one hidden layer"):
        BatchedMlp.of([build("small_cnn", (1, 8, 8), 2)])


def test_training_as_a_batch_refuses_what_it_cannot_do():
    images, labels = blobs(10)
    nets = BatchedMlp.of([build("mlp", SHAPE, 2)])
    sets = torch.arange(10)[None]
    with pytest.raises(ForgetError, match="augmentation"):
        train_batched(nets, images, labels, sets, Recipe(augmentation="shift"), [0])
    for other in ({"optimizer": "muon"}, {"precision": "bfloat16"}, {"function": "mine.py:train"}):
        with pytest.raises(ForgetError, match="as one batch"):
            train_batched(nets, images, labels, sets, Recipe(**other), [0])
    with pytest.raises(ForgetError, match="as many"):
        train_batched(nets, images, labels, sets.repeat(2, 1), Recipe(), [0])
    with pytest.raises(DivergedError, match="lower learning_rate"):
        train_batched(nets, images, labels, sets, Recipe(epochs=9, learning_rate=1e30), [0])


def test_a_pool_resumes_and_is_the_same_in_shards(tmp_path):
    plan = make_plan()
    assert pools.train_shard(plan, tmp_path / "whole") == 4
    assert pools.train_shard(plan, tmp_path / "whole") == 0
    assert [pools.train_shard(plan, tmp_path / "parts", shard, 2) for shard in (1, 0)] == [2, 2]
    whole, parts = pools.load_pool(plan, tmp_path / "whole"), pools.load_pool(plan, tmp_path / "parts")
    assert np.allclose(whole.logits.astype(float), parts.logits.astype(float), atol=0.05)
    assert whole.logits.dtype == np.float16
    assert whole.population_logits.shape == (4, 20, 2)
    (tmp_path / "whole" / "reference1.npz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="first: 1"):
        pools.load_pool(plan, tmp_path / "whole")
    assert pools.train_shard(plan, tmp_path / "whole") == 1
    changed = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, epochs=1))
    assert pools.train_shard(changed, tmp_path / "whole") == 4
    assert not list(tmp_path.rglob(".*"))
    with pytest.raises(ForgetError, match="shards <= 2"):
        plan.shard(0, 3)


def test_conv_pools_are_cached_model_by_model(tmp_path):
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
    images = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8)
    plan = pools.PoolPlan(images, torch.arange(24) % 2, np.arange(8), 2, model="small_cnn", recipe=recipe, number=2)
    assert pools.train_shard(plan, tmp_path) == 2
    (tmp_path / "reference0.npz").unlink()
    assert pools.train_shard(plan, tmp_path) == 1
    pool = pools.load_pool(plan, tmp_path)
    model = pools.load_reference(plan, tmp_path, 1)
    assert pool.population_logits is None
    assert np.allclose(predict(model, plan.samples(np.arange(24))).numpy(), pool.logits[1].astype(float), atol=0.01)


@pytest.mark.slow
def test_two_processes_train_the_same_pool(tmp_path):
    plan = make_plan()
    assert pools.train_pool(plan, tmp_path / "two", processes=2) == 4
    assert pools.train_pool(plan, tmp_path / "two") == 0
    pools.train_pool(plan, tmp_path / "one")
    one, two = (pools.load_pool(plan, tmp_path / name).logits.astype(float) for name in ("one", "two"))
    assert np.allclose(one, two, atol=0.05)


def test_unlearned_references_get_their_own_forget_and_retain_sets(tmp_path, monkeypatch):
    plan, seen = make_plan(), []
    pools.train_shard(plan, tmp_path)
    run_method = pools.unlearn

    def zero(name, model, task, **settings):
        seen.append(task)
        model = run_method(name, model, task, **settings)
        model.head.weight.data.zero_()
        return model

    monkeypatch.setattr(pools, "unlearn", zero)
    for _ in range(2):
        pools.unlearned_references(plan, tmp_path, "do_nothing")
    assert len(seen) == 4
    for k, task in enumerate(seen):
        saw = plan.membership[k]
        assert torch.equal(task.forget.images, plan.images[:40][saw[:40]])
        assert torch.equal(task.retain.images, plan.images[40:][saw[40:]])
    unlearned = pools.load_unlearned(plan, tmp_path, "do_nothing")
    assert unlearned.shape == (4, 40, 2)
    assert np.ptp(unlearned, axis=1).max() == 0
    with pytest.raises(DataError, match="not unlearned by do_nothing yet"):
        pools.load_unlearned(plan, tmp_path, "do_nothing", {"rate": 2})
    references = pools.load_pool(plan, tmp_path).references(np.array([3, 1]), unlearned)
    assert references.unlearned_logits.shape == (4, 2, 2)
    with pytest.raises(ForgetError, match="evaluation samples only"):
        pools.load_pool(plan, tmp_path).references(np.array([50]), unlearned)
    with pytest.raises(DataError, match="missing"):
        pools.load_reference(plan, tmp_path / "nowhere", 0)


def test_a_memorising_target_is_betrayed_and_a_retrained_one_is_not(tmp_path):
    plan = make_plan(number=8, recipe=dataclasses.replace(make_plan().recipe, epochs=60), hidden=64)
    pools.train_shard(plan, tmp_path)
    pool = pools.load_pool(plan, tmp_path)
    splits = pools.half_splits(8, 80, plan.evaluation, seed=99)
    originals = pools.train_nets(plan, [np.flatnonzero(row) for row in splits], range(8))
    retrained = pools.train_nets(plan, [np.flatnonzero(row & (np.arange(80) >= 40)) for row in splits], range(50, 58))
    areas = {"original": [], "retrain": []}
    for row, *pair in zip(splits, originals, retrained, strict=True):
        forget, unseen = np.flatnonzero(row[:40]), np.flatnonzero(~row[:40])
        columns = np.concatenate([forget, unseen])
        for name, model in zip(areas, pair, strict=True):
            logits = predict(model, plan.samples(columns))
            sides = Side(logits[:20], plan.labels[forget]), Side(logits[20:], plan.labels[unseen])
            inputs = AttackInput(*sides, references=pool.references(columns))
            areas[name].append(next(m.value for m in get_attack("lira")(inputs) if m.metric == "auc"))
    assert np.mean(areas["original"]) > 0.75
    assert np.mean(areas["retrain"]) == pytest.approx(0.5, abs=0.1)


def test_sixty_four_nets_are_quick():
    images = torch.randint(0, 256, (200, 1, 14, 14), dtype=torch.uint8)
    recipe = Recipe(epochs=3, batch_size=64, learning_rate=1e-3, optimizer="adam")
    nets = BatchedMlp.of([mlp_classifier((1, 14, 14), 10, 128, k) for k in range(64)])
    sets = torch.stack([torch.arange(100)] * 64)
    start = time.perf_counter()
    train_batched(nets, images, torch.arange(200) % 10, sets, recipe, range(64))
    assert time.perf_counter() - start < 5
