"""Servers and a browser for the tests of the demo: JupyterLab and Voila, each with a copy of the notebook."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from forget_lib.core.paths import REPOSITORY

TOKEN = "token-of-the-tests"
NOTEBOOK = "09_face_demo.ipynb"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # A camera that shows a moving test picture, and a person who allows it.
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
PATIENCE = 150_000
"""Milliseconds to wait for what takes a second on a machine with nothing else to do."""


def chromium() -> str | None:
    """Path of a Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def notebook_for(folder: Path, results: Path) -> Path:
    """A copy of the demo notebook that reads other results."""
    content = json.loads((REPOSITORY / "notebooks" / NOTEBOOK).read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            source = "".join(cell["source"]).replace('results: str = ""', f"results: str = {str(results)!r}")
            cell["source"] = source.splitlines(keepends=True)
    path = folder / NOTEBOOK
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(kind: str, folder: Path, log: Path) -> Iterator[str]:
    """Runs "voila" or "lab" on the notebook in `folder`; yields the address of the notebook, with its token."""
    port = free_port()
    page = str(REPOSITORY / "workflow" / "page")
    kernels = f"{page}{os.pathsep}{REPOSITORY / 'workflow' / 'pages'}"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JUPYTER_PATH": kernels, "OMP_NUM_THREADS": "1"}
    if kind == "voila":
        environment["JUPYTER_CONFIG_PATH"] = page
        options = ["voila", NOTEBOOK, "--no-browser", f"--port={port}", "--Voila.auto_token=False", f"--token={TOKEN}"]
        address, probe = f"http://127.0.0.1:{port}/?token={TOKEN}", f"http://127.0.0.1:{port}/"
    else:
        options = ["jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
        options += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--LabApp.news_url="]
        address = f"http://127.0.0.1:{port}/doc/tree/{NOTEBOOK}?reset&token={TOKEN}"
        probe = f"http://127.0.0.1:{port}/api"
    with log.open("w") as output, warm_kernels(environment) if kind == "voila" else nullcontext():
        process = subprocess.Popen(
            [sys.executable, "-m", *options], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_for(probe, process, log)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def warm_kernels(environment: dict[str, str]) -> Iterator[None]:
    """Starts the process that kernels are forks of, as ./run_all.sh demo does, and names it in the environment."""
    if sys.platform != "linux":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="forget-", dir="/tmp") as folder:
        environment["FORGET_WARM"] = f"{folder}/own/kernels"
        Path(folder, "own").mkdir(mode=0o700)
        command = [sys.executable, "-m", "workflow.pages", "warm", environment["FORGET_WARM"], str(os.getpid())]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def wait_for(address: str, process: subprocess.Popen, log: Path, seconds: float = 90) -> None:
    """Returns as soon as a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.3)
    raise AssertionError(f"The server did not answer in {seconds} s: {log.read_text()[-2000:]}")
