"""kill -9 in a workflow of five small jobs: the next run ends green, with the same bytes and nothing done twice."""

import collections
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import workflow_copy as copy

pytestmark = [pytest.mark.slow, pytest.mark.fault("kill -9 and SIGTERM, stand-in jobs")]
CONFIG = copy.config_of({"one": copy.scenario(seeds=[0, 1])})


def started(root: Path) -> list[str]:
    path = root / "started.txt"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(root: Path, process, jobs: int) -> None:
    """Until so many jobs have been started; the run itself is the clock."""
    while len(started(root)) < jobs and process.poll() is None:
        os.sched_yield()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, str]:
    root = copy.make(tmp_path_factory.mktemp("undisturbed") / "p", CONFIG)
    copy.run(root)
    return copy.contents(root)


@pytest.mark.parametrize(
    ("jobs", "number", "group"),
    [(1, signal.SIGKILL, True), (3, signal.SIGKILL, False), (4, signal.SIGTERM, True)],
    ids=["all-in-the-first-job", "snakemake-alone-in-the-third", "terminated-in-the-fourth"],
)
def test_the_next_run_goes_on(undisturbed, tmp_path, jobs, number, group):
    root = copy.make(tmp_path / "p", CONFIG)
    process = copy.start(root, seconds=3)
    wait_for(root, process, jobs)
    copy.kill(process, number, group=group)
    assert process.returncode != 0
    copy.run(root, "--unlock")
    copy.run(root, "--rerun-incomplete")
    assert copy.contents(root) == undisturbed
    assert not [path for path in (root / "results").rglob(".*") if not path.name.endswith(".lock")]
    twice = [job for job, times in collections.Counter(started(root)).items() if times > 1]
    assert len(twice) <= 1, "only the job that was killed is done again"


@pytest.mark.fault("kill -9 of a kernel")
def test_a_killed_kernel_is_one_message_and_leaves_no_page(tmp_path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    cell = new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "toy.ipynb")
    out = tmp_path / "out" / "a.ipynb"
    command = [sys.executable, "-m", "forget_lib.report", "run", str(tmp_path / "toy.ipynb"), "--output", str(out)]
    done = subprocess.run([*command, "--page", str(out.with_suffix(".html"))], capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not be run to its end" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not out.with_suffix(".html").exists()
