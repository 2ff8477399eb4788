"""kill -9 in a workflow of five small jobs: the next run ends green, with the same bytes and nothing done twice."""

import collections
import signal
import subprocess
import sys

import pytest

from tests.faults import workflow_copy as copy

pytestmark = [pytest.mark.slow, pytest.mark.fault("kill -9 and SIGTERM, stand-in jobs")]
CONFIG = copy.config_of({"one": copy.scenario(seeds=[0, 1])})


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
    copy.wait_for(root, process, jobs)
    copy.kill(process, number, group=group)
    assert process.returncode != 0
    copy.run(root, "--unlock")
    copy.run(root, "--rerun-incomplete")
    assert copy.contents(root) == undisturbed
    assert not [path for path in (root / "results").rglob(".*") if not path.name.endswith(".lock")]
    twice = [job for job, times in collections.Counter(copy.started(root)).items() if times > 1]
    assert len(twice) <= 1, "only the job that was killed is done again"


@pytest.mark.fault("kill -9 of run_all.sh, stand-in jobs")
def test_after_a_killed_runner_the_next_run_waits_for_its_workflow_and_goes_on(undisturbed, tmp_path):
    """Its Snakemake lives on: a second one beside it would do the same jobs."""
    root = copy.make(tmp_path / "p", CONFIG)
    killed = copy.start_runner(root, seconds=1)
    copy.wait_for(root, killed, 2)
    killed.kill()
    killed.wait()
    text = copy.start_runner(root).communicate()[0]
    killed.stdout.close()
    assert "The last run was killed, but its workflow goes on; waiting for that to end" in text
    assert "Done. Open the reports" in text
    assert copy.contents(root) == undisturbed
    assert max(collections.Counter(copy.started(root)).values()) == 1


@pytest.mark.fault("kill -9 of run_all.sh, stand-in jobs")
def test_after_a_runner_and_all_it_started_are_killed_the_next_run_goes_on(undisturbed, tmp_path):
    root = copy.make(tmp_path / "p", CONFIG)
    killed = copy.start_runner(root, seconds=3)
    copy.wait_for(root, killed, 2)
    copy.kill(killed)
    done = copy.start_runner(root)
    text = done.communicate()[0]
    assert done.returncode == 0, text
    assert "The last run was stopped; going on where it was." in text
    assert copy.contents(root) == undisturbed
    twice = [job for job, times in collections.Counter(copy.started(root)).items() if times > 1]
    assert len(twice) <= 1, "only the job that was killed is done again"


@pytest.mark.fault("kill -9 of a kernel")
def test_a_killed_kernel_is_one_message_and_leaves_no_page(tmp_path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    cell = new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "toy.ipynb")
    out = tmp_path / "out" / "a.ipynb"
    command = [sys.executable, "-m", "workflow.pages", "run", str(tmp_path / "toy.ipynb"), "--output", str(out)]
    done = subprocess.run([*command, "--page", str(out.with_suffix(".html"))], capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not be run to its end" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not out.with_suffix(".html").exists()
