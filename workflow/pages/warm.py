"""One process imports the libraries that every notebook imports, and kernels are forks of it: imports are most of what
a page takes beside its work.

    python -m workflow.pages warm SOCKET PARENT

serves until the process PARENT, which started it, ends; `kernels/warm/start.py` asks it for kernels. Nothing of the
project is imported beforehand, so a kernel always runs the code as it is. On Linux alone: macOS does not let a fork go
on with system libraries that were loaded before it.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from forget_lib.core.errors import ForgetError
from workflow.pages.run import prepare_environment

# ipycanvas is not among them: as it is imported, it makes a widget, which needs the kernel.
LIBRARIES = (
    *("ipykernel.kernelapp", "IPython.display", "ipywidgets", "matplotlib.pyplot", "pandas", "seaborn", "yaml"),
    *("scipy.stats", "sklearn.linear_model", "sklearn.model_selection", "torch"),
    *("anywidget", "cv2", "jinja2"),
)


def serve(path: Path, parent: int) -> socket.socket | None:
    """Imports the libraries and forks for each connection to a Unix socket at `path`, until its parent ends.

    Who can connect can run code, so the folder of the socket must be open to this user alone.
    Args: parent: number of the process that started this one.
    Returns: in a fork the connection, for `become_kernel`; None in the process itself, at its end.
    Raises: ForgetError where the system has no fork that is safe, others can enter the folder, or the socket cannot be
        made.
    """
    if sys.platform != "linux":
        raise ForgetError("Kernels can be forked on Linux alone; without this process they start as always.")
    if path.parent.is_dir() and path.parent.stat().st_mode & 0o077:
        raise ForgetError(
            f"Others can enter {path.parent}, and so run code as you; make it with mktemp -d, or chmod 700."
        )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its parent
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended kernels leave nothing behind
    prepare_environment()
    # As the library of kernels is imported, it reads here whose end to watch for: nobody's, `start.py` does that.
    os.environ["JPY_PARENT_PID"] = "1"
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(str(path))
            server.listen(128)  # who comes while the libraries are imported waits as long as its own imports would take
            for library in LIBRARIES:
                importlib.import_module(library)
            gc.collect()
            gc.freeze()  # so that no kernel touches, and copies, the pages of what they share
            server.settimeout(1)
            while os.getppid() == parent:
                with suppress(TimeoutError):
                    asked, _ = server.accept()
                    if os.fork() == 0:
                        return asked
                    asked.close()
        except OSError as error:
            raise ForgetError(f"Kernels cannot be served at {path}: {error}.") from error
    path.unlink(missing_ok=True)
    with suppress(OSError):  # it was made for the socket, or others use it too
        path.parent.rmdir()
    return None


def become_kernel(asked: socket.socket) -> None:
    """Turns this fork into the kernel that was asked for; returns once that was shut down."""
    _inherit(asked)
    asked.sendall(b"%16d" % os.getpid())  # of a fixed length, so that nothing sent later is read as a part of it
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    sys.modules["ipykernel.kernelapp"].launch_new_instance()
    asked.sendall(b"0")


def _inherit(asked: socket.socket) -> None:
    """Takes over what a new process would have inherited: terminal, arguments, folder and environment."""
    asked.settimeout(60)
    _, handles, *_ = socket.recv_fds(asked, 1, 3)
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    with asked.makefile("rb") as stream:
        told = json.loads(stream.readline())
    asked.settimeout(None)
    os.setsid()  # as every kernel, so that a key of the terminal does not reach it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.argv = ["ipykernel_launcher", *told["arguments"]]
    for name in [name for name in sys.modules if name.split(".")[0] in ("forget_lib", "workflow")]:
        del sys.modules[name]  # the project's code is read as it is now


def _end_with(asked: socket.socket) -> None:
    """Kills this kernel once the process that stands for it has gone."""
    with suppress(OSError):
        asked.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)
