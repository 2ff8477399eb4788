"""Writing so that a reader finds the old file or the whole new one, never a part; one writer at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forget_lib.errors import ForgetError


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text under a temporary name, then renames it.

    Raises: ForgetError if the folder cannot be written; an older file stays as it was.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
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
