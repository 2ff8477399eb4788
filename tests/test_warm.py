"""Kernels that are forks of one process: they are as any other, and none is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from tests.test_report import SETTINGS_CELL
from workflow.pages.run import run_notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
SERVE = """
import sys
from pathlib import Path
from workflow.pages import warm
if len(sys.argv) == 3:  # all of them take some seconds
    warm.LIBRARIES = ("ipykernel.kernelapp",)
if (asked := warm.serve(Path(sys.argv[1]), int(sys.argv[2]))) is not None:
    warm.become_kernel(asked)
"""


@pytest.fixture(params=[()], ids=[""])
def server(request, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("FORGET_WARM", str(folder / "kernels"))
    command = [sys.executable, "-c", SERVE, folder / "kernels", str(os.getpid()), *request.param]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    while process.poll() is None and not (folder / "kernels").exists():
        os.sched_yield()
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def outputs(folder: Path, source: str, **options) -> list[dict]:
    """The outputs of a notebook of one cell."""
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), folder / "toy.ipynb")
    executed = run_notebook(folder / "toy.ipynb", {}, folder / "out" / "toy.ipynb", **options)
    return json.loads(executed.read_text())["cells"][0]["outputs"]


def run(folder: Path, source: str, **options) -> list[str]:
    """The lines that a notebook of one cell prints."""
    return outputs(folder, source, **options)[0]["text"]


def ended(number: int) -> bool:
    """Waits for the end of a process that is not this one's child."""
    try:
        psutil.Process(number).wait(timeout=60)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(number)


WHO = "import os\nprint(os.getpid(), os.getppid())\n"


def test_a_kernel_is_a_fork_and_ends_with_its_page(server, tmp_path):
    kernel, parent = map(int, run(tmp_path, WHO)[0].split())
    assert parent == server.pid
    assert ended(kernel)
    assert server.children() == []


def test_a_fork_has_the_folder_the_variables_and_the_code_of_now(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THIS_PAGE", "here")
    said = run(
        tmp_path,
        "import os, signal, subprocess, sys\n"
        "print(os.getcwd(), os.environ['OF_THIS_PAGE'])\n"
        "print([name for name in sys.modules if name.startswith('forget_lib')])\n"
        "print(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL, subprocess.run(['false']).returncode)",
    )
    assert said == [f"{tmp_path} here\n", "[]\n", "True 1\n"]


@pytest.mark.fault("Settings of the user's account, long TMPDIR, pip, the commit of another repository")
@pytest.mark.parametrize("server", [(), pytest.param(("all",), marks=pytest.mark.slow)], indirect=True)
def test_a_fork_reads_no_setting_of_the_users_account(user_settings, server, tmp_path):
    said, picture = outputs(tmp_path, SETTINGS_CELL)
    assert said["text"] == ["module://matplotlib_inline.backend_inline False 10.0\n", "False\n"]
    assert "image/png" in picture["data"]


PICTURE = """
import torch
from matplotlib import pyplot
from forget_lib.show import figures; from forget_lib.statistics import metrics
figure, axes = pyplot.subplots()
axes.plot([1, 2])
print(torch.get_num_threads(), pyplot.get_backend())
figures.show(figure, "a line")
"""


@pytest.mark.slow
@pytest.mark.parametrize("server", [("all",)], indirect=True)
def test_libraries_that_were_imported_before_work_as_if_imported_now(server, tmp_path, monkeypatch):
    drawn = outputs(tmp_path, PICTURE)
    assert "image/png" in drawn[1]["data"]
    assert drawn[1]["metadata"]["image/png"]["alt"] == "a line"
    monkeypatch.delenv("FORGET_WARM")
    assert outputs(tmp_path, PICTURE) == drawn


def test_a_kernel_that_is_shut_down_has_the_time_to_clear_up(server, tmp_path):
    leave = "import atexit, pathlib\nprint('on')\n"
    leave += "atexit.register(lambda: (sum(range(20_000_000)), pathlib.Path('left').write_text('')))"
    assert run(tmp_path, leave) == ["on\n"]
    assert (tmp_path / "left").exists()


def test_a_kernel_that_is_lost_fails_its_page_and_the_next_page_gets_another(server, tmp_path):
    with pytest.raises(ForgetError, match=r"(?i)kernel died"):
        run(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert int(run(tmp_path, WHO)[0].split()[1]) == server.pid


KILL_WHO_STANDS = """
import os, signal, psutil
open("number", "w").write(str(os.getpid()))
for process in psutil.process_iter():
    try:
        here = process.environ().get("FORGET_WARM") == os.environ["FORGET_WARM"]
        if here and any("start.py" in part for part in process.cmdline()):
            process.kill()
    except psutil.Error:  # another's, or one that has ended
        continue
signal.pause()
"""


def test_a_kernel_does_not_outlive_the_process_that_stands_for_it(server, tmp_path):
    with pytest.raises(ForgetError, match=r"(?i)kernel died"):
        run(tmp_path, KILL_WHO_STANDS)
    assert ended(int((tmp_path / "number").read_text()))


def test_a_cell_that_takes_too_long_is_interrupted_and_its_kernel_ends(server, tmp_path):
    with pytest.raises(ForgetError):
        run(tmp_path, "import os\nopen('number', 'w').write(str(os.getpid()))\nwhile True: pass", timeout=2)
    assert ended(int((tmp_path / "number").read_text()))


def test_without_a_server_a_kernel_starts_as_always(tmp_path, monkeypatch):
    monkeypatch.setenv("FORGET_WARM", str(tmp_path / "nobody"))
    assert int(run(tmp_path, WHO)[0].split()[1]) == os.getpid()


def test_a_server_that_dies_takes_no_page_along(server, tmp_path):
    said = run(tmp_path, f"import os, signal\nos.kill({server.pid}, signal.SIGKILL)\nprint('on')")
    assert said == ["on\n"]
    assert run(tmp_path, "print('as always')") == ["as always\n"]


def test_the_server_ends_with_its_parent_and_leaves_nothing(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    start = (
        "import os, subprocess, sys\n"
        f"command = [sys.executable, '-c', {SERVE!r}, {str(folder / 'kernels')!r}, str(os.getpid())]\n"
        "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid)"
    )
    parent = subprocess.run([sys.executable, "-c", start], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended(int(parent.stdout))
    assert not folder.exists()


@pytest.mark.parametrize(("folder", "why"), [("none", "Kernels cannot be served"), ("open", "Others can enter")])
def test_a_place_where_nobody_or_anybody_could_ask_is_refused(tmp_path, folder, why):
    (tmp_path / "open").mkdir(mode=0o755)
    command = [sys.executable, "-m", "workflow.pages", "warm", tmp_path / folder / "kernels", str(os.getpid())]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr
