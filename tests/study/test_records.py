import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from forget_lib.core import paths
from forget_lib.core.errors import ForgetError
from forget_lib.statistics.intervals import t_interval
from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records
from forget_lib.study.records import record_folder, write_record


def run(seed: int = 0, method: str = "finetune", value: float = 0.5, number: int = 0) -> dict:
    measured = [Measurement("forget_accuracy", value)._asdict()]
    keys = {"dataset": "blobs", "model": "mlp", "request": "class-1", "draw": 0, "seed": seed, "method": method}
    return keys | {"run": number, "status": "done", "synthetic": True, "sampled": False, "measurements": measured}


def write(root, content: dict) -> None:
    write_record(record_folder(root, **{key: content[key] for key in records.KEYS}), content)


def test_a_record_comes_back_as_it_was_written(tmp_path):
    folder = tmp_path / "record"
    predictions = {"forget_logits": np.eye(3, dtype=np.float32)}
    history = pd.DataFrame({"epoch": [1], "loss": [0.25]})
    write_record(folder, run(), history=history, predictions=predictions, state={"w": torch.ones(2)})
    assert records.read_record(folder)["method"] == "finetune"
    assert np.array_equal(records.read_predictions(folder)["forget_logits"], np.eye(3))
    assert torch.equal(records.read_state(folder)["w"], torch.ones(2))
    assert pd.read_csv(folder / "history.csv").equals(history)


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
@pytest.mark.parametrize(("key", "value"), [("cost", 0.75), ("measurements", {"a": 1}), ("cost", 0)])
def test_the_writer_refuses_what_the_reader_would_not_take(tmp_path, key, value):
    with pytest.raises(TypeError, match=key):
        write_record(tmp_path / "record", run() | {key: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_a_whole_record_of_another_shape_is_made_again_and_not_called_damaged(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "record"
    monkeypatch.setattr(records, "FIELDS", {})
    write_record(folder, run() | {"cost": 0.75})  # as earlier versions did
    monkeypatch.undo()
    assert records.read_record(folder) is None
    assert "damaged" not in capsys.readouterr().err


def test_a_failed_write_leaves_the_older_record_and_no_rubbish(tmp_path, monkeypatch):
    folder = tmp_path / "record"
    write_record(folder, run(value=0.1))

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.np, "savez_compressed", full)
    with pytest.raises(ForgetError, match="No space left"):
        write_record(folder, run(value=0.9), predictions={"x": np.zeros(1)})
    assert records.read_record(folder)["measurements"][0]["value"] == 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_numbers_of_the_table_are_numbers_where_intervals_are_missing(tmp_path):
    write(tmp_path, run())
    table = records.load(tmp_path)
    assert [str(table[column].dtype) for column in ("value", "low", "high", "null")] == ["float64"] * 4
    assert np.isnan(table["low"]).all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ForgetError, match="Cannot write"):
        write_record(tmp_path / "a" / "b", run())


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ForgetError, match="Cannot write"):
        write_record(tmp_path / "a" / "b", run())


def test_damaged_files_are_noticed(tmp_path):
    folder = tmp_path / "record"
    write_record(folder, run(), predictions={"x": np.zeros(3)}, state={"w": torch.ones(2)})
    for name in ("run.json", "predictions.npz", "model.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes()[:20])
    assert records.read_record(folder) is None
    for read in (records.read_predictions, records.read_state):
        with pytest.raises(ForgetError, match="delete the folder"):
            read(folder)


def test_the_table_has_a_row_for_each_record_and_metric(tmp_path):
    for seed, value in ((0, 0.2), (1, 0.4)):
        write(tmp_path, run(seed, value=value))
        write(tmp_path, run(seed, "retrain", value / 2))
    write(tmp_path, run(0, "second_retrain", 0.15))
    table = records.load(tmp_path)
    assert len(table) == 5
    assert set(table["method"]) == {"finetune", "retrain", "second_retrain"}
    means = records.summary(table).set_index("method")
    assert means.loc["finetune", "mean"] == pytest.approx(0.3)
    assert means.loc["finetune", "oracle"] == pytest.approx(0.15)
    low, high = means.loc["finetune", ["low", "high"]]  # a share cannot lie outside, its t-interval does
    assert 0 < low < 0.3 < high < 1
    assert np.isnan(means.loc["second_retrain", "low"])


def test_measurements_of_several_items_are_summarised_apart_each_with_its_own_oracle(tmp_path):
    for method, gain in (("finetune", 0.1), ("retrain", 0.0)):
        measured = [
            Measurement("class_accuracy", value + gain, item=item)._asdict()
            for item, value in (("cat", 0.2), ("dog", 0.6))
        ]
        write(tmp_path, run(0, method) | {"measurements": measured})
    means = records.summary(records.load(tmp_path)).set_index(["method", "item"])
    assert means["mean"].to_dict() == pytest.approx({("finetune", "cat"): 0.3, ("finetune", "dog"): 0.7,
                                                     ("retrain", "cat"): 0.2, ("retrain", "dog"): 0.6})  # fmt: skip
    assert means.loc["finetune", "oracle"].to_dict() == pytest.approx({"cat": 0.2, "dog": 0.6})


def test_a_dose_or_a_null_of_a_pooled_study_is_a_row_of_its_own_and_never_the_oracle(tmp_path):
    for method, kind, share, value in (
        ("a", "control", None, 0.1),
        ("b", "dose", 0.5, 0.2),
        ("c", "shuffled", None, 0.3),
    ):
        about = {"kind": kind, "share": share, "measurements": [Measurement("auc", value)._asdict()]}
        content = run(0, "retrain") | about
        write_record(
            record_folder(tmp_path, **{key: content[key] for key in records.KEYS} | {"method": method}), content
        )
    means = records.summary(records.load(tmp_path)).set_index("kind")
    assert means["mean"].to_dict() == {"control": 0.1, "dose": 0.2, "shuffled": 0.3}
    assert means["share"].dropna().to_dict() == {"dose": 0.5}
    assert set(means["oracle"]) == {0.1}


def test_the_interval_of_a_mean_is_the_one_of_the_statistics(tmp_path):
    values = (0.4, 0.45, 0.6)
    for seed, value in enumerate(values):
        write(tmp_path, run(seed, value=value))
    row = records.summary(records.load(tmp_path)).iloc[0]
    assert (row["mean"], row["low"], row["high"], row["n"]) == pytest.approx(t_interval(values)[:4])
    runs = records.load(tmp_path).assign(value=[-0.5, 0.1, 0.9])
    wide = t_interval([-0.5, 0.1, 0.9])
    free = records.summary(runs.assign(metric="separation"))
    assert free.iloc[0][["low", "high"]].tolist() == pytest.approx(wide[1:3])
    low, high = records.summary(runs.assign(metric="auc_gap")).iloc[0][["low", "high"]]
    assert (low, high) == pytest.approx((-0.92555, 0.96131), rel=1e-4)
    low, high = records.summary(runs.assign(unit="nats")).iloc[0][["low", "high"]]
    assert 0 < low < 0.01
    assert high == pytest.approx(wide[2])
    steps = runs.assign(metric="relearning_steps", unit="batches", value=[0.0, 1.0, 3.0])
    assert records.summary(steps).iloc[0]["low"] > 0  # by t: 1.3 mini-batches (-2.5 to 5.1)
    write(tmp_path, run(3, value=float("nan")))
    with pytest.raises(ForgetError, match="not finite"):
        records.summary(records.load(tmp_path))


def test_a_failed_record_is_in_the_table_with_its_reason(tmp_path):
    write(tmp_path, run() | {"status": "failed", "reason": "diverged", "measurements": []})
    table = records.load(tmp_path)
    assert table.loc[0, "reason"] == "diverged"
    assert records.summary(table).empty


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(ForgetError, match=r"\./run_all\.sh"):
        records.load(tmp_path)


def test_written_tables_name_no_folder_of_this_machine(tmp_path):
    write(tmp_path, run())
    records.write_tables(tmp_path)
    assert str(tmp_path) not in (tmp_path / "tables" / "runs.csv").read_text()


def test_provenance_names_no_user_and_no_path():
    text = json.dumps(records.provenance())
    assert "commit" in text
    assert str(paths.REPOSITORY) not in text


def git(folder, *words):
    """A new repository has one commit after `git(folder, "init")` and `git(folder, "commit")`."""
    author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    more = ("--quiet", "--allow-empty", "-m", "x") if words[0] == "commit" else ("--quiet",)
    subprocess.run(["git", *author, *words, *more], cwd=folder, check=True)


@pytest.mark.fault("Settings of the user's account, long TMPDIR, pip, the commit of another repository")
def test_the_commit_is_that_of_this_copy_and_of_no_repository_around_it_or_named_by_the_environment(
    tmp_path, monkeypatch
):
    inner, other = tmp_path / "around" / "copy", tmp_path / "other"
    for folder in (inner, other):
        folder.mkdir(parents=True)
    for folder in (tmp_path / "around", other):
        git(folder, "init")
        git(folder, "commit")
    monkeypatch.setattr(records, "REPOSITORY", inner)
    assert records.commit() == "unknown"
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert records.commit() == "unknown"
    monkeypatch.setattr(records, "REPOSITORY", tmp_path / "around")
    head = (tmp_path / "around" / ".git" / "refs" / "heads" / "main").read_text().strip()
    assert records.commit() == head
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert records.commit() == head
