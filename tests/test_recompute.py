"""Numbers of README and overview agree with a script that shares no code with the library."""

import gzip
import json
import re
import subprocess
import sys
from functools import cache

from bs4 import BeautifulSoup

from forget_lib.core.paths import REPOSITORY, RESULTS

REFERENCE = RESULTS / "reference"
CELL = re.compile(r"^(forget|kept|bound) [-+.\d]+")


@cache
def recomputed(profile):
    command = [sys.executable, str(REPOSITORY / "tests" / "recompute.py"), str(REFERENCE / profile)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows_of(page):
    """Method and lines of each row of the answer tables of an overview page."""
    for row in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find_all("tr", attrs={"data-name": True}):
        yield row["data-name"], [text.strip() for text in row.stripped_strings if CELL.match(text)]


def test_each_number_of_the_answer_table_follows_from_the_records():
    cells = recomputed("quick")["cells"]
    seen = 0
    for method, lines in rows_of(REFERENCE / "quick" / "notebooks" / "00_overview" / "overview.html"):
        there = {line for key, of_key in cells.items() if key.split()[-1] == method for line in of_key}
        assert set(lines) <= there, f"{method}: {set(lines) - there}"
        seen += len(lines)
    assert seen > 40


def test_the_counts_in_the_readme_follow_from_the_records():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## What was found")[2]
    counts = recomputed(re.search(r"From the records of the `(\w+)` profile", text)[1])["counts"]
    forms = {
        r"any of (\d+) scenarios": [counts["scenarios"]],
        r"Of the (\d+) scenarios": [counts["scenarios"]],
        r"profile in \[.*?\]\(.*?\): (\d+) scenarios": [counts["scenarios"]],
        r"In (\d+) of (\d+) scenarios with \d+ pairs": counts["masked"],
        r"from the retrained one in (\d+) of (\d+) cases": counts["told"],
    }
    found = [(form, match) for form in forms for match in re.finditer(form, text)]
    assert len(found) > 1
    for form, match in found:
        assert list(map(int, match.groups())) == forms[form]


def plain(record):
    return {name: value for name, value in record.items() if isinstance(value, str)}


def test_a_changed_record_changes_its_cell(tmp_path):
    source = REFERENCE / "quick" / "records.jsonl.gz"
    lines = gzip.decompress(source.read_bytes()).decode().splitlines()
    asked = {"request": "class-5", "method": "finetune"}
    records = map(json.loads, lines)
    place, changed = next(each for each in enumerate(records) if asked.items() <= plain(each[1]).items())
    next(each for each in changed["measurements"] if each["metric"] == "forget_accuracy")["value"] += 0.1
    lines[place] = json.dumps(changed)
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    now, before = recomputed(str(tmp_path))["cells"], recomputed("quick")["cells"]
    assert [key for key in before if now[key] != before[key]] == ["mnist mlp class-5 finetune"]
