"""One run at a time in this folder: run_all.sh opens .snakemake/forget.lock as file 9 and asks here for its turn.

    python workflow/turn.py PID    PID: of the runner

The lock lies on the open file, which Snakemake inherits and its jobs do not: it lasts as long as the runner or its
Snakemake, however they end, and a process that has the runner's number by now does not count.
"""

import fcntl
import os
import sys

FILE = 9


def holder() -> int:
    """The runner that took the lock last, 0 where none is named."""
    text = os.pread(FILE, 20, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else 0


def alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process > 0


def take(runner: int) -> str:
    """Takes the lock for a runner; waits for what a killed runner has left at work.

    Returns: why not, or an empty text.
    """
    try:
        fcntl.flock(FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = holder()
        if alive(other):
            return (
                f"Another run is going on in this folder (process {other}). Wait for it, or stop it with: kill {other}"
            )
        print("The last run was killed, but its workflow goes on; waiting for that to end ...", flush=True)
        fcntl.flock(FILE, fcntl.LOCK_EX)
    except OSError:  # a file system without locks, as on some clusters: the number alone must do
        other = holder()
        if alive(other) and other != runner:
            return (
                f"Another run may be going on in this folder (process {other}). If not, remove .snakemake/forget.lock"
            )
    os.ftruncate(FILE, 0)
    os.pwrite(FILE, str(runner).encode(), 0)
    return ""


if __name__ == "__main__":
    try:
        reason = take(int(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
    if reason:
        sys.exit(f"run_all.sh: {reason}")
