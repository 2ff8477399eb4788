"""What goes into results/reference: tables of records, with where they came from."""

import json
import sys

import pandas as pd

from forget_lib import results
from forget_lib.results import REPOSITORY
from tests.test_results import run, write

sys.path.append(str(REPOSITORY))
from benchmarks.reference import cell, write_profile, write_reference

ABOUT = {"commit": "abc", "versions": {"python": "3"}, "data_checksum": "d", "recipe": {"epochs": 1}, "settings": {}}


def records(root) -> pd.DataFrame:
    for seed, value in enumerate((0.2, 0.4)):
        write(root, run(seed, value=value) | ABOUT)
    return results.load(root)


def test_a_cell_has_an_interval_where_there_are_two_runs_or_more(tmp_path):
    table = results.summary(records(tmp_path))
    assert cell(table).startswith("0.300 (")
    assert cell(table.assign(n=1)) == "0.300"
    assert cell(table.iloc[:0]) == ""


def test_tables_stand_beside_what_they_were_made_of(tmp_path):
    table = records(tmp_path / "records")
    write_reference(tmp_path / "out", table, ["forget_accuracy"], "# Page", "python made.py")
    about = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert (about["command"], about["commits"], about["draws_and_seeds"]) == ("python made.py", ["abc"], [0, 1])
    assert len(pd.read_csv(tmp_path / "out" / "runs.csv")) == 2


def test_a_profile_gives_the_same_bytes_again_at_another_time(tmp_path, monkeypatch):
    root = tmp_path / "quick"
    records(root)
    results.write_tables(root)
    (root / "figures").mkdir()
    (root / "figures" / "headline.png").write_bytes(b"a picture")
    for hours, name in enumerate(("one", "two")):
        monkeypatch.setattr("gzip.time.time", lambda hours=hours: 1e9 + 3600 * hours)
        write_profile(root, tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]
    assert json.loads(files[0]["provenance.json"])["records"] == 2
    assert len(pd.read_csv(tmp_path / "one" / "runs.csv.gz")) == 2
