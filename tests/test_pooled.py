import pandas as pd
import pytest

from forget_lib import figures_attacks, findings, pooled, results
from forget_lib.errors import ForgetError, UnknownNameError

FIELDS = {"dataset": "blobs", "model": "mlp", "start": "sample", "recipe": {"epochs": 2, "batch_size": 16}}
POOL = {"samples": 80, "evaluation": 24, "number": 4, "targets": 3, "doses": [0.5], "held_out": 20}


@pytest.fixture
def table(blobs, tmp_path) -> pd.DataFrame:
    return pooled.pooled_study(tmp_path, methods={"finetune": {"epochs": 1}}, pool=POOL, **FIELDS)[1]


def test_every_control_and_method_leaves_a_record_with_all_its_attacks(table, tmp_path):
    runs = results.load(tmp_path)
    assert {"original", "retrain", "second_retrain", "finetune", "original_shuffled"} <= set(runs["method"])
    assert set(runs[runs["method"] == "finetune"]["attack"]) >= {"loss_regression", "lira", "u_lira"}
    assert runs["request"].eq("pool-random-0.3").all()
    scenarios, strong = results.scenarios_and_pools(runs)
    assert scenarios.empty
    assert figures_attacks.attack_table(strong).loc["finetune", "lira"].count("to") == 1


def test_what_is_on_disk_is_not_made_again(table, tmp_path, monkeypatch):
    monkeypatch.setattr(pooled.membership, "run_scenario", None)
    again = pooled.pooled_study(tmp_path, methods={"finetune": {"epochs": 1}}, pool=POOL, **FIELDS)[1]
    assert again["value"].tolist() == pytest.approx(table["value"].tolist(), nan_ok=True)
    assert list(again["method"]) == list(table["method"])


def test_a_pool_without_power_is_not_ranked(table):
    lines = findings.strong_attack_sentences(table.assign(value=0.5, low=0.4, high=0.6))
    assert "no ranking can be read" in lines[-1]
    assert "30.0%" in lines[0]


def test_wrong_settings_are_refused_before_anything_is_trained(blobs, tmp_path):
    with pytest.raises(UnknownNameError, match="learning_rate"):
        pooled.pooled_study(tmp_path, methods={"finetune": {"rate": 1}}, pool=POOL, **FIELDS)
    with pytest.raises(ForgetError, match="do not fit"):
        pooled.pooled_study(tmp_path, methods={}, pool=POOL | {"samples": 4000}, **FIELDS)
    assert not list(tmp_path.iterdir())
