"""Nothing more is found than was proven, and where nothing was promised the audit finds what is left."""

import math

import pandas as pd
import pytest
import torch

from benchmarks import guarantees
from forget_lib.attacks.audit import group_lower_bound
from forget_lib.core.paths import RESULTS
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import tiny_samples, tiny_task


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "reference" / "benchmarks" / "guarantees.csv")


def test_in_the_committed_table_no_run_refutes_a_promise(table):
    promised = table.dropna(subset="proven")
    assert (promised["lower"] <= promised["proven"]).all()
    assert set(promised["method"]) == {"noisy_finetune", "dp_sgd", guarantees.HEAD}
    assert table.groupby(["dataset", "method", "epsilon"], dropna=False)["seed"].nunique().min() >= 3


def test_in_the_committed_table_lower_bounds_follow_from_the_guesses(table):
    found = [
        group_lower_bound(*pair, guarantees.DELTA) for pair in zip(table["correct"], table["guesses"], strict=True)
    ]
    assert table["lower"].tolist() == pytest.approx(found, abs=1e-4)
    untouched = table[table["method"] == "do_nothing"].groupby("dataset")["lower"]
    assert (untouched.median() > 1).all(), "the audit can find what is left, in most runs"
    assert (table[table["method"] == "retrain"]["lower"] == 0).all()


def test_the_bound_by_hand():
    assert group_lower_bound(10, 10, 0.0) == pytest.approx(math.log(0.05 * 1024))
    assert group_lower_bound(10, 10, 0.01) == pytest.approx(math.log(0.04 * 1024))
    assert group_lower_bound(5, 10, 0.0) == group_lower_bound(0, 10, 0.0) == 0
    assert group_lower_bound(10, 10, 0.05) == 0


def test_on_random_labels_learned_by_heart_no_promise_is_refuted():
    def net(seed: int) -> torch.nn.Module:
        return build("mlp", (1, 8, 8), 3, seed)

    forget, retain, unseen = (tiny_samples(100, n, kind=Samples, side=8, batch_size=20) for n in (1, 2, 3))
    recipe = Recipe(epochs=40, batch_size=20, learning_rate=0.05)
    original, other = net(0), net(0)
    train(original, concatenate(forget, retain), recipe, 0)
    train(other, retain, recipe, 0)
    other.body.requires_grad_(False)
    for method, start, promised in (
        ("do_nothing", original, False),
        ("noisy_finetune", original, True),
        ("dp_sgd", original, True),
        ("langevin", other, True),
    ):
        task = tiny_task(net=net, forget=forget, retain=retain, recipe=recipe)
        settings = {"steps": 10} if method == "dp_sgd" else {}
        model = unlearn(method, start, task, **settings)
        lower = group_lower_bound(*guarantees.audited(model, forget, unseen, 0), guarantees.DELTA)
        assert (lower <= task.facts["epsilon"] == 1.0) if promised else lower > 3
