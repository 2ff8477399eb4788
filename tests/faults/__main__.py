"""Tries the faults of tests/faults/README.md and counts what came of them.

python -m tests.faults [PART …] [--reference]   records in results/faults, or the committed ones
python -m tests.faults smoke --only kernel      the tests of a part with this word, as a record beside the part's
python -m tests.faults table                    the table of the README from the committed records
"""

import argparse
import sys
from pathlib import Path

import pytest

from forget_lib.core.paths import RESULTS
from tests.faults import record

PARTS = {
    "hostile": ("hostile files, texts and names", "tests/test_hostile*.py"),
    "use": ("what real use found", "tests/test_[!h]*.py"),
    "downloads": ("a server that misbehaves", "tests/faults/test_downloads.py"),
    "damage": ("damaged files, and numbers that break averages", "tests/faults/test_damage.py"),
    "numbers": ("one sample, divergence, constant losses, threads", "tests/faults/test_numbers.py"),
    "clock": ("a clock that jumps", "tests/faults/test_clock.py"),
    "disk": ("full disk, rights, odd paths, two runs at once", "tests/faults/test_disk.py"),
    "kills": ("kill -9 in a workflow of small jobs", "tests/faults/test_kills.py"),
    "supply": ("packages, network cut off, privacy of the artefacts", "tests/faults/test_supply.py"),
    "smoke": ("the smoke profile: 20 kills, twice the same, no network", "tests/faults/long_smoke.py"),
    "demo": ("the demo grows by less than 100 MB over 1,000 interactions", "tests/faults/long_demo.py"),
    "memory": ("the study's largest jobs stay under 4 GiB", "tests/faults/long_memory.py"),
}  # fmt: skip
MARKED = ("use",)  # parts whose files hold other tests too: those marked `fault` run


def main(arguments: list[str]) -> int:
    """Runs parts; the exit status is that of the worst."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Try faults and count what survives.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}, or table; default: all")
    parser.add_argument("--reference", action="store_true", help="write the committed records and the table")
    parser.add_argument("--only", default="", metavar="WORD", help="only tests with this word in their names")
    given = parser.parse_args(arguments)
    about = {part: text for part, (text, _) in PARTS.items()}
    if given.parts == ["table"]:
        record.write_table(about)
        return 0
    wrong = set(given.parts) - set(PARTS)
    if wrong:
        parser.error(f"unknown part {sorted(wrong)[0]!r}; known: {', '.join(PARTS)}, table")
    folder, worst = record.REFERENCE if given.reference else RESULTS / "faults", 0
    for part in given.parts or PARTS:
        files = [str(path) for path in sorted(Path().glob(PARTS[part][1]))]
        tally, before = record.Tally(), record.cpu_seconds()
        options = ["-m", "fault" if part in MARKED else "", "-q", "--no-header", "-p", "no:cacheprovider"]
        options += ["-k", given.only] if given.only else []
        status = pytest.main([*files, *options], plugins=[tally])
        worst = max(worst, int(status))
        name = f"{part}-{given.only}" if given.only else part
        print(f"Record: {record.write(name, tally, record.cpu_seconds() - before, folder)}")
    if given.reference:
        record.write_table(about)
    print(record.table(about, folder))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
