"""Writing so that a reader finds the old file or the whole new one, never a part; one writer at a time."""

import fcntl
import glob
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forget_lib.core.errors import ForgetError

STALE = 3600.0
"""Seconds after which a half-written file belongs to a run that was killed."""


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, then renames it. Raises: ForgetError if the folder cannot be written; an
    older file stays as it was."""
    path = Path(path)
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_over in path.parent.glob(f".{glob.escape(path.name)}-*"):
            if time.time() - left_over.stat().st_mtime > STALE:
                left_over.unlink(missing_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        message = f"Cannot write {path}: {error.strerror}. Free some space or mend the rights of the folder."
        raise ForgetError(message) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Holds a lock beside `path`; waits, and says so, while another process writes it.

    A job can outlive the workflow that started it and was killed; without this two jobs would write the same output.
    The lock ends with the process that holds it, however that ends.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise ForgetError(f"Cannot write to {path.parent}: {error.strerror}. Mend the rights of the folder.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path.name}: another process is making it; waiting for that one to end", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks, as on some clusters: renaming still keeps every file whole
        yield


MEND = "Bring it back (git checkout), or, where it is a result, delete it and run again."


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as plain JSON. Raises: ForgetError if there is none or it cannot be read."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(sorted(each.stem for each in Path(path).parent.glob("*.ipynb"))) or "none"
        raise ForgetError(f"No notebook {path}. Notebooks there: {there}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ForgetError(f"{path} is not a notebook that can be read: {error}. {MEND}") from error
    cells: Any = content.get("cells") if isinstance(content, dict) else None
    whole = isinstance(cells, list) and isinstance(content.get("metadata", {}), dict)
    if not whole or not all(isinstance(cell, dict) and {"cell_type", "source"} <= set(cell) for cell in cells):
        raise ForgetError(f"{path} is not a notebook: it is damaged, or another file. {MEND}")
    return content
