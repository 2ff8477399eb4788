"""The smoke profile in fresh clones: the same twice, the same after 20 kills, and green without a network.

Not part of the tests: half an hour on an idle machine. `./run_all.sh faults smoke`
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forget_lib.results import KEYS, REPOSITORY, read_predictions, read_record, record_folders
from tests.faults.test_supply import TEXTS, told

KILLS = 20


def clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    return folder


def start(root: Path, *before: str) -> subprocess.Popen:
    """Starts `smoke` with this Python, in a session of its own."""
    prefix = Path(sys.prefix)
    environment = os.environ | {"VIRTUAL_ENV": str(prefix), "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    with (root / "run.log").open("a") as log:
        command = [*before, "./run_all.sh", "smoke"]
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(root: Path, *before: str) -> None:
    assert start(root, *before).wait() == 0, (root / "run.log").read_text()[-3000:]


def records(root: Path) -> dict[str, object]:
    """What was measured, by record: everything but times."""
    found = {}
    for folder in record_folders(root / "results" / "smoke"):
        run = read_record(folder)
        digest = ""
        if (folder / "predictions.npz").exists():
            arrays = read_predictions(folder)
            digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
        measured = [each for each in run.get("measurements") or [] if "second" not in each["metric"]]
        found["/".join(str(run[key]) for key in KEYS)] = (run.get("status"), repr(measured), digest)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[dict[str, object], float, Path]:
    root = clone(tmp_path_factory.mktemp("smoke") / "clone")
    begun = time.monotonic()
    finish(root)
    return records(root), time.monotonic() - begun, root


@pytest.mark.fault("smoke twice on a fresh clone")
def test_a_fresh_clone_gives_the_same_numbers(undisturbed, tmp_path, record_property):
    root = clone(tmp_path / "clone")
    finish(root)
    assert records(root) == undisturbed[0]
    record_property("tried", len(undisturbed[0]))


@pytest.mark.fault("smoke with the network cut off")
def test_smoke_is_green_without_a_network(undisturbed, tmp_path):
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("!!! THE NETWORK WAS NOT CUT OFF: unshare -n is not allowed here")
    root = clone(tmp_path / "clone")
    finish(root, "unshare", "-rn")
    assert records(root) == undisturbed[0]


@pytest.mark.fault("smoke killed at a random moment")
@pytest.mark.parametrize("number", range(KILLS))
def test_the_next_run_ends_green_with_the_same_numbers(undisturbed, tmp_path, number):
    expected, seconds, _ = undisturbed
    draw = random.Random(number)
    root = clone(tmp_path / "clone")
    process = start(root)
    time.sleep(draw.uniform(0.05, 0.95) * seconds)
    os.killpg(process.pid, signal.SIGKILL) if number % 2 else os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finish(root)
    assert records(root) == expected
    shutil.rmtree(root)


@pytest.mark.fault("Privacy of a smoke result folder")
def test_the_results_of_a_run_name_no_user_host_or_folder(undisturbed, record_property):
    root = undisturbed[2]
    files = [path for path in (root / "results" / "smoke").rglob("*") if path.is_file() and path.suffix in TEXTS]
    found = {str(path.relative_to(root)): told(path) for path in files if "logs" not in path.parts}
    assert {name: what for name, what in found.items() if what} == {}
    record_property("tried", len(found))
