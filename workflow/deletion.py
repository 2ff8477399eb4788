"""Answer a deletion request, verify a report, purge what is left.

python -m workflow.deletion run REQUEST.yaml [--until-pass]
python -m workflow.deletion verify results/forget/NAME/report.json [--data]
python -m workflow.deletion purge results/forget/NAME [--apply] [--weights]
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion import purge as purging
from forget_lib.deletion import verify as checking
from forget_lib.deletion.report import opened, read_report
from forget_lib.deletion.verdict import FAIL, PASS, UNDECIDED
from workflow import commands
from workflow.pages import first_page
from workflow.pages.page import export_html
from workflow.pages.run import run_notebook

NOTEBOOK = REPOSITORY / "notebooks" / "10_deletion_request.ipynb"
SURE = "retrain"
STATUS = {PASS: 0, FAIL: 3, UNDECIDED: 4}
"""Exit status by verdict; 1 and 2 are those of a command that could not be carried out."""


def run(
    request: Path,
    *,
    until_pass: Annotated[bool, "on fail try the next method, up to training anew"] = False,
) -> int:
    """Answer a request, and write its report; everything that can be wrong with it is said before.

    Exit status 0 for pass, 3 for fail, 4 for not enough evidence; 1 where the request cannot be answered.
    """
    # The notebook keeps the copy of the request: one that waits for another run here must not replace that one's.
    folder = opened(request.resolve()).folder
    tried = [path.name.partition("-")[2] for path in sorted((folder / "tried").glob("*-*"))]
    content = answer(request, folder, gone_on_with(folder) if tried else "")
    while until_pass and content["verdict"]["outcome"] == FAIL and content["method"]["method"] != SURE:
        tried.append(content["method"]["method"])
        name, cost = next_method(content, tried)
        print(f"{tried[-1]} failed; next: {name}, about {cost:.0%} of the cost of training anew", flush=True)
        set_aside(folder, f"{len(tried)}-{tried[-1]}")
        content = answer(request, folder, name)
    outcome = content["verdict"]["outcome"]
    print(f"Verdict: {outcome}. {first_page.next_step(content)}\nThe report: {folder / 'report.html'}")
    return STATUS[outcome]


def answer(request: Path, folder: Path, method: str = "") -> dict[str, Any]:
    """Runs the notebook on a request, by a method of its own choice or this one; returns the content of the report."""
    # Relative, as the page shows its parameters and a home folder is nobody else's business.
    paths = {"request": request.resolve(), "folder": folder}
    given = {name: os.path.relpath(path, NOTEBOOK.parent) for name, path in paths.items()}
    executed = run_notebook(
        NOTEBOOK, given | {"method": method}, folder / "notebook" / "report.ipynb", watch=show_progress
    )
    content = read_report(folder / "report.json")
    front = first_page.first_page(content, purging.artefacts(folder))
    export_html(executed, folder / "report.html", index="", first=front)
    return content


def gone_on_with(folder: Path) -> str:
    """The method of an answer that earlier ones were set aside for; training anew if it was stopped on the way."""
    report = folder / "report.json"
    return read_report(report)["method"]["method"] if report.is_file() else SURE


def next_method(content: Mapping[str, Any], tried: Sequence[str]) -> tuple[str, float]:
    """The next best of the trial that was not tried, with its cost in retrainings; at the end training anew."""
    trial = content["method"]["trial"] or {}
    left = {name: each for name, each in trial.items() if name not in tried}
    if not left:
        return SURE, 1.0
    best = min(left, key=lambda name: (left[name]["score"], name))
    return best, left[best]["cost"]


def set_aside(folder: Path, name: str) -> None:
    """Moves a failed answer to tried/<name>, where purge finds it: nothing is overwritten."""
    place = folder / "tried" / name
    place.mkdir(parents=True, exist_ok=True)
    for each in ("report.json", "report.html", "unlearned"):
        shutil.move(folder / each, place / each)


def show_progress(line: str) -> None:
    """Prints the lines of a run that say how far it is."""
    if re.search(r"\d+ (s|min|h) left$", line):
        print(f"  {line}", flush=True)


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
