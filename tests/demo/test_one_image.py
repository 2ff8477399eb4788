"""One sample under many nets: read from a pooled study on disk, and judged by a test that keeps its level."""

from types import SimpleNamespace

import numpy as np
import pytest

from forget_lib.core.errors import DataError, ForgetError, TooFewError
from forget_lib.demo.attack import OneImage, open_pool
from forget_lib.demo.parts import html
from forget_lib.statistics.intervals import sign_flip_test
from forget_lib.study import membership, pools

POOL = {"samples": 80, "evaluation": 24, "number": 12, "targets": 2, "doses": [], "held_out": 20}
FIELDS = {"dataset": "blobs", "model": "mlp", "start": "sample", "recipe": {"epochs": 2, "batch_size": 16}}


@pytest.fixture
def bench(blobs, tmp_path) -> SimpleNamespace:
    """What the panel needs of a bench, with a small pooled study on disk."""
    methods = {"finetune": {"epochs": 1}, "uniform_kl": {"epochs": 1}}
    membership.pooled_study(tmp_path, methods=methods, pool=POOL, **FIELDS)
    entry = SimpleNamespace(dataset="blobs", model="mlp")
    return SimpleNamespace(entry=entry, data=blobs, words=blobs.classes, scenario=SimpleNamespace(root=tmp_path))


def test_the_pool_of_a_study_is_found_with_all_methods(bench, monkeypatch):
    monkeypatch.setattr(pools, "train_nets", lambda *_: pytest.fail("the page trained a model"))
    pool, folder, methods = open_pool(bench)
    assert set(methods) == {"finetune", "uniform_kl", "retrain"}
    assert folder.is_dir()
    assert pool.plan.number == POOL["number"]


def test_the_panel_shows_dots_for_each_group_and_follows_the_choice(bench):
    panel = OneImage()
    panel.show(bench)
    assert panel.method.value == "uniform_kl"
    indices = [index for _, index in panel.sample.options]
    assert set(indices) <= set(panel.pool.plan.evaluation.tolist())
    scores = pools.memorisation(panel.pool)[indices]
    assert (np.diff(scores) <= 0).all(), "the most memorised first"
    assert panel.result.value.count('"fd-dot"') == 2 * POOL["number"]
    assert panel.result.value.count(f"({POOL['number'] // 2})") == 4
    before = panel.result.value
    panel.sample.value = indices[-1]
    assert panel.result.value != before
    panel.method.value = "finetune"
    assert "Fine-tune" in panel.result.value


def test_without_a_pool_the_panel_names_a_study_that_has_one(bench):
    bench.entry.model = "small_cnn"
    panel = OneImage()
    panel.show(bench)
    assert "choose a study of blobs, mlp" in panel.status.value
    assert panel.controls.layout.display == "none"


def test_references_of_other_code_are_refused(bench, monkeypatch):
    panel = OneImage()
    panel.show(bench)
    monkeypatch.setattr("forget_lib.study.pools.code_of", lambda _method: "other")
    panel.method.value = "finetune"
    assert "not unlearned by finetune yet" in panel.status.value
    assert panel.result.value == ""
    with pytest.raises(ForgetError, match="other data"):
        open_pool(SimpleNamespace(**vars(bench) | {"data": SimpleNamespace(checksum="other")}))
    monkeypatch.setattr("forget_lib.study.pools.PoolPlan.key", "0" * 64)
    with pytest.raises(DataError):
        open_pool(bench)


def test_the_sentences_say_what_the_pairs_say():
    told = " ".join(html.pairs(8, 8, 8, "SSD", 0.0078).split())
    assert "8 of 8 pairs" in told
    assert "can still be told (p = 0.0078" in told
    mixed = " ".join(html.pairs(8, 8, 4, "SSD", 1.0).split())
    assert "4 of 8 pairs; half is chance: with this many nets the two cannot be told apart (p = 1)" in mixed
    assert "too few pairs" in html.pairs(1, 1, 1, "SSD", None)


def test_nets_dealt_by_a_coin_are_told_apart_at_the_rate_that_the_sentence_admits():
    generator = np.random.default_rng(0)
    differences = np.subtract(*generator.normal(size=(2, 400, 8)))
    told = sum("can still be told" in html.pairs(8, 8, 4, "nothing", sign_flip_test(each)) for each in differences)
    assert 0.02 < told / 400 < 0.08
    with pytest.raises(TooFewError):
        sign_flip_test(differences[0, :1])
