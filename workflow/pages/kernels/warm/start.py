"""Stands in the place of a kernel that is a fork of the process of `workflow.pages.warm`: it passes signals on, ends
with the kernel, and takes it along. Where no such process answers, it becomes an ordinary kernel.

Only what starts fast is imported here, and nothing of the project.
"""

import json
import os
import signal
import socket
import sys


def ask(asked: socket.socket) -> int:
    """Sends what a new process would inherit; returns the process number of the kernel.

    Raises: OSError, ValueError or KeyError where there is nobody to ask, or no answer.
    """
    asked.connect(os.environ["FORGET_WARM"])
    told = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(asked, [b"\n"], [0, 1, 2])
    asked.sendall(json.dumps(told).encode() + b"\n")
    return int(asked.recv(16))


def stand_for(kernel: int, asked: socket.socket) -> int:
    """Passes signals on until the kernel or the parent has ended; returns an exit status, 1 if the kernel was lost."""
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda given, _frame: os.kill(kernel, given))
    asked.settimeout(1)
    status = 1
    while os.getppid() == parent:
        try:
            if not asked.recv(1):
                return status
            status = 0  # it was shut down, and has only to clear up
        except TimeoutError:
            continue
        except ConnectionError:
            return status
    return 1  # the end of this process closes the connection, by which the kernel knows


def main() -> None:
    """Asks for a kernel and stands for it, or becomes one."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            kernel = ask(asked)
        except (OSError, ValueError, KeyError):
            asked.close()
            os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", *sys.argv[1:]])
        sys.exit(stand_for(kernel, asked))


if __name__ == "__main__":
    main()
