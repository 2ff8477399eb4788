"""The smoke profile for real: the same twice on fresh clones, green without a network, and killed at 20 random moments.

Not part of the tests: half an hour on an idle machine. Each kill prints a line. One kill alone:
`python -m pytest tests/faults/long_smoke.py -m "" -s -k "killed and 03"`
"""

import hashlib
import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from forget_lib.core.paths import REPOSITORY
from forget_lib.study.records import KEYS, read_record, record_folders
from tests.faults.test_supply import TEXTS, told
from tests.faults.workflow_copy import active_environment

KILLS = 20
TARGETS = {
    "runner": "smoke: kill -9 of run_all.sh",
    "snakemake": "smoke: kill -9 of Snakemake",
    "kernel": "smoke: kill -9 of a kernel",
    "all": "smoke: kill -9 of all at once",
}
PLANNED = [(number, list(TARGETS)[number % len(TARGETS)]) for number in range(KILLS)]
TIMED = {"written", "digest", "cost", "files", "measurements"}


def clone(folder: Path, source: Path = REPOSITORY) -> Path:
    """A fresh clone; of one another all have the same commit, whatever is committed meanwhile."""
    subprocess.run(["git", "clone", "--quiet", str(source), str(folder)], check=True)
    return folder


def start(root: Path, *before: str) -> subprocess.Popen:
    """Starts `smoke` with this Python, in a session of its own."""
    environment = active_environment() | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    with (root / "run.log").open("a") as log:
        command = [*before, "./run_all.sh", "smoke"]
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(root: Path, *before: str) -> float:
    """Runs `smoke` to its end, which must be green; the seconds it took."""
    begun = time.monotonic()
    assert start(root, *before).wait() == 0, (root / "run.log").read_text()[-3000:]
    return time.monotonic() - begun


def records(root: Path) -> dict[str, object]:
    """All records, everything but times: what was measured, by name, and the bytes of predictions and weights; and
    the names of all pages."""
    found: dict[str, object] = {"pages": sorted(path.name for path in (root / "results" / "smoke").rglob("*.html"))}
    for folder in record_folders(root / "results" / "smoke"):
        run = read_record(folder)
        assert run is not None, f"{folder} is damaged"
        measured = [each for each in run["measurements"] if "second" not in each["metric"]]
        # The log of a training holds the seconds of each epoch.
        files = {name: digest for name, digest in run["files"].items() if name != "history.csv"}
        rest = {key: value for key, value in run.items() if key not in TIMED}
        found["/".join(str(run[key]) for key in KEYS)] = (json.dumps([rest, measured]), files)
    return found


def check_whole(root: Path) -> None:
    """Every file of the results is what was meant to be written, to its end."""
    results = root / "results" / "smoke"
    for folder in record_folders(results):
        for name, digest in read_record(folder)["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, folder / name
    for page in results.rglob("*.html"):
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>"), page
    for notebook in (results / "notebooks").rglob("*.ipynb"):
        assert json.loads(notebook.read_text(encoding="utf-8"))["cells"], notebook


def computed(root: Path) -> dict[str, int]:
    """When each method of a scenario and each net of a pool was written (nanoseconds), by path."""
    results = root / "results" / "smoke"
    files = [folder / "run.json" for folder in record_folders(results) if "pool-" not in str(folder)]
    files += (results / "pools").rglob("*.npz")
    return {str(path.relative_to(results)): path.stat().st_mtime_ns for path in files if path.is_file()}


def find(process: psutil.Process, what: tuple[str, ...]) -> psutil.Process | None:
    """The first process under a runner whose command has a part that ends with one of some words."""
    try:
        for child in process.children(recursive=True):
            if any(part.endswith(what) for part in child.cmdline()):
                return child
    except psutil.Error:
        pass
    return None


def kill(process: subprocess.Popen, target: str) -> bool:
    """Kills the target in a run as soon as there is one; False where the run ended first."""
    words = {"snakemake": ("snakemake",), "kernel": ("ipykernel_launcher", "kernels/warm/start.py")}
    while process.poll() is None:
        runner = psutil.Process(process.pid)
        victims = {"runner": [runner], "all": [runner, *runner.children(recursive=True)]}.get(target)
        found = victims or [find(runner, words[target])]
        if None not in found:
            for victim in found:
                try:
                    victim.kill()
                except psutil.NoSuchProcess:
                    continue
            process.wait()  # a runner whose kernel or Snakemake was killed ends when the rest has ended
            return True
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return False


def killed_run(root: Path, target: str, moment: float) -> float:
    """Starts `smoke` from nothing and kills the target after `moment` seconds; the seconds after which it was done."""
    while True:
        shutil.rmtree(root / "results" / "smoke", ignore_errors=True)
        shutil.rmtree(root / ".snakemake", ignore_errors=True)
        process, begun = start(root), time.monotonic()
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            after = time.monotonic() - begun
            if kill(process, target):
                return after
        moment /= 2  # the machine is idler than it was: the run was over before


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[dict[str, object], float, Path]:
    root = clone(tmp_path_factory.mktemp("smoke") / "clone")
    seconds = finish(root)
    return records(root), seconds, root


@pytest.fixture(scope="module")
def other(undisturbed, tmp_path_factory) -> Path:
    return clone(tmp_path_factory.mktemp("other") / "clone", undisturbed[2])


@pytest.mark.fault("smoke twice on a fresh clone")
def test_a_fresh_clone_gives_the_same_numbers(undisturbed, other, record_property):
    finish(other)
    assert records(other) == undisturbed[0]
    record_property("tried", len(undisturbed[0]))


@pytest.mark.fault("smoke with the network cut off")
def test_smoke_is_green_without_a_network(undisturbed, tmp_path):
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("!!! THE NETWORK WAS NOT CUT OFF: unshare -n is not allowed here")
    root = clone(tmp_path / "clone", undisturbed[2])
    finish(root, "unshare", "-rn")
    assert records(root) == undisturbed[0]


@pytest.mark.parametrize(
    ("number", "target"),
    [pytest.param(*each, id=f"{each[0]:02}-{each[1]}", marks=pytest.mark.fault(TARGETS[each[1]])) for each in PLANNED],
)
def test_a_killed_smoke_goes_on_and_ends_with_the_same_records(undisturbed, other, number, target, capsys):
    expected, seconds, _ = undisturbed
    after = killed_run(other, target, random.Random(number).uniform(0.05, 0.9) * seconds)
    there = computed(other)
    took = finish(other)
    with capsys.disabled():
        text = f"kill {number + 1} of {KILLS}: {target} after {after:.0f} s, {len(there)} results kept"
        print(f"\n{text}; the next run took {took:.0f} s of {seconds:.0f} s", flush=True)
    assert records(other) == expected
    check_whole(other)
    again = [path for path, moment in computed(other).items() if there.get(path, moment) != moment]
    assert again == [], "computed twice, though it was finished before the kill"


@pytest.mark.fault("Privacy of a smoke result folder")
def test_the_results_of_a_run_name_no_user_host_or_folder(undisturbed, record_property):
    root = undisturbed[2]
    files = [path for path in (root / "results" / "smoke").rglob("*") if path.is_file() and path.suffix in TEXTS]
    found = {str(path.relative_to(root)): told(path) for path in files if "logs" not in path.parts}
    assert {name: what for name, what in found.items() if what} == {}
    record_property("tried", len(found))
