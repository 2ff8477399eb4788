"""What was tried and what came of it: counted while the tests run, written as a record, shown as a table.

A test says by `@pytest.mark.fault("row")` which row of the table counts it, and by
`record_property("tried", n)` that it tried n things and not one.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forget_lib.core.paths import REPOSITORY
from forget_lib.study.records import provenance

REFERENCE = REPOSITORY / "results" / "reference" / "faults"
README = Path(__file__).with_name("README.md")
START, END = "<!-- table: python -m tests.faults table -->", "<!-- end of table -->"


class Tally:
    """A pytest plugin that counts the tests of each row."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = defaultdict(
            lambda: {"tried": 0, "survived": 0, "skipped": [], "failed": [], "measured": {}}
        )
        self.row_of: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remembers the row of each test."""
        for item in items:
            mark = item.get_closest_marker("fault")
            if mark:
                self.row_of[item.nodeid] = mark.args[0]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts a test that has ended."""
        if report.nodeid not in self.row_of or (report.when != "call" and report.passed):
            return
        row, given = self.rows[self.row_of[report.nodeid]], dict(report.user_properties)
        name = report.nodeid.rpartition("::")[2]
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            row["skipped"].append(f"{name}: {reason}")
            return
        tried = int(given.pop("tried", 1))
        row["tried"] += tried
        row["measured"] |= given
        if report.passed:
            row["survived"] += tried
        else:
            row["failed"].append(name)


def write(part: str, tally: Tally, seconds: float, folder: Path) -> Path:
    """Writes the record of a part of the run."""
    about = provenance()
    content = {
        "part": part,
        "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": about["commit"],
        "versions": about["versions"],
        "system": about["system"],
        "cpu_seconds": round(seconds, 1),
        "rows": {name: tally.rows[name] for name in sorted(tally.rows)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def cpu_seconds() -> float:
    """CPU time of this process and of those it has waited for."""
    times = time.process_time()
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times + children.ru_utime + children.ru_stime


def table(parts: dict[str, str], folder: Path = REFERENCE) -> str:
    """The table of all parts in Markdown; a part without a record was not run, and says so."""
    lines = ["| part | what | tried | survived or refused | run |", "| --- | --- | ---: | ---: | --- |"]
    for part, about in parts.items():
        paths = [*folder.glob(f"{part}.json"), *sorted(folder.glob(f"{part}-*.json"))]
        if not paths:
            lines.append(f"| `{part}` | {about} | – | – | not run yet |")
        for path in paths:
            lines += _lines(part, json.loads(path.read_text(encoding="utf-8")))
    return "\n".join(lines)


def _lines(part: str, content: dict[str, Any]) -> Iterator[str]:
    commit, changed, _ = content["commit"].partition("+changed")
    when = f"{content['made'][:10]}, {commit[:7]}{changed}"
    for name, row in content["rows"].items():
        notes = [f"{len(row['skipped'])} skipped" if row["skipped"] else ""]
        notes += [f"FAILED: {', '.join(row['failed'])}" if row["failed"] else ""]
        notes += [f"{key}: {value}" for key, value in row["measured"].items()]
        text = "; ".join(filter(None, [name, *notes]))
        yield f"| `{part}` | {text} | {row['tried']} | {row['survived']} | {when} |"


def write_table(parts: dict[str, str]) -> None:
    """Puts the table into the README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    README.write_text(f"{before}{START}\n{table(parts)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
