"""A run against the committed reference: identical, within its interval, outside, and what is on one side only."""

import json
import os

import pandas as pd
import pytest
from nbformat.v4 import new_markdown_cell

from forget_lib.core.errors import ForgetError
from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records
from tests.study.test_records import run, write
from tests.test_report import write as write_notebook
from workflow.pages import compare
from workflow.pages.__main__ import main
from workflow.pages.index import write_index

MADE = {"versions": {"torch": "2"}}


def study(root, shift: float = 0.0, seeds: int = 3, methods=("retrain", "scrub")):
    """Records of a scenario and of a pool; `shift` moves the forget accuracy of scrub."""
    for seed in range(seeds):
        for method in methods:
            value = 0.5 + 0.1 * seed + (shift if method == "scrub" else 0)
            measured = [
                Measurement("forget_accuracy", value),
                Measurement("test_accuracy", 0.9),
                Measurement("other", 1),
            ]
            write(root, run(seed, method) | {"measurements": [m._asdict() for m in measured]} | MADE)
    areas = [Measurement("auc", 0.7, 0.6, 0.8, attack=name) for name in ("lira", "loss_regression")]
    pooled = {"request": "pool-random-0.1", "measurements": [m._asdict() for m in areas]} | MADE
    for method, kind in {"original": "control", "original_shuffled": "shuffled", "retrain_keeping_0.1": "dose"}.items():
        write(root, run(0, method) | pooled | {"kind": kind})
    write(root, run(0, "original") | {"request": "all"} | MADE)
    return root


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """The reference of profile `toy`, as a folder of results/reference."""
    monkeypatch.setattr(compare, "REFERENCE", tmp_path / "reference")
    folder = tmp_path / "reference" / "toy"
    folder.mkdir(parents=True)
    table = records.summary(records.load(study(tmp_path / "made")))
    table.to_csv(folder / "summary.csv", index=False)
    (folder / "MANIFEST.json").write_text(json.dumps({"commits": ["abc"], "versions": {"torch": "2"}}))
    return folder


def verdicts(root) -> dict[tuple[str, str], str]:
    table = compare.compare(root).table
    return {(row.method, row.metric): row.verdict for row in table.itertuples()}


def test_the_same_run_is_identical_and_only_headline_numbers_count(reference, tmp_path):
    found = verdicts(study(tmp_path / "toy"))
    assert set(found.values()) == {compare.IDENTICAL}
    assert set(found) == {
        *((method, metric) for method in ("retrain", "scrub") for metric in ("forget_accuracy", "test_accuracy")),
        ("original", "auc"),
    }
    lines = compare.report(tmp_path / "toy")
    assert len(lines) == 1
    assert "toy (abc): 5 headline numbers: 5 identical, 0 within" in lines[0]


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.05, compare.WITHIN), (-0.9, compare.OUTSIDE), (0.9, compare.OUTSIDE)]
)
def test_a_number_is_held_against_the_interval_of_the_reference(reference, tmp_path, shift, verdict):
    root = study(tmp_path / "toy", shift)
    assert verdicts(root)["scrub", "forget_accuracy"] == verdict
    named = [line for line in compare.report(root) if line.startswith("Outside")]
    assert len(named) == (verdict == compare.OUTSIDE)
    assert all("scrub, forget_accuracy" in line and "reference 0.6000 (0.3516 to 0.8484)" in line for line in named)


def test_the_farthest_outside_comes_first_and_the_rest_is_counted():
    rows = [
        ["d", "m", "r", f"by {far}", "", "auc", far, 1, 0.0, -0.1, 0.1, 3, compare.OUTSIDE] for far in (0.2, -0.9, 0.5)
    ]
    table = pd.DataFrame(
        rows, columns=[*compare.KEYS, "mean", "n", "reference", "low", "high", "n_reference", "verdict"]
    )
    lines = compare.sentences(compare.Comparison(table, 2, 3, {}, {}), shown=2)
    outside = [line for line in lines if line.startswith("Outside")]
    assert ["by -0.9" in outside[0], "by 0.5" in outside[1], outside[2]] == [True, True, "Outside: 1 more."]
    assert any(line.startswith("2 numbers of the reference are not") for line in lines)
    assert any(line.startswith("3 numbers of this run are not") for line in lines)
    assert any(line.startswith("3 of them are means over another number") for line in lines)


def test_one_run_without_an_interval_is_neither_within_nor_outside(reference, tmp_path):
    records.summary(records.load(study(tmp_path / "one", seeds=1))).to_csv(reference / "summary.csv", index=False)
    assert verdicts(study(tmp_path / "toy", 0.1))["scrub", "forget_accuracy"] == compare.UNKNOWN
    assert "different, of one run each" in compare.report(tmp_path / "toy")[0]


def test_other_versions_are_named_and_other_scenarios_do_no_harm(reference, tmp_path):
    (reference / "MANIFEST.json").write_text(json.dumps({"versions": {"torch": "1", "pandas": "3"}}))
    assert "Other versions: torch 2, reference 1." in compare.report(study(tmp_path / "toy"))
    (reference / "MANIFEST.json").write_text("[damaged")
    assert "unknown commit" in compare.report(tmp_path / "toy")[0]
    write(tmp_path / "other" / "toy", run() | {"dataset": "elsewhere"})
    assert "No headline number" in compare.report(tmp_path / "other" / "toy")[0]


def test_a_table_older_than_a_record_is_not_believed(reference, tmp_path):
    root = study(tmp_path / "toy")
    records.write_tables(root)
    os.utime(root / "tables" / "summary.csv", (1, 1))
    study(root, 0.9)
    assert verdicts(root)["scrub", "forget_accuracy"] == compare.OUTSIDE


def test_without_a_reference_it_is_one_plain_line_and_no_failure(reference, tmp_path, capsys):
    root = study(tmp_path / "mine")
    assert main(["compare", str(root)]) == 0
    assert capsys.readouterr().out == "There is no reference to compare with: no results/reference/mine/summary.csv.\n"
    assert compare.lines_of_index(root) == []
    assert main(["compare", str(root), "--reference", str(reference)]) == 0
    assert "5 identical" in capsys.readouterr().out


def test_a_damaged_reference_is_a_message(reference, tmp_path):
    root = study(tmp_path / "toy")
    for damage in ("", "a,b\n1,2\n", "\x00\xff"):
        (reference / "summary.csv").write_text(damage)
        with pytest.raises(ForgetError, match="git checkout"):
            compare.compare(root)
    assert "git checkout" in compare.lines_of_index(root)[0]


def test_a_folder_without_records_says_what_to_run(reference, tmp_path):
    (tmp_path / "empty" / "toy").mkdir(parents=True)
    with pytest.raises(ForgetError, match=r"\./run_all\.sh"):
        compare.compare(tmp_path / "empty" / "toy")


def test_names_in_a_comparison_are_text_in_the_index(reference, tmp_path):
    page = write_notebook(tmp_path / "toy" / "notebooks" / "03_toy" / "one.ipynb", new_markdown_cell("# A toy"))
    page.with_suffix(".html").write_text("made")
    root = study(tmp_path / "toy", 0.9)
    table = pd.read_csv(reference / "summary.csv").replace({"dataset": {"blobs": "<b>"}})
    table.to_csv(reference / "summary.csv", index=False)
    for record in records.record_folders(root):
        write(root, records.read_record(record) | {"dataset": "<b>"})
    assert "Outside: <b>" in "".join(compare.lines_of_index(root))
    assert "<b>" not in write_index(root).read_text()
    assert "Outside: &lt;b&gt;" in write_index(root).read_text()


def test_the_index_of_a_profile_says_it(reference, tmp_path):
    page = write_notebook(tmp_path / "toy" / "notebooks" / "03_toy" / "one.ipynb", new_markdown_cell("# A toy"))
    page.with_suffix(".html").write_text("made")
    assert "Against the reference" not in write_index(tmp_path / "toy").read_text()
    study(tmp_path / "toy")
    assert "5 headline numbers: 5 identical" in write_index(tmp_path / "toy").read_text()
