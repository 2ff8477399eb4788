"""Disks and rights: full, read-only, odd paths, a moved folder, two runs at once; one message each, nothing half."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.paths import REPOSITORY
from forget_lib.study.records import read_record, write_record
from tests.faults import workflow_copy as copy

CONFIG = copy.config_of({"one": copy.scenario()})
ODD = "a folder with spaces, ümläuts, 名前 & 'quotes' $HOME"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("!!! A FULL DISK WAS NOT TRIED: mounting a small tmpfs needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"!!! A FULL DISK WAS NOT TRIED: no tmpfs can be mounted here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.fault("Disk full")
def test_a_record_that_does_not_fit_leaves_the_older_one(small_disk):
    noise = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8)
    write_record(small_disk / "r", {"value": 1})
    with pytest.raises(ForgetError, match="No space left"):
        write_record(small_disk / "r", {"value": 2}, predictions={"x": noise})
    assert read_record(small_disk / "r")["value"] == 1
    assert [path.name for path in small_disk.iterdir()] == ["r"]


@pytest.mark.fault("Disk full")
def test_a_page_that_does_not_fit_leaves_the_older_one(small_disk):
    write_text(small_disk / "a.html", "old")
    with pytest.raises(ForgetError, match="No space left"):
        write_text(small_disk / "a.html", "x" * 3_000_000)
    assert [path.read_text() for path in small_disk.iterdir()] == ["old"]


@pytest.fixture
def unwritable(tmp_path):
    """A folder in which nothing can be made, for root neither: it is a file system that is mounted read-only."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"!!! READ-ONLY RESULTS WERE NOT TRIED: no tmpfs can be mounted here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.fault("Read-only results")
def test_results_that_cannot_be_written_are_one_message(unwritable):
    with pytest.raises(ForgetError, match="Cannot write"):
        write_record(unwritable / "a" / "r", {"value": 1})
    with pytest.raises(ForgetError, match="Cannot write"):
        write_text(unwritable / "a.html", "x")


@pytest.mark.slow
@pytest.mark.fault("Paths with spaces and other letters")
def test_a_run_on_an_odd_path_ends_green(tmp_path):
    root = copy.make(tmp_path / ODD, CONFIG | {"results": "my results/räsult"})
    copy.run(root)
    assert (root / "my results" / "räsult" / "tiny" / "index.html").exists()


@pytest.mark.slow
@pytest.mark.fault("A folder that was moved")
def test_a_moved_folder_has_nothing_to_do(tmp_path):
    root = copy.make(tmp_path / "p", CONFIG)
    copy.run(root)
    moved = root.rename(tmp_path / "elsewhere")
    assert "Nothing to be done" in copy.run(moved)


@pytest.mark.slow
@pytest.mark.fault("Two runs at once")
def test_a_second_run_is_refused_with_the_reason(tmp_path):
    root = copy.make(tmp_path / "p", CONFIG)
    first = copy.start_runner(root, seconds=2)
    copy.wait_for(root, first, 1)
    second = copy.start_runner(root)
    text = second.communicate()[0]
    assert second.returncode == 1
    assert f"Another run is going on in this folder (process {first.pid})" in text
    text = first.communicate()[0]
    assert first.returncode == 0, text
    assert len(copy.started(root)) == 4


@pytest.mark.fault("Two runs at once")
def test_a_number_that_another_process_has_by_now_stops_no_run(tmp_path):
    """After a restart of the machine the number of a killed runner may be anyone's."""
    (tmp_path / "lock").write_text(str(os.getpid()))
    turn = f"{sys.executable} {REPOSITORY / 'workflow' / 'turn.py'}"
    done = subprocess.run(["bash", "-c", f"exec 9<> lock; {turn} 12345"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "lock").read_text() == "12345"
