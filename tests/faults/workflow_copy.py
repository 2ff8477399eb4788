"""A copy of the workflow whose jobs only write what they were told, so that a run takes seconds."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from forget_lib.core.paths import REPOSITORY

NOTEBOOKS = ("00_overview", "02_train_baseline", "03_one", "08_figures")
STAND_IN = """
import os, pathlib, sys, time
from forget_lib.core.files import only_one, write_text
given = sys.argv[1:]
if given[0] == "run":
    output = pathlib.Path(given[given.index("--output") + 1])
    with pathlib.Path("started.txt").open("a") as file:
        file.write(f"{output.parent.name} {output.stem}\\n")
    with only_one(output):
        pathlib.Path(given[given.index("--log") + 1]).with_suffix(".ipynb").write_text("{}")
        pathlib.Path(given[given.index("--log") + 1]).write_text("log")
        time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
        for option in ("--page", "--output"):
            write_text(pathlib.Path(given[given.index(option) + 1]), given[given.index("--parameters") + 1])
elif given[0] == "index":
    write_text(pathlib.Path(given[1], "index.html"), "index")
"""


def config_of(scenarios: dict[str, Any]) -> dict[str, Any]:
    """A config named tiny."""
    return {"profile": "tiny", "start": "sample", "device": "cpu", "scenarios": scenarios}


def scenario(**changes: Any) -> dict[str, Any]:
    """One scenario of stand-ins."""
    return {"notebook": "03_one", "dataset": "mnist", "model": "mlp", "recipe": {"epochs": 1}} | changes


def copy_what_plans_need(root: Path) -> None:
    """The few files of the library that planning a run imports, into `root`."""
    for part in (
        "__init__.py",
        "core/*.py",
        "models/__init__.py",
        "models/recipe.py",
        "statistics/__init__.py",
        "statistics/rules.py",
        "study/__init__.py",
        "study/chosen.py",
    ):
        for file in (REPOSITORY / "forget_lib").glob(part):
            copy = root / file.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def make(root: Path, config: dict[str, Any]) -> Path:
    """The copy, in `root`."""
    shutil.copytree(REPOSITORY / "workflow", root / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "notebooks").mkdir()
    copy_what_plans_need(root)
    (root / "workflow" / "pages" / "__main__.py").write_text(STAND_IN)
    for name in NOTEBOOKS:
        cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": [], "execution_count": None}
        (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(root / "config.yaml", root / "workflow" / "config" / f"{config['profile']}.yaml")
    shutil.copy(REPOSITORY / "run_all.sh", root)
    (root / "requirements.txt").touch()
    return root


def start(root: Path, *options: str, seconds: float = 0.0) -> subprocess.Popen:
    """Starts Snakemake in a session of its own; each job sleeps so long."""
    command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml", "--cores", "1", *options]
    environment = os.environ | {"PYTHONPATH": str(root), "STAND_IN_SECONDS": str(seconds)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def active_environment() -> dict[str, str]:
    """The variables of a shell in which the environment of this Python is the active one, for run_all.sh."""
    return os.environ | {"VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"}


def start_runner(root: Path, *options: str, seconds: float = 0.0) -> subprocess.Popen:
    """Starts run_all.sh on the copy, with this Python, in a session of its own."""
    environment = active_environment() | {"PYTHONPATH": "", "STAND_IN_SECONDS": str(seconds)}
    command, pipe = ["./run_all.sh", "tiny", "--cores", "1", *options], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def started(root: Path) -> list[str]:
    """The jobs that were started so far, in order."""
    path = root / "started.txt"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(root: Path, process: subprocess.Popen, jobs: int) -> None:
    """Until so many jobs have been started, or the process has ended."""
    while len(started(root)) < jobs:
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        return


def run(root: Path, *options: str) -> str:
    """Runs Snakemake to its end and returns what it said; it must end well."""
    process = start(root, *options)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    return text


def kill(process: subprocess.Popen, number: int = signal.SIGKILL, *, group: bool = True) -> None:
    """Sends a signal to Snakemake, and to its jobs too where `group`."""
    (os.killpg if group else os.kill)(process.pid, number)
    process.communicate()


def contents(root: Path) -> dict[str, str]:
    """The results: text by path; what begins with a dot is a lock, not a result."""
    folder = root / "results"
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_text() for path in found}
