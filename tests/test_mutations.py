"""The table of changes that tests noticed or not: its form, and the figures that the documentation takes from it."""

import csv
import hashlib
import re
from pathlib import Path

from forget_lib.core.paths import REPOSITORY

TABLE = REPOSITORY / "results" / "reference" / "mutations.csv"
COLUMNS = ["file", "source", "operator", "occurrence", "line", "before", "after"]
COLUMNS += ["outcome", "noticed_by", "seconds", "reason"]
ROOMS = ("forget_lib/unlearning/", "forget_lib/attacks/", "forget_lib/statistics/")


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def current(row: dict[str, str]) -> bool:
    """Whether the file is still the one that was changed."""
    path = REPOSITORY / row["file"]
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest()[:12] == row["source"]


def test_each_change_is_in_the_table_once_with_what_came_of_it():
    found = rows()
    assert list(found[0]) == COLUMNS
    assert len({tuple(row[name] for name in COLUMNS[:4]) for row in found}) == len(found)
    for row in found:
        assert row["file"].startswith(ROOMS)
        assert row["outcome"] in ("killed", "survived", "timeout")
        assert (row["outcome"] == "killed") == row["noticed_by"].startswith("tests/"), row
        assert row["outcome"] != "killed" or not row["reason"], "only what was not noticed needs a reason"


def test_what_is_said_to_have_changed_stands_in_the_file():
    for row in filter(current, rows()):
        lines = (REPOSITORY / row["file"]).read_text(encoding="utf-8").splitlines()
        assert lines[int(row["line"]) - 1].strip() == row["before"]
        assert row["before"] != row["after"]


def test_the_test_that_noticed_is_there():
    modules = {row["noticed_by"].split("::")[0] for row in rows() if current(row) and row["noticed_by"]}
    assert not [name for name in modules if not Path(REPOSITORY, name).exists()]


def test_the_documentation_has_the_figures_of_the_table():
    found = rows()
    killed = [row for row in found if row["outcome"] == "killed"]
    by_numbers = sum(row["noticed_by"].startswith("tests/test_versions.py") for row in killed)
    reasons = sum(bool(row["reason"]) for row in found)
    text = re.sub(r"\s+", " ", (REPOSITORY / "docs" / "methods.md").read_text(encoding="utf-8"))
    assert f"noticed {len(killed)} of {len(found)} such changes ({100 * len(killed) / len(found):.0f} %)" in text
    assert f"{by_numbers} of them only because recorded numbers moved" in text
    assert (
        f"Of the {len(found) - len(killed)} that were not noticed, {reasons} change nothing that a test could see"
        in text
    )
