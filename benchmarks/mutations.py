"""Changes one place of the library at a time in a copy of it, and asks whether the tests of that file notice.

    python benchmarks/mutations.py --python .venv/bin/python [--count 450] [--minutes 60] [part of a path]

The changes are cosmic-ray's (`pip install cosmic-ray`, into another environment than the study's, whose Python is named
by --python): an operator, a comparison, a number or a keyword replaced, a condition turned round, a loop left out. A
sample of them, the same in every run, goes one after another at low priority in one thread. Each adds a row to
results/reference/mutations.csv, so that a run that was stopped goes on; a row counts while its file stays as it is.
The column `reason` is filled by hand for a survivor that no test should notice, and is kept.
"""

import argparse
import csv
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "results" / "reference" / "mutations.csv"
ROOMS = ("unlearning", "attacks", "statistics")
COLUMNS = ("file", "source", "operator", "occurrence", "line", "before", "after", "outcome", "seconds", "reason")
TIMEOUT = 900
PAIRS = "Add_Sub Sub_Add Mul_Div Div_Mul Pow_Mul FloorDiv_Mul"
COMPARISONS = "Lt_GtE LtE_Gt Gt_LtE GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is Lt_LtE LtE_Lt Gt_GtE GtE_Gt"
OTHERS = "AddNot NumberReplacer ReplaceAndWithOr ReplaceOrWithAnd ReplaceTrueWithFalse ReplaceFalseWithTrue"
OTHERS += " ReplaceUnaryOperator_USub_UAdd ReplaceUnaryOperator_Delete_Not ZeroIterationForLoop"
OPERATORS = [f"core/ReplaceBinaryOperator_{pair}" for pair in PAIRS.split()]
OPERATORS += [f"core/ReplaceComparisonOperator_{pair}" for pair in COMPARISONS.split()]
OPERATORS += [f"core/{name}" for name in OTHERS.split()]
"""Of cosmic-ray's replacements the nearest ones; the others mostly raise, and a decorator left out always does."""


def changes() -> list[dict[str, str]]:
    """Every change of every file that compiles and changes something, in a random order, the same in each run."""
    found = []
    for path in [path for room in ROOMS for path in sorted((ROOT / "forget_lib" / room).rglob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        nodes = list(ast_nodes(get_ast(text)))
        same = {"file": str(path.relative_to(ROOT)), "source": hashlib.sha256(text.encode()).hexdigest()[:12]}
        for name in OPERATORS:
            operator = get_operator(name)()
            places = [place for node in nodes for place in operator.mutation_positions(node)]
            for number, (start, _) in enumerate(places):
                found.append(same | {"operator": name, "occurrence": str(number), "line": str(start[0])})
    random.Random(0).shuffle(found)
    return found


def tests_of(file: str) -> list[str]:
    """Arguments of pytest for the tests of a file: its own module, and what is asked of every method or attack."""
    room, stem = file.split("/")[1], Path(file).stem
    own = [path for path in (f"tests/{room}/test_{stem}.py",) if (ROOT / path).exists()]
    if room == "statistics":
        return own or [f"tests/{room}"]
    every = f"tests/{room}/test_every_{'method' if room == 'unlearning' else 'attack'}.py"
    if "/parts/" in file or stem in ("common", "registry", "task", "__init__"):
        return [*own, f"tests/{room}", "--ignore=tests/unlearning/test_digits.py"]
    shared = [every, *(["tests/unlearning/test_frozen.py"] if room == "unlearning" else []), "tests/test_versions.py"]
    return [*own, *shared, "-k", f"test_{stem} or {stem}"]


def outcome(copy: Path, python: str, file: str, changed: str) -> str:
    """What the tests say of a file's changed text: killed, survived, or timeout, which is not taken for killed."""
    path, before = copy / file, (copy / file).read_text(encoding="utf-8")
    path.write_text(changed, encoding="utf-8")
    command = ["nice", "-n", "15", python, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *tests_of(file)], cwd=copy, env=environment, capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        path.write_text(before, encoding="utf-8")
    return {0: "survived", 1: "killed", 2: "killed"}.get(done.returncode, f"no test ran ({done.returncode})")


def read_table() -> list[dict[str, str]]:
    """The rows so far."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def add_row(row: dict[str, str]) -> None:
    """Writes one more row, and the heading before the first."""
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", default="", help="only files whose path holds this")
    parser.add_argument("--python", required=True, help="the study's Python")
    parser.add_argument("--count", type=int, default=450, help="how many changes in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after this time")
    given = parser.parse_args()
    end, known = time.monotonic() + 60 * given.minutes, {tuple(row[c] for c in COLUMNS[:4]) for row in read_table()}
    sample = [change for change in changes() if given.part in change["file"]][: given.count]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "results", "__pycache__"))
        for change in sample:
            text = (ROOT / change["file"]).read_text(encoding="utf-8")
            changed = mutate_code(text, get_operator(change["operator"])(), int(change["occurrence"]))
            number = int(change["line"]) - 1
            if tuple(change[c] for c in COLUMNS[:4]) in known or changed in (None, text):
                continue
            if time.monotonic() > end:
                break
            start = time.monotonic()
            result = outcome(copy, given.python, change["file"], changed)
            lines = {"before": text.splitlines()[number].strip(), "after": changed.splitlines()[number].strip()}
            add_row(change | lines | {"outcome": result, "seconds": f"{time.monotonic() - start:.0f}", "reason": ""})
    rows = read_table()
    killed = sum(row["outcome"] == "killed" for row in rows)
    print(f"{killed} of {len(rows)} changes killed, {sum(row['outcome'] == 'survived' for row in rows)} survived.")


if __name__ == "__main__":
    main()
