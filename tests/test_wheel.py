"""The wheel: what is in it, what it asks for, and that the ten lines of the documentation run from it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import forget_lib
from forget_lib.core.paths import REPOSITORY
from workflow import environment

BUILD = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
FILES = ("pyproject.toml", "README.md", "LICENSE", *(path.name for path in REPOSITORY.glob("requirements*.txt")))
CHECK = """
import forget_lib as fl
from forget_lib.core.errors import DataError
from forget_lib.core import paths
from forget_lib.deletion.verdict import load_rule
from forget_lib.study import chosen, tuning
from forget_lib.datasets.registry import load
assert "site" in fl.__file__ and paths.INSTALLED, fl.__file__
assert load_rule().margin > 0 and len(tuning.load_spaces()) > 20
assert chosen.settings_file("mnist", "mlp", "class").is_file()
assert "site" not in str(paths.data_folder()) and "site" not in str(paths.RESULTS)
try:
    load("mnist", "sample")
except DataError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built without a network, from a copy, so that nothing is left in the repository."""
    root, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FILES:
        shutil.copy(REPOSITORY / name, root)
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "forget_lib", root / "forget_lib", ignore=leave)
    shutil.copytree(REPOSITORY / "workflow" / "config", root / "workflow" / "config")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The wheel, unpacked as pip does."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(code: str, site: Path, folder: Path) -> str:
    command = [sys.executable, "-P", "-c", code]
    given = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "forget_lib").rglob("*.py")}
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {"forget_lib", f"forget-{forget_lib.__version__}.dist-info"}
    config = {name.removeprefix("forget_lib/config/") for name in names if name.startswith("forget_lib/config/")}
    assert {"verdict.yaml", "tuning/spaces.yaml"} <= config
    settings = {f"settings/{path.name}" for path in (REPOSITORY / "workflow/config/settings").glob("*.yaml")}
    assert config == {"verdict.yaml", "tuning/spaces.yaml", *settings}
    for folder in ("forget_lib/demo/assets", "forget_lib/show/answer"):
        assert {f"{folder}/{path.name}" for path in (REPOSITORY / folder).iterdir()} <= names
    assert wheel.stat().st_size < 1_500_000


def test_it_asks_for_what_the_library_needs_and_the_rest_is_an_extra(wheel):
    archive = zipfile.ZipFile(wheel)
    about = Parser().parsestr(archive.read(f"forget-{forget_lib.__version__}.dist-info/METADATA").decode())
    asked = [Requirement(each) for each in about.get_all("Requires-Dist")]
    study = {each.name for each in asked if "extra" in str(each.marker or "")}
    always = {each.name for each in asked} - study
    assert always == {
        Requirement(each).name for each in environment.requirements(REPOSITORY / "requirements-library.txt")
    }
    assert study == {Requirement(each).name for each in environment.requirements(REPOSITORY / "requirements-study.txt")}
    assert {"torch", "numpy", "scikit-learn"} <= always
    assert not {"snakemake", "papermill", "jupyterlab", "matplotlib"} & always
    assert about.get_all("Provides-Extra") == ["study"]
    assert about["Version"] == forget_lib.__version__
    assert about["License-Expression"] == "MIT"


def test_its_files_are_found_and_the_samples_are_refused_by_name(site, tmp_path):
    assert "embedded samples are in the repository" in run(CHECK, site, tmp_path)


def ten_lines() -> str:
    text = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]


def test_the_readme_prints_the_same_ten_lines():
    assert len(ten_lines().replace("\n\n", "\n").splitlines()) == 10
    assert f"```python\n{ten_lines()}```" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_ten_lines_run_from_the_wheel_as_printed(site, tmp_path):
    printed = run(ten_lines(), site, tmp_path)
    assert "Verdict: still knows it." in printed
    assert "lira_offline" in printed
    assert "Share left" in (tmp_path / "report.html").read_text(encoding="utf-8")
