"""The membership study on a small set that a small net memorises: controls, doses, methods and refusals."""

import numpy as np
import pandas as pd
import pytest
import torch

from forget_lib import membership, pools
from forget_lib.attacks import list_attacks
from forget_lib.datasets.image_data import ImageData
from forget_lib.errors import ForgetError
from forget_lib.training import Recipe

METHODS = {"finetune": {"epochs": 1, "learning_rate": 0.01}, "uniform_kl": {}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (320,), generator=generator)
    images = torch.randint(0, 180, (320, 1, 8, 8), generator=generator) + 20 * labels[:, None, None, None]
    images = images.to(torch.uint8)
    classes = ("a", "b", "c", "d")
    data = ImageData("toy", "Toy", images, labels, images[:20], labels[:20], classes, "made here", "none")
    recipe = Recipe(epochs=40, batch_size=32, learning_rate=5e-3, weight_decay=0.0, optimizer="adam", schedule="cosine")
    plan = membership.make_plan(data, samples=240, evaluation=80, recipe=recipe, hidden=64, number=8, held_out=40)
    folder = tmp_path_factory.mktemp("pool")
    pools.train_shard(plan, folder)
    pool = pools.load_pool(plan, folder)
    return data, plan, pool, membership.run_scenario(pool, folder, targets=8, methods=METHODS, doses=(0.5,))


def areas(table, method, kind="control"):
    chosen = table[(table["method"] == method) & (table["kind"] == kind) & (table["metric"] == "auc")]
    return chosen.set_index("attack")["value"]


def test_controls_are_where_they_must_be(study):
    table = study[3]
    assert membership.has_power(table)
    assert areas(table, "original")["lira"] > 0.75
    for method in ("retrain", "second_retrain"):
        found = table[(table["method"] == method) & (table["metric"] == "auc")]
        assert ((found["value"] - 0.5).abs() < 3.5 * found["null_error"]).all()
    shuffled = areas(table, "original", "null")
    assert shuffled["lira"] == pytest.approx(0.5, abs=0.08)


def test_the_strong_attack_sees_more_than_the_weak_one(study):
    original = areas(study[3], "original")
    assert original["lira"] > original["loss_regression"] + 0.02


def test_detection_grows_with_the_share_that_was_left_in(study):
    curve = membership.dose_response(study[3], "lira")
    assert curve["share"].tolist() == [0, 0.5, 1]
    assert curve["value"].is_monotonic_increasing
    assert 0 < membership.detectable_share(study[3], "lira") < 0.5


def test_every_row_has_its_interval_null_and_share(study):
    table = study[3]
    assert set(table["method"]) == {"original", "retrain", "second_retrain", "retrain_keeping_0.5", *METHODS}
    assert (table["status"] == "done").all()
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert table["forgotten"].unique().tolist() == [80 / 240]
    assert "u_lira" in set(areas(table, "finetune", "method").index)
    assert "u_lira" not in set(areas(table, "original").index)
    assert set(table["metric"]) == {"auc"}  # 320 pooled unseen samples are too few for a rate at 1 %


def test_forget_and_unseen_are_disjoint_and_the_target_saw_just_the_first(study):
    plan = study[1]
    for split in membership.target_splits(plan, 4, seed=3):
        forget, unseen = membership.forget_and_unseen(plan, split)
        assert len(forget) == len(unseen) == 40
        assert split[forget].all()
        assert not split[unseen].any()
        assert not np.intersect1d(forget, unseen).size


def test_a_method_that_does_not_apply_has_its_row_with_the_reason(study, tmp_path):
    pool = study[2]
    methods = {"finetune": {"learning_rate": -1.0}}
    table = membership.run_scenario(pool, tmp_path, targets=2, methods=methods, doses=(), attacks=("lira",))
    row = table[table["method"] == "finetune"].iloc[0]
    assert row["status"] == "failed"
    assert "learning_rate" in row["reason"]


def test_a_plan_that_does_not_fit_is_refused(study):
    with pytest.raises(ForgetError, match="do not fit"):
        membership.make_plan(study[0], samples=300, evaluation=40, recipe=study[1].recipe)
    assert set(membership.ATTACK_ORDER) <= set(list_attacks())


def test_no_power_means_no_ranking():
    row = {"method": "original", "kind": "control", "metric": "auc", "value": 0.52, "error": 0.01, "null_error": 0.01}
    assert not membership.has_power(pd.DataFrame([row]))
