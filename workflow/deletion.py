"""The command line: answer a request, verify a report, purge what is left.

python -m workflow.deletion run REQUEST.yaml
python -m workflow.deletion verify results/forget/NAME/report.json [--data]
python -m workflow.deletion purge results/forget/NAME [--apply] [--weights]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks" / "10_deletion_request.ipynb"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m workflow.deletion", description=(__doc__ or "").split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="answer a request, and write its report")
    run.add_argument("request", type=Path)
    check = commands.add_parser("verify", help="check a report")
    check.add_argument("report", type=Path)
    check.add_argument("--data", action="store_true", help="with the data: measure the model again")
    remove = commands.add_parser("purge", help="list what still carries the forgotten data")
    remove.add_argument("folder", type=Path)
    remove.add_argument("--apply", action="store_true", help="remove it")
    remove.add_argument("--weights", action="store_true", help="the given weights of the original model too")
    return top


def run(request: Path) -> int:
    """Answers a request by running the notebook on it; everything that can be wrong with it is said before."""
    from forget_lib.deletion.report import opened, read_report
    from workflow.pages.page import export_html
    from workflow.pages.run import run_notebook

    # The notebook keeps the copy of the request: one that waits for another run here must not replace that one's.
    case = opened(request.resolve())
    folder = case.folder
    inner = folder / "notebook"
    # Relative, as the page shows its parameters and a home folder is nobody else's business.
    paths = {"request": request.resolve(), "folder": folder}
    given = {name: os.path.relpath(path, NOTEBOOK.parent) for name, path in paths.items()}
    executed = run_notebook(NOTEBOOK, given, inner / "report.ipynb")
    export_html(executed, folder / "report.html", index="")
    content = read_report(folder / "report.json")
    print(f"Verdict: {content['verdict']['outcome']}. The report: {folder / 'report.html'}")
    return 0


def verify(report: Path, data: bool) -> int:
    """Prints the checks; 1 if one failed."""
    from forget_lib.deletion import verify as checking

    path = report / "report.json" if report.is_dir() else report
    checks = checking.verify(path, with_data=data)
    for check in checks:
        print(f"{check.outcome:12}  {check.name}" + (f": {check.detail}" if check.detail else ""))
    if not data:
        print("Checked without the data. With them: add --data")
    return int(any(check.outcome == checking.FAILED for check in checks))


def purge(folder: Path, apply: bool, weights: bool) -> int:
    """Prints what there is, or removes it."""
    from forget_lib.deletion import purge as purging

    found = purging.artefacts(folder, given_weights=weights)
    print(purging.table(found).to_string(index=False, justify="left"))
    if apply:
        purging.purge(folder, given_weights=weights)
        print(f"Removed. The list with dates: {folder / 'purge.json'}")
        kept = [each.why for each in found if each.path.name == "unlearned"]
        print(f"Kept is {kept[0] if kept else 'no model'}.")
    else:
        print("Nothing was removed. To remove it: add --apply")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; a mistake that the user can mend is one message and exit status 1."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "run":
            return run(given.request)
        if given.command == "verify":
            return verify(given.report, given.data)
        return purge(given.folder, given.apply, given.weights)
    except ForgetError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped by the keyboard; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
