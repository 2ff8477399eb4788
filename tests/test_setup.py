"""Opened anywhere: the one script behind Dockerfile, .devcontainer and .binder, and the first cell of two notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from forget_lib.core.paths import REPOSITORY
from workflow import environment

SCRIPT = ".devcontainer/setup.sh"
OPENED = ("03_unlearn_mnist", "09_face_demo")
ADDRESS = "https://github.com/YOUR_NAME/forget"


@pytest.fixture
def clean(tmp_path):
    """What the script reads, and nothing else."""
    names = ("pyproject.toml", "requirements.lock", *(path.name for path in REPOSITORY.glob("requirements*.txt")))
    for name in (*names, SCRIPT, "workflow/environment.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_the_script_runs_in_a_clean_folder_and_installs_the_lock(clean, tmp_path):
    given = os.environ | {"DRY": "1", "PYTHON": sys.executable}
    done = subprocess.run([clean / SCRIPT], cwd="/", env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 packages"
    assert int(lines[2].split()[0]) > 100
    assert [line.split()[2] for line in lines if line.startswith("pip install")] == [
        "--require-hashes",
        "--require-hashes",
        "--editable",
    ]


def test_a_step_that_fails_ends_the_script(clean):
    (clean / "requirements.lock").unlink()
    given = os.environ | {"DRY": "1", "PYTHON": sys.executable}
    done = subprocess.run([clean / SCRIPT], env=given, capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_every_way_in_runs_the_script_and_installs_nothing_itself():
    docker = (REPOSITORY / "Dockerfile").read_text()
    assert docker.count("RUN ") == docker.count(f"RUN {SCRIPT}") == 1
    assert json.loads((REPOSITORY / ".devcontainer/devcontainer.json").read_text())["postCreateCommand"] == SCRIPT
    assert (REPOSITORY / ".binder/postBuild").read_text().splitlines()[1:] == [f"exec {SCRIPT}"]
    for name in (SCRIPT, ".binder/postBuild"):
        assert os.access(REPOSITORY / name, os.X_OK), name
    (low, high) = environment.SUPPORTED
    for name in ("Dockerfile", ".devcontainer/devcontainer.json", ".binder/runtime.txt"):
        version = re.search(r"python[:-](\d+)\.(\d+)", (REPOSITORY / name).read_text())
        assert low <= tuple(map(int, version.groups())) < high, name


def first_code(name: str) -> str:
    cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    return "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])


@pytest.mark.parametrize("name", OPENED)
def test_the_first_cell_does_nothing_where_the_library_is(name, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was started"))
    before, path = os.getcwd(), list(sys.path)
    exec(first_code(name), {})
    assert (os.getcwd(), sys.path) == (before, path)


@pytest.mark.parametrize("name", OPENED)
def test_the_first_cell_clones_and_installs_where_it_is_not(name, monkeypatch, tmp_path):
    started = []
    (tmp_path / "forget" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: started.append(command))
    exec(first_code(name), {})
    assert started[0] == ["git", "clone", "--quiet", "--depth", "1", ADDRESS, "forget"]
    assert started[1][1:] == ["-m", "pip", "install", "--quiet", "--editable", "forget[study]"]
    assert os.getcwd() == str(tmp_path / "forget" / "notebooks")
    assert sys.path[0] == str(tmp_path / "forget")


@pytest.mark.parametrize("name", OPENED)
def test_the_link_opens_this_notebook_at_the_address_that_the_cell_clones(name):
    text = "".join(json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text())["cells"][0]["source"])
    place = ADDRESS.removeprefix("https://github.com/")
    assert f"(https://colab.research.google.com/github/{place}/blob/main/notebooks/{name}.ipynb)" in text
    assert f'"{ADDRESS}"' in first_code(name)
