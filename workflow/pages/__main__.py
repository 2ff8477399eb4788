"""The commands of `python -m workflow.pages`, which the workflow calls.

Modules are imported one by one, so that running a notebook does not wait for what only the index needs.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

from forget_lib.core.errors import ForgetError
from workflow import commands


def run(
    notebook: Path,
    *,
    output: Annotated[Path, "the executed notebook"],
    parameters: Annotated[str, "values by name, as JSON"] = "{}",
    page: Annotated[Path | None, "the same as HTML"] = None,
    log: Annotated[Path | None, "text of the cells; the executed copy stands beside it"] = None,
) -> None:
    """Run a notebook with parameters."""
    from workflow.pages.run import run_notebook

    try:
        values = json.loads(parameters)
    except ValueError as error:
        raise ForgetError(f"--parameters is not JSON: {error}.") from error
    run_notebook(notebook, values, output, page, log)


def index(folder: Path) -> None:
    """Link all pages of a results folder."""
    from workflow.pages.index import write_index

    print(write_index(folder))


def failures(folder: Path) -> None:
    """Print the ends of failed jobs' logs, and link what there is."""
    from workflow.pages.index import failures, write_index
    from workflow.pages.run import tail

    failed = {f"{log.parent.name} {log.stem}": log for log in failures(folder)}
    for name, log in failed.items():
        print(f"\n{name} did not end well. The end of {log}:\n{tail(log)}", file=sys.stderr)
    print(write_index(folder, failed))


def compare(folder: Path, *, reference: Path | None = None) -> None:
    """Say how a results folder stands against the committed reference."""
    from workflow.pages.compare import report

    print("\n".join(report(folder, reference)))


def warm(socket: Annotated[Path, "in a folder of this user alone"], parent: int) -> None:
    """Serve kernels that have the libraries imported; it ends with the process of number `parent`."""
    from workflow.pages import warm

    if (asked := warm.serve(socket, parent)) is not None:
        warm.become_kernel(asked)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    return commands.main("workflow.pages", [run, index, failures, compare, warm], arguments)


if __name__ == "__main__":
    sys.exit(main())
