"""Damaged files: each is detected and named, never averaged in; and numbers that break averages."""

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import read_notebook
from forget_lib.datasets.stored import cache_path, read_cache, write_cache
from forget_lib.deletion import ledger
from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records
from forget_lib.study.records import record_folder, write_record

KEYS = {"dataset": "blobs", "model": "mlp", "request": "class-1", "draw": 0, "seed": 0, "method": "finetune", "run": 0}


@pytest.fixture
def folder(tmp_path):
    measured = [Measurement("forget_accuracy", 0.123456, 0.1, 0.2)._asdict()]
    run = KEYS | {
        "status": "done",
        "synthetic": True,
        "sampled": False,
        "measurements": measured,
        "cost": {"seconds": 1.5},
    }
    folder = record_folder(tmp_path / "results", **KEYS)
    predictions = {"logits": np.arange(4000, dtype=np.float32)}
    history = pd.DataFrame({"epoch": [1], "loss": [0.5]})
    write_record(folder, run, history=history, predictions=predictions, state={"w": torch.arange(500.0)})
    return folder


def flipped(content: bytes, seed: int) -> bytes:
    """One bit of it turned."""
    place = random.Random(seed).randrange(8 * len(content))
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.fault("Damaged records")
def test_a_flipped_bit_of_a_record_never_changes_a_number(folder, tmp_path, record_property, capsys):
    whole = (folder / "run.json").read_bytes()
    before = records.load(tmp_path / "results")
    for seed in range(400):
        (folder / "run.json").write_bytes(flipped(whole, seed))
        try:
            table = records.load(tmp_path / "results")
        except ForgetError:  # the only record was left out
            continue
        assert table.equals(before)
    assert "run.json is damaged" in capsys.readouterr().err
    record_property("tried", 400)


@pytest.mark.fault("Damaged records")
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_record_is_left_out_and_named(folder, tmp_path, share, capsys):
    whole = (folder / "run.json").read_bytes()
    (folder / "run.json").write_bytes(whole[: int(share * len(whole))])
    assert records.read_record(folder) is None
    with pytest.raises(ForgetError, match="No records"):
        records.load(tmp_path / "results")
    assert str(folder / "run.json") in capsys.readouterr().err


@pytest.mark.fault("Damaged weights and predictions")
@pytest.mark.parametrize(
    ("name", "read"), [("predictions.npz", records.read_predictions), ("model.safetensors", records.read_state)]
)
def test_a_flipped_or_lost_byte_of_weights_is_named(folder, name, read, record_property):
    whole = (folder / name).read_bytes()
    damaged = [flipped(whole, seed) for seed in range(100)] + [whole[:-1], whole[: len(whole) // 2], b""]
    for content in damaged:
        (folder / name).write_bytes(content)
        with pytest.raises(ForgetError, match=f"{name} is (missing or )?damaged"):
            read(folder)
    record_property("tried", len(damaged))


@pytest.mark.fault("Damaged caches of data")
def test_a_flipped_bit_of_a_cache_is_named(tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path))
    images = torch.arange(300, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(3, 1, 10, 10)
    path = cache_path("toy")
    write_cache(path, {"images": images, "labels": torch.arange(3)}, "a test")
    whole, unharmed = path.read_bytes(), 0
    for seed in range(100):
        path.write_bytes(flipped(whole, seed))
        try:
            assert torch.equal(read_cache(path, ("images", "labels"))[0][0], images)
            unharmed += 1
        except ForgetError as error:
            message = str(error)
            assert "toy.safetensors" in message
    assert unharmed < 30, "what is not noticed lies in the note of where the data came from"
    record_property("tried", 100)


@pytest.mark.fault("Damaged ledgers")
def test_a_flipped_bit_of_a_ledger_is_named(tmp_path, record_property):
    path = tmp_path / "ledger.jsonl"
    for number in range(3):
        ledger.append(path, {"request": f"r{number}", "time": ledger.now()})
    whole = path.read_bytes()
    for seed in range(200):
        path.write_bytes(flipped(whole, seed))
        with pytest.raises(ForgetError, match="ledger"):
            ledger.read_ledger(path)
    record_property("tried", 200)


@pytest.mark.fault("Damaged notebooks")
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_truncated_notebook_is_named(tmp_path, share):
    text = json.dumps({"cells": [{"cell_type": "code", "source": "x = 1", "metadata": {}}], "metadata": {}})
    (tmp_path / "a.ipynb").write_text(text[: int(share * len(text))])
    with pytest.raises(ForgetError, match=r"a\.ipynb"):
        read_notebook(tmp_path / "a.ipynb")


@pytest.mark.fault("Numbers that break averages")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_survives_the_disk_and_is_no_damage(folder, tmp_path, value):
    run = records.read_record(folder)
    run["measurements"][0]["value"] = value
    write_record(folder, {key: run[key] for key in run if key not in ("schema", "digest", "files")})
    found = records.load(tmp_path / "results")["value"].iloc[0]
    assert found == value or np.isnan(found) == np.isnan(value)


@pytest.mark.fault("Numbers that break averages")
@pytest.mark.parametrize("members", [[0.5] * 30, [0.0] * 30, [1e30] * 30])
def test_an_attack_on_constant_losses_finds_nothing(members):
    from forget_lib.statistics.intervals import auc

    assert auc(np.array(members), np.array(members)) == pytest.approx(0.5)
