"""Answer a deletion request, verify a report, purge what is left.

python -m workflow.deletion run REQUEST.yaml
python -m workflow.deletion verify results/forget/NAME/report.json [--data]
python -m workflow.deletion purge results/forget/NAME [--apply] [--weights]
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion import purge as purging
from forget_lib.deletion import verify as checking
from forget_lib.deletion.report import opened, read_report
from workflow import commands
from workflow.pages.page import export_html
from workflow.pages.run import run_notebook

NOTEBOOK = REPOSITORY / "notebooks" / "10_deletion_request.ipynb"


def run(request: Path) -> None:
    """Answer a request, and write its report; everything that can be wrong with it is said before."""
    # The notebook keeps the copy of the request: one that waits for another run here must not replace that one's.
    folder = opened(request.resolve()).folder
    # Relative, as the page shows its parameters and a home folder is nobody else's business.
    paths = {"request": request.resolve(), "folder": folder}
    given = {name: os.path.relpath(path, NOTEBOOK.parent) for name, path in paths.items()}
    executed = run_notebook(NOTEBOOK, given, folder / "notebook" / "report.ipynb")
    export_html(executed, folder / "report.html", index="")
    verdict = read_report(folder / "report.json")["verdict"]
    print(f"Verdict: {verdict['outcome']}. The report: {folder / 'report.html'}")


def verify(report: Path, *, data: Annotated[bool, "with the data: measure the model again"] = False) -> int:
    """Check a report; exit status 1 if a check failed."""
    checks = checking.verify(report / "report.json" if report.is_dir() else report, with_data=data)
    for check in checks:
        print(f"{check.outcome:12}  {check.name}" + (f": {check.detail}" if check.detail else ""))
    if not data:
        print("Checked without the data. With them: add --data")
    return int(any(check.outcome == checking.FAILED for check in checks))


def purge(
    folder: Path,
    *,
    apply: Annotated[bool, "remove it"] = False,
    weights: Annotated[bool, "the given weights of the original model too"] = False,
) -> None:
    """List what still carries the forgotten data."""
    found = purging.artefacts(folder, given_weights=weights)
    print(purging.table(found).to_string(index=False, justify="left"))
    if not apply:
        print("Nothing was removed. To remove it: add --apply")
        return
    purging.purge(folder, given_weights=weights)
    print(f"Removed. The list with dates: {folder / 'purge.json'}")
    kept = [each.why for each in found if each.path.name == "unlearned"]
    print(f"Kept is {kept[0] if kept else 'no model'}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    return commands.main("workflow.deletion", [run, verify, purge], arguments)


if __name__ == "__main__":
    sys.exit(main())
