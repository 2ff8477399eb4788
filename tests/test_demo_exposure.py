"""One sample under many nets: read from a pooled study on disk, and judged by a test that keeps its level."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from forget_lib.core.errors import DataError, ForgetError
from forget_lib.demo.exposure import open_exposure, sentences
from forget_lib.demo.exposure_panel import GROUPS, ExposurePanel
from forget_lib.study import pooled, pools

POOL = {"samples": 80, "evaluation": 24, "number": 12, "targets": 2, "doses": [], "held_out": 20}
FIELDS = {"dataset": "blobs", "model": "mlp", "start": "sample", "recipe": {"epochs": 2, "batch_size": 16}}


@pytest.fixture
def bench(blobs, tmp_path) -> SimpleNamespace:
    """What the panel needs of a bench, with a small pooled study on disk."""
    methods = {"finetune": {"epochs": 1}, "uniform_kl": {"epochs": 1}}
    pooled.pooled_study(tmp_path, methods=methods, pool=POOL, **FIELDS)
    entry = SimpleNamespace(dataset="blobs", model="mlp")
    return SimpleNamespace(entry=entry, data=blobs, scenario=SimpleNamespace(root=tmp_path))


def frame(**groups: list[float]) -> pd.DataFrame:
    names = {"inside": "in", "outside": "out", "after": "unlearned", "never": "never, after"}
    return pd.concat([pd.DataFrame({"phi": values, "group": names[key]}) for key, values in groups.items()])


def test_the_pool_of_a_study_is_found_with_all_groups(bench, monkeypatch):
    monkeypatch.setattr(pools, "train_nets", lambda *_: pytest.fail("the page trained a model"))
    exposure = open_exposure(bench)
    assert set(exposure.methods) == {"finetune", "uniform_kl", "retrain"}
    offered = exposure.offered()
    assert [score for _, score in offered] == sorted((score for _, score in offered), reverse=True)
    assert {index for index, _ in offered} <= set(exposure.pool.plan.evaluation.tolist())
    for method in exposure.methods:
        counts = exposure.margins(offered[0][0], method)["group"].value_counts()
        assert counts.to_dict() == dict.fromkeys(GROUPS, POOL["number"] // 2)


def test_the_panel_shows_dots_for_each_group_and_follows_the_choice(bench):
    panel = ExposurePanel()
    panel.show(bench)
    assert panel.method.value == "uniform_kl"
    assert panel.dots.value.count("fd-dot") == 1 + 2 * POOL["number"]
    before = panel.dots.value
    panel.sample.value = panel.sample.options[-1][1]
    assert panel.dots.value != before
    panel.method.value = "finetune"
    assert "Fine-tune" in panel.words.value


def test_without_a_pool_the_panel_names_a_study_that_has_one(bench):
    bench.entry.model = "small_cnn"
    panel = ExposurePanel()
    panel.show(bench)
    assert "choose a study of blobs, mlp" in panel.status.value
    assert panel.controls.layout.display == "none"


def test_references_of_other_code_are_refused(bench, monkeypatch):
    exposure = open_exposure(bench)
    monkeypatch.setattr("forget_lib.study.targets.code_of", lambda _method: "other")
    with pytest.raises(DataError, match="not unlearned yet"):
        exposure.margins(0, "finetune")
    with pytest.raises(ForgetError, match="other data"):
        open_exposure(SimpleNamespace(**vars(bench) | {"data": SimpleNamespace(checksum="other")}))


def test_the_sentences_say_what_the_pairs_say():
    apart = {"inside": [3.0] * 8, "outside": [0.0] * 8}
    told = sentences(frame(**apart, after=[2.0] * 8, never=[0.0] * 8), "SSD")
    assert "8 of 8 pairs" in told
    assert "can still be told (p = 0.0078" in told
    mixed = sentences(frame(**apart, after=[1.0, -1.0] * 4, never=[0.0] * 8), "SSD")
    assert "4 of 8 pairs; half is chance: with this many nets the two cannot be told apart (p = 1)" in mixed
    few = sentences(frame(inside=[1.0], outside=[0.0], after=[1.0], never=[0.0]), "SSD")
    assert "too few pairs" in few


def test_nets_dealt_by_a_coin_are_told_apart_at_the_rate_that_the_sentence_admits():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 400, 8)) + generator.normal(size=(400, 8))  # what a pair shares is no evidence
    told = sum(
        "can still be told" in sentences(frame(inside=one, outside=two, after=one, never=two), "nothing")
        for one, two in zip(*values, strict=True)
    )
    assert 0.02 < told / 400 < 0.08
