"""The script that CI runs: Chromium is installed where that is possible, and its absence is loud but ends nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forget_lib.core.paths import REPOSITORY

APT = """#!/bin/sh
echo "apt-get $*" >> "$FOLDER/calls"
case "$*" in *install*) {installed} ;; esac
"""


@pytest.fixture
def run(tmp_path):
    """Runs a copy of the script beside a run_all.sh that only prints, on a PATH with nothing but what is given."""
    script, tools = tmp_path / ".ci" / "run", tmp_path / "bin"
    script.parent.mkdir()
    tools.mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", script)
    write(tmp_path / "run_all.sh", '#!/bin/sh\necho "tested: $*"\n')
    for name in ("bash", "sh", "dirname", "env", "chmod", "touch", "true"):
        (tools / name).symlink_to(Path(shutil.which(name)).resolve())

    def call(**scripts: str) -> subprocess.CompletedProcess:
        for name, content in scripts.items():
            write(tools / name.replace("_", "-"), content)
        environment = {"PATH": str(tools), "FOLDER": str(tmp_path), "HOME": os.environ.get("HOME", "/")}
        found = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stderr
        assert "tested: test" in found.stdout
        return found

    return call


def write(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)


def user(number: int) -> str:
    return f"#!/bin/sh\necho {number}\n"


def calls(folder: Path) -> str:
    path = folder / "calls"
    return path.read_text() if path.exists() else ""


def test_a_chromium_that_is_there_is_used(run, tmp_path):
    run(id=user(0), chromium="#!/bin/sh\n", apt_get=APT.format(installed=":"))
    assert calls(tmp_path) == ""


def test_root_installs_chromium(run, tmp_path):
    installed = 'touch "$FOLDER/bin/chromium"; chmod +x "$FOLDER/bin/chromium"'
    found = run(id=user(0), apt_get=APT.format(installed=installed))
    assert "install -y -qq --no-install-recommends chromium" in calls(tmp_path)
    assert "!!!" not in found.stderr


def test_others_install_it_by_sudo_without_a_password(run, tmp_path):
    run(id=user(1000), sudo='#!/bin/sh\nshift\nexec "$@"\n', apt_get=APT.format(installed=":"))
    assert "install" in calls(tmp_path)


@pytest.mark.parametrize("scripts", [{}, {"sudo": "#!/bin/sh\nexit 1\n"}, {"apt_get": "#!/bin/sh\nexit 1\n"}])
def test_a_missing_chromium_is_said_loudly_and_the_rest_is_tested(run, scripts):
    found = run(id=user(0 if "apt_get" in scripts else 1000), **scripts)
    assert "CHROMIUM IS MISSING" in found.stderr
