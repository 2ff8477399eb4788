"""A clock that jumps: numbers and records do not depend on it, and results from the future hide no later change."""

import itertools
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from forget_lib.study import run
from tests.faults import workflow_copy as copy

YEAR = 365 * 86400
CONFIG = copy.config_of({"one": copy.scenario()})
METHODS = {"finetune": {}, "uniform_kl": {}}


def measured(table) -> list[tuple]:
    """What was measured, without times."""
    kept = table[table["metric"] != "seconds"]
    return list(kept[["method", "attack", "metric", "value", "low", "high"]].fillna(-1).itertuples(index=False))


def set_times(root: Path, moment: float) -> int:
    """Sets the times of all files under a folder; how many there are."""
    files = [path for path in root.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (moment, moment))
    return len(files)


@pytest.mark.fault("A clock that jumps while methods run")
def test_a_clock_that_jumps_changes_no_number_and_no_cost_is_negative(blobs, tmp_path, monkeypatch):
    fields = {"dataset": "blobs", "model": "mlp", "request": "class:c1"}
    recipe = {"epochs": 2, "batch_size": 16, "learning_rate": 0.05}
    calm = run.run_methods(run.make_scenario(tmp_path / "calm", recipe, **fields), METHODS)
    jumps, now, utc = itertools.cycle([0, YEAR, -20 * YEAR, 3600, -1]), time.time, time.gmtime
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    monkeypatch.setattr(time, "gmtime", lambda *_: utc(now() + next(jumps)))
    table = run.run_methods(run.make_scenario(tmp_path / "jumping", recipe, **fields), METHODS)
    monkeypatch.undo()
    assert measured(table) == measured(calm)
    assert (table.loc[table["metric"] == "seconds", "value"] >= 0).all()


@pytest.mark.fault("Records from the future and from 1970")
@pytest.mark.parametrize("moment", [1.0, time.time() + YEAR], ids=["1970", "in a year"])
def test_records_of_any_time_are_found_and_not_made_again(scenario, monkeypatch, moment):
    before = run.run_methods(scenario, METHODS)
    assert set_times(scenario.root, moment) > 5
    monkeypatch.setattr(run, "unlearn", lambda *_, **__: pytest.fail("a method was run again"))
    assert run.run_methods(scenario, METHODS).equals(before)


@pytest.mark.slow
@pytest.mark.fault("A clock that jumps between two runs")
def test_results_from_the_future_hide_no_later_change(tmp_path):
    root = copy.make(tmp_path / "p", CONFIG)
    copy.run(root)
    before = copy.contents(root)
    set_times(root / "results", time.time() + YEAR)
    notebook = root / "notebooks" / "03_one.ipynb"
    notebook.write_text(notebook.read_text().replace('"source": ""', '"source": "x = 1"'))
    copy.run(root)
    again = {job for job, times in Counter(copy.started(root)).items() if times > 1}
    assert any(job.startswith("03_one") for job in again)
    assert copy.contents(root) == before
    assert "Nothing to be done" in copy.run(root)


@pytest.mark.slow
@pytest.mark.fault("A clock that jumps between two runs")
@pytest.mark.parametrize(
    ("folder", "years"), [("results", -30), ("notebooks", 1)], ids=["results of 1996", "sources of next year"]
)
def test_old_results_and_sources_from_the_future_are_done_again_with_the_same_results(tmp_path, folder, years):
    root = copy.make(tmp_path / "p", CONFIG)
    copy.run(root)
    before = copy.contents(root)
    set_times(root / folder, time.time() + years * YEAR)
    copy.run(root)
    assert copy.contents(root) == before
