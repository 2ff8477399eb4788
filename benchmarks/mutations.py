"""Changes one place of the library at a time in a copy of it, and asks whether the tests of that file notice.

    pip install --target FOLDER cosmic-ray
    PYTHONPATH=FOLDER OMP_NUM_THREADS=1 python benchmarks/mutations.py [--count 450] [--minutes 60] [part of a path]

The changes are cosmic-ray's: an operator, a comparison, a number or a keyword replaced, a condition turned round, a
loop left out. A sample of them, the same in every run, goes one after another in one thread. Libraries are loaded once;
each change is tried in a process that starts from there, quick tests first, up to the first that fails. That must pass
without the change, else it shows nothing. Each change adds a row to results/reference/mutations.csv, so that a run that
was stopped goes on; a row counts while its file stays as it is. `noticed_by` names the test. `reason` is filled by hand
for a survivor that no test can notice, and is kept; it counts as a survivor all the same.
"""

import argparse
import csv
import gc
import hashlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "results" / "reference" / "mutations.csv"
ROOMS = ("unlearning", "attacks", "statistics")
COLUMNS = ("file", "source", "operator", "occurrence", "line", "before", "after")
COLUMNS += ("outcome", "noticed_by", "seconds", "reason")
IDENTITY = ("file", "operator", "occurrence")
CPU_LIMIT, WALL_LIMIT = 300, 1800
"""Seconds of a change's tests, by processor and by clock. One that takes longer is not taken for noticed."""
VERSIONS = "tests/test_versions.py"
OWN = ("forget_lib", "workflow", "benchmarks", "tests")
PAIRS = "Add_Sub Sub_Add Mul_Div Div_Mul Pow_Mul FloorDiv_Mul"
COMPARISONS = "Lt_GtE LtE_Gt Gt_LtE GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is Lt_LtE LtE_Lt Gt_GtE GtE_Gt"
OTHERS = "AddNot NumberReplacer ReplaceAndWithOr ReplaceOrWithAnd ReplaceTrueWithFalse ReplaceFalseWithTrue"
OTHERS += " ReplaceUnaryOperator_USub_UAdd ReplaceUnaryOperator_Delete_Not ZeroIterationForLoop"
OPERATORS = [f"core/ReplaceBinaryOperator_{pair}" for pair in PAIRS.split()]
OPERATORS += [f"core/ReplaceComparisonOperator_{pair}" for pair in COMPARISONS.split()]
OPERATORS += [f"core/{name}" for name in OTHERS.split()]
"""Of cosmic-ray's replacements the nearest ones; the others mostly raise, and a decorator left out always does."""


def changes() -> list[dict[str, str]]:
    """Every change of every file, in an order that looks random and stays the same for a file that others change."""
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
    return sorted(found, key=lambda row: hashlib.sha256("".join(row[c] for c in IDENTITY).encode()).digest())


def tests_of(file: str) -> list[str]:
    """Arguments of pytest for the tests of a file: its own module, and what is asked of every method or attack."""
    room, stem = file.split("/")[1], Path(file).stem
    own = [path for path in (f"tests/{room}/test_{stem}.py",) if (ROOT / path).exists()]
    if room == "statistics":
        return own or [f"tests/{room}"]
    if room == "attacks":
        return [f"tests/{room}", f"{VERSIONS}::test_an_attack_with_other_numbers_has_another_version"]
    shared = [f"tests/unlearning/test_{name}.py" for name in ("every_method", "frozen", "settings_out_of_range")]
    shared.append(f"{VERSIONS}::test_a_method_with_other_numbers_has_another_version")
    if stem in ("common", "registry", "task", "__init__"):
        return [*own, *shared]
    users = [path.stem for path in (ROOT / "forget_lib" / room).glob("*.py") if f"parts.{stem} " in path.read_text()]
    names = users if "/parts/" in file else [stem]
    theirs = [path for path in (f"tests/{room}/test_{name}.py" for name in users) if (ROOT / path).exists()]
    return [*own, *theirs, *shared, "-k", " or ".join([f"test_{stem}", *names])]


class Watch:
    """A plugin of pytest: quick tests go first, of these the ones that name the file; it keeps which test fails first
    and how long each takes.
    """

    def __init__(self, stem: str, seconds: dict[str, float]) -> None:
        self.stem, self.seconds, self.failed = stem, dict(seconds), ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=self.place)

    def place(self, item: pytest.Item) -> tuple[int, bool]:
        """Slow ones after quick ones in three steps, which keeps the tests of a module together in each."""
        return sum(self.seconds.get(item.nodeid, 0) > limit for limit in (0.5, 5)), self.stem not in item.nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = max(report.duration, self.seconds.get(report.nodeid, 0))
        self.failed = self.failed or report.nodeid * report.failed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.failed = self.failed or report.nodeid * report.failed


class Tests:
    """Runs tests in a copy of the project, each run in a process of its own that starts with all libraries loaded."""

    def __init__(self, folder: Path) -> None:
        self.copy, self.said = folder / "copy", folder / "said.json"
        self.seconds: dict[str, float] = {}
        self.passing: dict[str, bool] = {}
        leave = shutil.ignore_patterns(".git", ".venv", "results", "__pycache__")
        shutil.copytree(ROOT, self.copy, ignore=leave)
        os.chdir(self.copy)
        sys.path.insert(0, str(self.copy))
        for name in ("tests.conftest", "tests.test_versions", "torchmetrics", "sklearn.linear_model"):
            importlib.import_module(name)
        for name in [name for name in sys.modules if name.split(".")[0] in OWN]:
            del sys.modules[name]
        hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
        hypothesis.settings.load_profile("same")
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        gc.freeze()

    def run(self, arguments: list[str], stem: str = "") -> tuple[int | None, str]:
        """Pytest's exit code, None where it came to no end, and the first test that failed."""
        self.said.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
            signal.alarm(WALL_LIMIT)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            watch = Watch(stem, self.seconds)
            code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", *arguments], plugins=[watch])
            self.said.write_text(json.dumps([int(code), watch.failed, watch.seconds]), encoding="utf-8")
            os._exit(0)
        os.waitpid(child, 0)
        if not self.said.exists():
            return None, ""
        code, failed, self.seconds = json.loads(self.said.read_text(encoding="utf-8"))
        return code, failed

    def passes(self, test: str) -> bool:
        """Whether a test passes in the project as it is."""
        if test not in self.passing:
            self.passing[test] = self.run([test, *(["--collect-only"] if "::" not in test else [])])[0] == 0
        return self.passing[test]

    def outcome(self, file: str, changed: str) -> tuple[str, str]:
        """What the tests say of a file's changed text (killed, survived or why neither), and the test that noticed."""
        path = self.copy / file
        before, times = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(changed, encoding="utf-8")
        code, failed = self.run(tests_of(file), path.stem)
        path.write_text(before, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        if code is None:
            return "timeout", ""
        if code == 0:
            return "survived", ""
        if code not in (1, 2):
            return f"no test ran ({code})", ""
        return ("killed" if self.passes(failed) else "fails without the change"), failed


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
    parser.add_argument("part", nargs="?", default="", help="of the sample, only files whose path holds this")
    parser.add_argument("--count", type=int, default=450, help="how many changes in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after this time")
    given = parser.parse_args()
    end, known = time.monotonic() + 60 * given.minutes, {tuple(row[c] for c in COLUMNS[:4]) for row in read_table()}
    sample = [change for change in changes()[: given.count] if given.part in change["file"]]
    with tempfile.TemporaryDirectory() as folder:
        tests = Tests(Path(folder))
        for change in sample:
            text = (tests.copy / change["file"]).read_text(encoding="utf-8")
            changed = mutate_code(text, get_operator(change["operator"])(), int(change["occurrence"]))
            number = int(change["line"]) - 1
            if tuple(change[c] for c in COLUMNS[:4]) in known or changed in (None, text):
                continue
            if time.monotonic() > end:
                break
            start = time.monotonic()
            result, noticed = tests.outcome(change["file"], changed)
            lines = {"before": text.splitlines()[number].strip(), "after": changed.splitlines()[number].strip()}
            said = {
                "outcome": result,
                "noticed_by": noticed,
                "seconds": f"{time.monotonic() - start:.0f}",
                "reason": "",
            }
            add_row(change | lines | said)
    print(summary(read_table()))


def summary(rows: list[dict[str, str]]) -> str:
    """How many changes the tests notice, and how many of these only the recorded numbers do."""
    killed = [row for row in rows if row["outcome"] == "killed"]
    recorded = sum(row["noticed_by"].startswith(VERSIONS) for row in killed)
    survived = [row for row in rows if row["outcome"] == "survived"]
    share = 100 * len(killed) / max(1, len(rows))
    return (
        f"{len(killed)} of {len(rows)} changes ({share:.0f} %) are noticed, {recorded} of them by the recorded numbers"
        f" alone; {len(survived)} are not, {sum(bool(row['reason']) for row in survived)} of these with a reason."
    )


if __name__ == "__main__":
    main()
