"""The overview of a profile: one page that links all others, in reading order, and says what they were made from."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import read_notebook, write_text
from forget_lib.core.paths import REPOSITORY
from forget_lib.show import answer_table
from forget_lib.study import records
from workflow.pages.compare import lines_of_index
from workflow.pages.page import PAGE, TEMPLATES, export_html, style, title_of
from workflow.pages.search import write_search

# Shown for each page where it has them; the other parameters stand in the page itself.
SHOWN = ("dataset", "model", "request", "draw", "seed")
DEMO = "09_face_demo"
OVERVIEW = "notebooks/00_overview/overview.html"
BEHIND = "notebooks/08_figures/figures.html"
"""The page with the answers by scenario."""
ANSWERS = Path("tables", "answers.json")
"""The rows of `overview.by_kind` that 00_overview writes."""


def write_index(folder: Path, missing: Iterable[str] = ()) -> Path:
    """Writes index.html of a profile's results folder, and beside it the texts that its search reads; pages older than
    their notebook or the template are made again.

    Args: folder: results/<profile>. missing: names of pages that could not be made, shown as such.
    Returns: the path of the index.
    Raises: ForgetError where no notebook was executed there.
    """
    folder, missing = Path(folder), list(missing)
    executed = sorted((folder / "notebooks").glob("*/*.ipynb"))
    if not executed and not missing:
        raise ForgetError(f"No executed notebook under {folder}. Run the study first, for example: ./run_all.sh quick")
    code = [*(TEMPLATES / "forget").glob("*.*"), Path(__file__).with_name("page.py")]
    newest = max(path.stat().st_mtime for path in code)
    groups: dict[str, list[dict[str, Any]]] = {}
    for path in executed:
        page = path.with_suffix(".html")
        if not page.exists() or page.stat().st_mtime < max(newest, path.stat().st_mtime):
            export_html(path, page)
        groups.setdefault(path.parent.name, []).append(_entry(folder, path, page))
    text = PAGE.get_template("index.html.j2").render(
        name=folder.name,
        style=style(),
        script=(TEMPLATES / "forget" / "index.js").read_text(encoding="utf-8"),
        search=(TEMPLATES / "forget" / "search.js").read_text(encoding="utf-8"),
        missing=missing,
        answer=_answer(folder),
        overview=OVERVIEW,
        headline=_headline(folder),
        compared=lines_of_index(folder),
        groups=[_group(name, entries) for name, entries in sorted(groups.items())],
        others=_others(groups),
        data=_data(folder),
        files=_files(folder),
        provenance=_provenance(),
    )
    entries = [entry for name in sorted(groups) for entry in groups[name]]
    write_search(folder, [(f"{entry['title']} ({entry['name']})", entry["link"]) for entry in entries])
    write_text(folder / "index.html", text)
    return folder / "index.html"


def failures(folder: Path) -> list[Path]:
    """Text logs of the jobs that were started and did not end well: those without an executed notebook."""
    folder = Path(folder)
    logs = sorted((folder / "logs").glob("*/*.log"))
    return [log for log in logs if not (folder / "notebooks" / log.parent.name / f"{log.stem}.ipynb").exists()]


def _entry(folder: Path, path: Path, page: Path) -> dict[str, Any]:
    """What the index says of one page."""
    notebook = read_notebook(path)
    run = notebook["metadata"].get("papermill", {})
    given = {key: value for key, value in run.get("parameters", {}).items() if value is not None}
    return {
        "title": title_of(notebook),
        "name": path.stem,
        "link": page.relative_to(folder).as_posix(),
        "shown": {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()},
        "seconds": f"{run['duration']:.0f} s" if isinstance(run.get("duration"), int | float) else "",
        "ended": str(run.get("end_time") or "")[:16].replace("T", " "),
    }


def _group(notebook: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """All pages of one notebook, sorted by the parameters that are shown."""
    names = [key for key in SHOWN if any(key in entry["shown"] for entry in entries)]
    entries = sorted(entries, key=lambda entry: [entry["shown"].get(key, "") for key in names])
    return {"notebook": notebook, "title": entries[0]["title"], "names": names, "entries": entries}


def _answer(folder: Path) -> str:
    """The table of answers from the numbers that 00_overview wrote, in HTML; empty where it wrote none."""
    path = folder / ANSWERS
    if not path.is_file():
        return ""
    try:
        found = pd.read_json(path, orient="records")
        return answer_table.answer_page(found, behind=BEHIND) if len(found) else ""
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        text = f"{path} is not the table of answers that 00_overview writes ({error})"
        raise ForgetError(f"{text}; delete it and run the overview again.") from error


def _headline(folder: Path) -> str:
    """The headline figure in base64; empty where there is none."""
    path = folder / "figures" / "headline.png"
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""


def _others(groups: Iterable[str]) -> list[dict[str, Any]]:
    """The notebooks without a page here, to which other pages may link."""
    paths = [path for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")) if path.stem not in set(groups)]
    return [{"name": path.stem, "title": title_of(read_notebook(path)), "demo": path.stem == DEMO} for path in paths]


def _data(folder: Path) -> list[dict[str, Any]]:
    """Where the data of the records came from, and which are synthetic or a sample."""
    rows = {}
    for path in records.record_folders(folder):
        run = records.read_record(path) or {}
        if "dataset" in run:
            about = {name: run.get(name) for name in ("dataset", "source", "synthetic", "sampled")}
            rows[tuple(map(str, about.values()))] = about
    return [about for _, about in sorted(rows.items())]


def _files(folder: Path) -> list[str]:
    """Tables and figures, as links."""
    paths = sorted([*(folder / "tables").glob("*.csv"), *(folder / "figures").glob("*.*")])
    return [path.relative_to(folder).as_posix() for path in paths if not path.name.startswith(".")]


def _provenance() -> str:
    about = records.provenance()
    commit, changed, _ = about["commit"].partition("+changed")
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"Commit {commit[:12]}{changed}; {versions}; {about['system']} {about['machine']}."
