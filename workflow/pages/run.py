"""Run a notebook in batch with parameters; an executed copy and a text log are kept whether or not it ends well."""

import ast
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.files import only_one, read_notebook, write_text
from forget_lib.core.paths import REPOSITORY
from workflow.pages.private import hide_folders

KERNELS = Path(__file__).resolve().parent
"""Jupyter finds the kernel `warm` in the folder `kernels` there."""
TAIL = 25
QUICK_IMPORTS = "import gc; gc.set_threshold(20_000, 10, 10)"
"""Modules are many objects and no garbage: at Python's own pace, looking for some is a sixth of the time of imports."""


def declared_parameters(path: Path) -> list[str]:
    """Names assigned in the cell tagged `parameters`, in order; empty where there is no such cell."""
    cells = read_notebook(path)["cells"]
    tagged = [cell["source"] for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    try:
        body = ast.parse("".join(tagged[0] if tagged else "")).body
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise ForgetError(f"The parameters of {path} cannot be read: {error}.") from error
    targets = [target for node in body for target in getattr(node, "targets", [getattr(node, "target", None)])]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def run_notebook(
    notebook: Path,
    parameters: Mapping[str, Any],
    output: Path,
    page: Path | None = None,
    log: Path | None = None,
    timeout: float | None = None,
    watch: Callable[[str], None] | None = None,
) -> Path:
    """Runs a notebook in its own folder, as by hand, and writes the executed copy and its page.

    Args: parameters: values by name; each must be declared by the notebook. output: where the executed notebook goes
        if it ends well. page: the same as HTML. log: text of all cells, written as it comes; the executed copy is kept
        beside it, with the error where there is one. Default: `output` with the suffix .log. timeout: seconds a cell
        may take. watch: gets each line that a cell prints, as it comes.
    Returns: output.
    Raises: UnknownNameError for a parameter that the notebook does not declare. ForgetError if a cell fails: the
        message names the cell and the error and says where the copy is.
    """
    notebook, output = Path(notebook), Path(output)
    log = Path(log) if log else output.with_suffix(".log")
    known = declared_parameters(notebook)
    for name in parameters:
        if name not in known:
            raise unknown(f"parameter of {notebook.stem}", name, known)
    executed = log.with_suffix(".ipynb")
    if executed.resolve() == output.resolve():
        executed = log.with_name(f"{log.stem}.executed.ipynb")
    with only_one(output):
        begun = time.perf_counter()
        executed.parent.mkdir(parents=True, exist_ok=True)
        try:
            _execute(notebook, parameters, executed, log, timeout, watch)
        finally:
            hide_folders(executed, log, parameters, notebook.resolve().parent)
        if page is not None:
            from workflow.pages.page import export_html

            export_html(executed, page)
        write_text(output, executed.read_text(encoding="utf-8"))
        print(f"{notebook.stem} {output.stem}: {time.perf_counter() - begun:.0f} s", flush=True)
    return output


@dataclass
class _Watched:
    """A text file whose lines are also shown to somebody."""

    file: TextIO
    watch: Callable[[str], None]

    def write(self, text: str) -> None:
        self.file.write(text)
        for line in text.splitlines():
            self.watch(line)

    def flush(self) -> None:
        self.file.flush()


def _execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    executed: Path,
    log: Path,
    timeout: float | None,
    watch: Callable[[str], None] | None,
) -> None:
    # jsonschema imports this optional package if it is there; it alone costs a second.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    prepare_environment()
    # Sockets as files are quicker than TCP ports and cannot be taken by others between choosing and opening them. The
    # folder keeps those of two kernels apart. Their paths must be shorter than a TMPDIR may be.
    short = "/tmp" if os.access("/tmp", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="forget-", dir=short, ignore_cleanup_errors=True) as own,
        log.open("w", encoding="utf-8") as text,
    ):
        print(f"{notebook.name} {json.dumps(dict(parameters), sort_keys=True)}", file=text, flush=True)
        try:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                dict(parameters),
                kernel_name="warm" if "FORGET_WARM" in os.environ else "python3",
                language="python",
                cwd=str(notebook.resolve().parent),
                progress_bar=False,
                stdout_file=_Watched(text, watch) if watch else text,
                stderr_file=text,
                execution_timeout=timeout,
                # A kernel is interrupted as it is shut down, and would write to the terminal that this was an error.
                # IPython reads start-up files and settings in a folder of this page's own, not in the user's.
                extra_arguments=[
                    "--IPKernelApp.log_level=CRITICAL",
                    f"--IPKernelApp.exec_lines={[QUICK_IMPORTS]}",
                    f"--IPKernelApp.ipython_dir={own}",
                ],
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{own}/kernel"}}),
            )
        except PapermillExecutionError as error:
            message = f"{error.ename}: {error.evalue}"
            print(message, file=text, flush=True)
            raise ForgetError(
                f"{notebook.name} failed in cell {error.cell_index}: {message}\n"
                f"The executed copy with the error is {executed}, its text {log}."
            ) from error
        except (RuntimeError, TimeoutError) as error:  # the kernel died or a cell took too long
            print(error, file=text, flush=True)
            raise ForgetError(f"{notebook.name} could not be run to its end: {error}\nIts text is {log}.") from error


def prepare_environment() -> None:
    """Sets the variables of this process, and so of kernels, by which pages look the same everywhere.

    Settings of the user's account are not read.
    """
    for name, own in (("PYTHONPATH", REPOSITORY), ("JUPYTER_PATH", KERNELS)):
        os.environ[name] = os.pathsep.join(filter(None, [str(own), os.environ.get(name, "")]))
    os.environ |= {
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one of the same name of the user
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "TQDM_DISABLE": "1",  # a bar of widgets would stand still in the page
        "FORGET_BATCH": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # another may draw nothing in a page
        "MATPLOTLIBRC": os.devnull,
    }
    # One core a notebook, as under Snakemake: products of NumPy's matrices differ in their last bits with more.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("PYTHONSTARTUP", None)  # kernels run it too


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a text log, or an empty text where there is none."""
    try:
        return "\n".join(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
