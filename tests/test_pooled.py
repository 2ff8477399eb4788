import numpy as np
import pandas as pd
import pytest

from forget_lib.core import user_code
from forget_lib.core.errors import ForgetError, UnknownNameError
from forget_lib.core.names import short_name
from forget_lib.models.recipe import Recipe
from forget_lib.show import figures_attacks, findings
from forget_lib.study import membership, pools, records
from tests.conftest import write_folder

FIELDS = {"dataset": "blobs", "model": "mlp", "start": "sample", "recipe": {"epochs": 2, "batch_size": 16}}
POOL = {"samples": 80, "evaluation": 24, "number": 4, "targets": 3, "doses": [0.5], "held_out": 20}


METHODS = {"finetune": {"epochs": 1}}


@pytest.fixture
def study(blobs, tmp_path) -> membership.Study:
    return membership.pooled_study(tmp_path, methods=METHODS, pool=POOL, **FIELDS)


@pytest.fixture
def table(study) -> pd.DataFrame:
    return study.table


def test_every_control_and_method_leaves_a_record_with_all_its_attacks(table, tmp_path):
    runs = records.load(tmp_path)
    assert {"original", "retrain", "second_retrain", "finetune", "original_shuffled"} <= set(runs["method"])
    assert set(runs[runs["method"] == "finetune"]["attack"]) >= {"loss_regression", "lira", "u_lira"}
    assert runs["request"].eq("pool-random-0.3").all()
    scenarios, strong = records.scenarios_and_pools(runs)
    assert scenarios.empty
    assert figures_attacks.attack_table(strong).loc["finetune", "lira"].count("to") == 1


@pytest.mark.fault("Two data sets or nets of one name")
def test_a_pool_of_ones_own_data_and_net_has_folders_and_records_without_their_place(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    nets = tmp_path / "nets.py"
    nets.write_text("from forget_lib.models.nets import build\ndef make(input_shape, num_classes):\n"
                    "    return build('mlp', input_shape, num_classes, 0)\n")  # fmt: skip
    own = {"dataset": f"own:{write_folder(blobs, tmp_path / 'mnist', 40)}", "model": f"{nets}:make"}
    pool = POOL | {"doses": [], "targets": 1}
    membership.pooled_study(tmp_path / "results", methods={}, pool=pool, **(FIELDS | own))
    names = [short_name(own["dataset"]), short_name(own["model"])]
    (folder,) = (tmp_path / "results" / "pools").iterdir()
    assert folder.name.startswith("-".join(names))
    runs = records.load(tmp_path / "results")
    assert runs[["dataset", "model"]].drop_duplicates().to_numpy().tolist() == [names]
    for path in (tmp_path / "results").rglob("run.json"):
        assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize("request_of", ["random", "mislabelled"])
def test_a_pool_in_shards_is_the_pool_that_one_job_trains(blobs, tmp_path, request_of):
    pool = POOL | {"request": request_of, "doses": []}
    recipe = Recipe(**FIELDS["recipe"])
    for shard in (0, 1):
        asked = pool | {"shard": [shard, 2]}
        plan, folder = membership.plan_pool(tmp_path / "shards", blobs, "mlp", recipe, asked, 0)
        assert pools.train_shard(plan, folder, shard, 2) == 2
    whole = membership.pooled_study(tmp_path / "one", methods={}, pool=pool, **FIELDS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "shards").rglob("reference*.safetensors")}
    parts = membership.pooled_study(tmp_path / "shards", methods={}, pool=pool, **FIELDS)
    assert {path.name: path.read_bytes() for path in parts.folder.glob("reference*.safetensors")} == before
    assert len(before) == 4
    assert parts.table["value"].tolist() == pytest.approx(whole.table["value"].tolist(), nan_ok=True)


def test_what_is_on_disk_is_not_made_again(table, tmp_path, monkeypatch):
    monkeypatch.setattr(membership.Targets, "run", None)
    again = membership.pooled_study(tmp_path, methods=METHODS, pool=POOL, **FIELDS).table
    assert again["value"].tolist() == pytest.approx(table["value"].tolist(), nan_ok=True)
    assert list(again["method"]) == list(table["method"])


def test_a_pool_without_power_is_not_ranked(table):
    flat = table.assign(value=np.where(table["metric"] == "auc_gap", 0.0, 0.5), low=0.4, high=0.6)
    lines = findings.strong_attack_sentences(flat)
    assert any(line.startswith("**Cannot be told here** by u_lira") for line in lines)
    assert "30.0%" in lines[0]


def test_wrong_settings_are_refused_before_anything_is_trained(blobs, tmp_path):
    with pytest.raises(ForgetError, match="learning_rate"):
        membership.pooled_study(tmp_path, methods={"finetune": {"rate": 1}}, pool=POOL, **FIELDS)
    with pytest.raises(ForgetError, match="do not fit"):
        membership.pooled_study(tmp_path, methods={}, pool=POOL | {"samples": 4000}, **FIELDS)
    with pytest.raises(ForgetError, match="audit gives no score a sample; list it under measured"):
        membership.pooled_study(tmp_path, methods={}, pool=POOL | {"attacks": ["lira", "audit"]}, **FIELDS)
    assert not list(tmp_path.iterdir())


def test_the_table_is_that_of_the_records_on_disk(table, tmp_path):
    again = membership.table_of(records.load(tmp_path))
    keys = ["method", "kind", "attack", "metric"]
    columns = ["value", "low", "high", "share", "targets", "forgotten", "error", "null_error", "p_value"]
    one, two = (frame.set_index(keys).sort_index() for frame in (table, again))
    pd.testing.assert_frame_equal(one[columns], two[columns])
    assert set(table["kind"]) == {"control", "shuffled", "dose", "method"}
    assert table.set_index("kind").loc["dose", "share"].unique().tolist() == [0.5]


def test_a_method_that_fails_has_its_row_with_the_reason(blobs, tmp_path, monkeypatch):
    def fails(*_given):
        raise ForgetError("lower learning_rate")

    monkeypatch.setattr(pools, "run_method", fails)
    pool = POOL | {"doses": [], "targets": 2, "attacks": ["lira"]}
    table = membership.pooled_study(tmp_path, methods=METHODS, pool=pool, **FIELDS).table
    row = table[table["method"] == "finetune"].iloc[0]
    assert row["status"] == "failed"
    assert "learning_rate" in row["reason"]


def test_scores_are_kept_for_curves(study):
    assert {"original", "original_shuffled", "retrain", "second_retrain", "finetune"} <= set(study.scores)
    area = study.scores["original"]["lira"].areas.mean()
    rows = study.table.query("method == 'original' and attack == 'lira' and metric == 'auc'")
    assert area == rows["value"].item()
    assert rows["targets"].item() == 3


def test_a_pool_takes_the_attack_that_needs_none(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr("forget_lib.attacks.one_model.FEWEST", 10)
    pool = POOL | {"doses": [], "attacks": ["loss_regression", "one_model"]}
    table = membership.pooled_study(tmp_path, methods={}, pool=pool, **FIELDS).table
    found = table[(table["attack"] == "one_model") & (table["metric"] == "auc")].set_index("method")["value"]
    assert set(found.index) == {"original", "original_shuffled", "retrain", "second_retrain"}
    assert found["retrain"] == pytest.approx(0.5, abs=0.25)


@pytest.mark.parametrize("request_kind", ["mislabelled", "most_memorised"])
def test_other_requests_run_through_the_same_code(blobs, tmp_path, request_kind):
    pool = POOL | {"evaluation": 48, "request": request_kind, "doses": [], "attacks": ["loss_regression", "lira"]}
    study = membership.pooled_study(tmp_path, methods={}, pool=pool, **FIELDS)
    assert set(study.table["method"]) == {"original", "original_shuffled", "retrain", "second_retrain"}
    assert records.load(tmp_path)["request"].eq(f"pool-random-{request_kind}-0.6").all()
    folders = list((tmp_path / "pools").iterdir())
    assert len(folders) == (2 if request_kind == "most_memorised" else 1)


def test_an_unknown_request_is_refused(blobs, tmp_path):
    with pytest.raises(UnknownNameError, match="most_memorised"):
        membership.pooled_study(tmp_path, methods={}, pool=POOL | {"request": "memorised"}, **FIELDS)


def test_a_conv_pool_keeps_its_nets_and_goes_on_where_it_was(blobs, tmp_path, monkeypatch):
    fields = FIELDS | {"model": "small_cnn", "recipe": {"epochs": 1, "batch_size": 16}}
    pool = POOL | {"targets": 2, "doses": [], "attacks": ["loss_regression", "lira", "u_lira"]}
    first = membership.pooled_study(tmp_path, methods=METHODS, pool=pool, **fields)
    assert set(first.table["attack"]) >= {"lira", "u_lira"}
    for path in tmp_path.rglob("run.json"):
        path.unlink()
    monkeypatch.setattr(pools, "train", None)  # every net is there: nothing may be trained again
    again = membership.pooled_study(tmp_path, methods=METHODS, pool=pool, **fields)
    assert again.table["value"].tolist() == pytest.approx(first.table["value"].tolist(), nan_ok=True)
