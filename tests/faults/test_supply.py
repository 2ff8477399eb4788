"""What the study is made of and what it gives away: packages, hosts, and the privacy of committed results."""

import getpass
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forget_lib.results import REPOSITORY
from tests.faults import workflow_copy as copy

REFERENCE = REPOSITORY / "results" / "reference"
TEXTS = {".json", ".jsonl", ".csv", ".md", ".html", ".txt", ".yaml", ".tex", ".ipynb"}
HOME = re.compile(rf"(/({'|'.join(('home', 'Users', 'root'))})/|[A-Z]:\\Users\\)[\w.-]+")


def committed(folder: Path) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z", folder], cwd=REPOSITORY, capture_output=True, text=True)
    return [path for name in done.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]


def told(path: Path) -> list[str]:
    """What a text of the study gives away about the machine that made it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    found = [match[0] for match in HOME.finditer(text)]
    # A name such as root or a stands in many a text; only as part of a path or an address does it tell anything.
    names = {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 5}
    found += [name for name in names if re.search(rf"\b{re.escape(name)}\b", text)]
    return found + ([str(REPOSITORY)] if f"{REPOSITORY}/" in text else [])


@pytest.mark.fault("Privacy of committed results")
def test_committed_results_name_no_folder_user_or_host(record_property):
    files = [path for path in committed(REFERENCE) if path.suffix in TEXTS]
    assert {path.name: found for path in files if (found := told(path))} == {}
    record_property("tried", len(files))


@pytest.mark.fault("Privacy of committed results")
def test_no_committed_page_or_picture_shows_a_real_person(record_property):
    """Pages of real faces (mufac, lfw, orl) are not among the committed results; records may be, without images."""
    real = re.compile(r"(^|[/_-])(mufac|lfw|orl)([/_.-]|$)")
    shown = [path for path in committed(REFERENCE) if path.suffix in {".png", ".jpg", ".jpeg", ".html", ".npz", ".svg"}]
    assert [path.name for path in shown if real.search(str(path.relative_to(REFERENCE)))] == []
    record_property("tried", len(shown))


@pytest.mark.fault("Privacy of committed results")
def test_committed_notebooks_and_configs_name_no_folder_of_a_user(record_property):
    files = [*committed(REPOSITORY / "notebooks"), *committed(REPOSITORY / "workflow")]
    assert {path.name: found for path in files if (found := told(path))} == {}
    record_property("tried", len(files))


@pytest.mark.slow
@pytest.mark.fault("Network cut off, stand-in workflow")
def test_a_run_ends_green_without_a_network(tmp_path):
    root = copy.make(tmp_path / "p", copy.config_of({"one": copy.scenario()}))
    command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml", "--cores", "1"]
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("!!! THE NETWORK WAS NOT CUT OFF: unshare -n is not allowed here")
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(["unshare", "-rn", *command], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (root / "results" / "tiny" / "index.html").exists()


@pytest.mark.network
@pytest.mark.fault("Known vulnerabilities")
def test_no_pinned_package_has_a_known_vulnerability():
    pytest.importorskip("pip_audit", reason="!!! VULNERABILITIES WERE NOT LOOKED UP: pip-audit is not installed")
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off"]
    done = subprocess.run(
        [*command, "-r", "requirements.lock", "--no-deps", "--disable-pip"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"!!! VULNERABILITIES WERE NOT LOOKED UP: their data cannot be had ({done.stderr.strip()[-200:]})")
    assert {each["name"]: each["vulns"] for each in found if each.get("vulns")} == {}
