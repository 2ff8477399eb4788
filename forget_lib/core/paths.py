"""Where things lie, and how a path or a failure is told to people."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from forget_lib.core.errors import DataError

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLED = not (REPOSITORY / "workflow" / "config").is_dir()
"""Whether the library was installed from a wheel, without the repository around it."""
RESULTS = Path("results").absolute() if INSTALLED else REPOSITORY / "results"
CONFIG = Path(__file__).resolve().parents[1] / "config" if INSTALLED else REPOSITORY / "workflow" / "config"
"""The rule of the verdict, tuned settings and their ranges: a wheel holds a copy of these files."""


def find(path: str | Path) -> Path:
    """A path that the user gave: as it is or from the current folder, else from the repository, where notebooks too
    find what a config names; as it is where there is nothing in either place."""
    given = Path(os.path.expanduser(path))
    return next(filter(_exists, (given, REPOSITORY / given)), given)


def _exists(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long for any file, or holds what no name can
        return path.exists()
    return False


def shown(path: str | Path) -> str:
    """A path for people: relative to the repository where it lies inside."""
    path = Path(path)
    return path.relative_to(REPOSITORY).as_posix() if path.is_relative_to(REPOSITORY) else str(path)


def data_folder() -> Path:
    """Folder of fetched data: environment variable FORGET_DATA, else `data` in the repository, or for an installed
    library ~/.cache/forget."""
    chosen = os.environ.get("FORGET_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path.home() / ".cache" / "forget" if INSTALLED else REPOSITORY / "data"


def samples_folder() -> Path:
    """Folder of the embedded samples; it comes with the repository, wherever fetched data go.

    Raises: DataError where the library was installed without them.
    """
    if INSTALLED:
        raise DataError(
            "The embedded samples are in the repository, not in the installed package. Clone the repository and "
            "install it with pip install -e '.[study]', or fetch the data set."
        )
    return REPOSITORY / "data" / "samples"


def locate(path: str | Path, what: str) -> Path:
    """A path that the user gave, see `find`. Raises: DataError if there is nothing. what: for the message."""
    if not str(path).isprintable():
        raise DataError(f"The path {str(path)[:200]!r} of {what} holds characters that no path needs.")
    found = find(path)
    if not _exists(found):
        places = "" if found.is_absolute() else f" (looked for in {Path.cwd()} and in the repository)"
        raise DataError(f"There is no {found}{places}; give the path of {what}.")
    return found


def one_line(error: BaseException) -> str:
    """The reason of a failure in one short line without addresses, for the line that the chain prints."""
    text = " ".join(re.sub(r"\w+://[^\s,'\"]+", "…", str(error)).split())
    if not isinstance(error, DataError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    most = 500 if isinstance(error, DataError) else 240  # ours end with what to do
    return text if len(text) <= most else text[: most - 1] + "…"


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
