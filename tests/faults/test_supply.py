"""What the study is made of and what it gives away: packages, hosts, and the privacy of committed results."""

import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.reference_pages import CHARTS_ONLY
from forget_lib.core.paths import REPOSITORY
from tests.faults import workflow_copy as copy

sys.path.append(str(REPOSITORY / "workflow"))
import environment

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
    """Of real faces (mufac, lfw, orl, utkface) charts alone are among the committed results: those drawn from records,
    and pages of notebooks that draw nothing else (test_reference.py reads their source)."""
    real = re.compile(r"(^|[/_-])(mufac|lfw|orl|utkface)([/_.-]|$)")
    charts = re.compile(r"/figures/[^/]*$|/notebooks/(" + "|".join(CHARTS_ONLY) + r")/[^/]*\.html$")
    shown = [path for path in committed(REFERENCE) if path.suffix in {".png", ".jpg", ".jpeg", ".html", ".npz", ".svg"}]
    named = [str(path.relative_to(REFERENCE)) for path in shown]
    assert [name for name in named if real.search(name) and not charts.search(f"/{name}")] == []
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
    surroundings = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(["unshare", "-rn", *command], cwd=root, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (root / "results" / "tiny" / "index.html").exists()


# What a venv installer is given in place of the registry: one package, of which the lock has the hash.
TOY = "forget_toy-1.0-py3-none-any.whl"
INSTALLERS = ["pip", "uv"]


def write_toy(folder: Path, content: str) -> str:
    """A wheel with one module of that content; its SHA-256 (hex)."""
    about = "forget_toy-1.0.dist-info"
    with zipfile.ZipFile(folder / TOY, "w") as wheel:
        wheel.writestr("forget_toy.py", content)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: forget-toy\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return hashlib.sha256((folder / TOY).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    """A folder with a fresh .venv, as run_all.sh finds it."""
    root = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", root / ".venv"], check=True)
    (root / "workflow").mkdir()
    shutil.copy(REPOSITORY / "workflow" / "environment.py", root / "workflow")
    return root


def install(root: Path, installer: str) -> subprocess.CompletedProcess:
    """Installs requirements.lock by the function of run_all.sh, from the folder alone."""
    text = (REPOSITORY / "run_all.sh").read_text()
    script = (
        text[text.index("install_into_venv() {") : text.index("make_venv() {")] + "install_into_venv requirements.txt"
    )
    if installer == "pip":
        script = f'command() {{ [ "$2" != uv ] && builtin command "$@"; }}\n{script}'
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(root), "PIP_CONFIG_FILE": os.devnull, "UV_NO_INDEX": "1"}
    offline |= {"UV_FIND_LINKS": str(root), "UV_NO_CACHE": "1", "UV_NO_CONFIG": "1"}
    surroundings = os.environ | offline
    return subprocess.run(["bash", "-c", script], cwd=root, env=surroundings, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.fault("Packages of another hash than the lock's")
@pytest.mark.parametrize("installer", INSTALLERS)
def test_only_a_package_of_the_locked_hash_is_installed(venv, installer):
    if installer == "uv" and shutil.which("uv") is None:
        pytest.skip(f"!!! INSTALLING WITH {installer} WAS NOT TRIED: there is none here")
    module = next((venv / ".venv").glob("lib/python*/site-packages")) / "forget_toy.py"
    good = write_toy(venv, f"{installer} = 1\n")
    (venv / "requirements.lock").write_text(f"# made\nforget-toy==1.0 \\\n    --hash=sha256:{good}\n")
    done = install(venv, installer)
    assert done.returncode == 0, done.stderr
    assert module.read_text() == f"{installer} = 1\n"
    subprocess.run([venv / ".venv" / "bin" / "python", "-m", "pip", "uninstall", "-qy", "forget-toy"], check=True)
    write_toy(venv, "import this_was_put_in\n")
    done = install(venv, installer)
    assert done.returncode != 0
    assert good in done.stdout + done.stderr
    assert not module.exists()
    (venv / "requirements.lock").write_text("forget-toy==1.0\n")
    assert install(venv, installer).returncode != 0, "a package without a hash"
    assert not module.exists()


def audit(lock: Path, service: str) -> list[dict]:
    """What pip-audit says of each package of a lock; empty where its data cannot be had."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--vulnerability-service"]
    command += [service, "--require-hashes", "--disable-pip", "-r", str(lock)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return []
    # A mirror without these data knows none of the packages, which pip-audit takes for no vulnerability.
    return found if any("skip_reason" not in each for each in found) else []


@pytest.mark.network
@pytest.mark.fault("Known vulnerabilities")
def test_no_pinned_package_has_a_known_vulnerability(tmp_path, record_property):
    reason = "!!! VULNERABILITIES WERE NOT LOOKED UP:"
    pytest.importorskip("pip_audit", reason=f"{reason} pip-audit is not installed")
    lock, one = REPOSITORY / "requirements-test.lock", tmp_path / "one.txt"
    one.write_text(environment.locked(lock, ("pillow",)))
    service = next((each for each in ("pypi", "osv") if audit(one, each)), None)
    if service is None:
        pytest.skip(f"{reason} neither PyPI's advisories nor OSV's can be had here")
    found = audit(lock, service)
    assert {each["name"]: each["skip_reason"] for each in found if "skip_reason" in each} == {}
    assert {each["name"]: each["vulns"] for each in found if each["vulns"]} == {}
    record_property("tried", len(found))
