"""The overview of a profile: one page that links all others, in reading order, and says what they were made from."""

import base64
import html
import json
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import read_notebook, write_text
from forget_lib.core.paths import REPOSITORY
from workflow.pages.compare import section
from workflow.pages.page import TEMPLATES, export_html, style, title_of

# Shown for each page where it has them; the other parameters stand in the page itself.
TOLD = ("dataset", "model", "request", "draw", "seed")
DEMO = "09_face_demo"
FOLDED = 6
"""More pages of one notebook than these are folded away at first."""


def write_index(folder: Path, missing: Iterable[str] = ()) -> Path:
    """Writes index.html of a profile's results folder; pages older than their notebook or the template are made again.

    Args: folder: results/<profile>. missing: names of pages that could not be made, shown as such.
    Returns: the path of the index.
    Raises: ForgetError where no notebook was executed there.
    """
    folder = Path(folder)
    executed = sorted((folder / "notebooks").glob("*/*.ipynb"))
    missing = list(missing)
    if not executed and not missing:
        raise ForgetError(f"No executed notebook under {folder}. Run the study first, for example: ./run_all.sh quick")
    code = [*(TEMPLATES / "forget").glob("*.*"), Path(__file__).with_name("page.py")]
    newest = max(path.stat().st_mtime for path in code)
    groups: dict[str, list[dict[str, Any]]] = {}
    answer = ""
    for path in executed:
        answer = answer or _answer(read_notebook(path), path.parent.name)
        page = path.with_suffix(".html")
        if not page.exists() or page.stat().st_mtime < max(newest, path.stat().st_mtime):
            export_html(path, page)
        groups.setdefault(path.parent.name, []).append(_entry(folder, path, page))
    parts = [_group(name, entries) for name, entries in sorted(groups.items())]
    text = _PAGE.format(
        name=html.escape(folder.name),
        style=style(),
        missing=_missing(missing),
        answer=answer,
        headline=_headline(folder),
        compared=section(folder),
        data=_data(folder),
        groups="\n".join(parts),
        others=_others(groups),
        files=_files(folder),
        provenance=_provenance(),
        script=(TEMPLATES / "forget" / "index.js").read_text(encoding="utf-8"),
    )
    write_text(folder / "index.html", text)
    return folder / "index.html"


def failures(folder: Path) -> list[Path]:
    """Text logs of the jobs that were started and did not end well: those without an executed notebook."""
    folder = Path(folder)
    logs = sorted((folder / "logs").glob("*/*.log"))
    return [log for log in logs if not (folder / "notebooks" / log.parent.name / f"{log.stem}.ipynb").exists()]


def _entry(folder: Path, path: Path, page: Path) -> dict[str, Any]:
    notebook = read_notebook(path)
    told = notebook["metadata"].get("papermill", {})
    return {
        "title": title_of(notebook),
        "name": path.stem,
        "link": page.relative_to(folder).as_posix(),
        "parameters": told.get("parameters", {}),
        "seconds": told["duration"] if isinstance(told.get("duration"), int | float) else None,
        "ended": str(told.get("end_time") or "")[:16].replace("T", " "),
    }


def _answer(notebook: dict[str, Any], name: str) -> str:
    """The table of answers out of the overview's page, so that both show the same; links lead from the index."""
    if name != "00_overview":
        return ""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", []))
    tables = ("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    table = next((text for text in tables if 'class="forget-answer"' in text), "")
    page = "notebooks/00_overview/overview.html"
    table = table.replace('href="../', 'href="notebooks/').replace('href="#', f'href="{page}#')
    if not table:
        return ""
    words = (
        "Each method beside the model retrained without the data, by kind of request: gaps in points, 95 % intervals."
    )
    return f'<section><h2>The answer</h2><p>{words} <a href="{page}">All findings</a></p>{table}</section>'


def _headline(folder: Path) -> str:
    """The headline figure, inside the page."""
    path = folder / "figures" / "headline.png"
    if not path.is_file():
        return ""
    picture = base64.b64encode(path.read_bytes()).decode()
    alt = "Gap of forget accuracy to the retrained model by method, a panel a kind of request"
    return f'<section class="output_png scroll"><img alt="{alt}" src="data:image/png;base64,{picture}"></section>'


def _group(notebook: str, entries: list[dict[str, Any]]) -> str:
    title = html.escape(entries[0]["title"])
    told = [key for key in TOLD if any(key in entry["parameters"] for entry in entries)]
    head = "".join(f'<th class="text" scope="col">{html.escape(key)}</th>' for key in told)
    rows = []
    for entry in sorted(entries, key=lambda each: [str(each["parameters"].get(key, "")) for key in told]):
        cells = "".join(f'<td class="text">{html.escape(_shown(entry["parameters"].get(key)))}</td>' for key in told)
        seconds = f"{entry['seconds']:.0f} s" if entry["seconds"] is not None else ""
        link = f'<a href="{html.escape(entry["link"], quote=True)}">{html.escape(entry["name"])}</a>'
        ended = html.escape(entry["ended"])
        rows.append(f'<tr><td class="text">{link}</td>{cells}<td>{seconds}</td><td>{ended}</td></tr>')
    return (
        f'<section class="pages" id="{html.escape(notebook, quote=True)}"><h2>{title}</h2>'
        f"<details{' open' if len(entries) <= FOLDED else ''}><summary>{html.escape(notebook)}: {len(entries)} "
        f'page{"s" if len(entries) > 1 else ""}</summary><div class="scroll"><table><thead><tr>'
        f'<th class="text" scope="col">page</th>{head}<th scope="col">time</th>'
        f'<th scope="col">made (UTC)</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div></details></section>'
    )


def _others(groups: Container[str]) -> str:
    """The notebooks without a page here, to which other pages may link."""
    items = []
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        if path.stem in groups:
            continue
        title = html.escape(title_of(read_notebook(path)))
        where = "open it with <code>./run_all.sh demo</code>" if path.stem == DEMO else "no page in this profile"
        items.append(f'<li id="{path.stem}">{title} ({path.stem}: {where})</li>')
    return f"<section><h2>Other notebooks</h2><ul>{''.join(items)}</ul></section>" if items else ""


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _missing(names: list[str]) -> str:
    if not names:
        return ""
    items = "".join(f"<li>{html.escape(name)}</li>" for name in names)
    return f'<section><h2 class="mark">Not made in the last run</h2><ul>{items}</ul></section>'


def _data(folder: Path) -> str:
    """Where the data of the records came from; what is synthetic or a sample is called so."""
    from forget_lib.study import records

    rows = {}
    for record in records.record_folders(folder):
        run = records.read_record(record) or {}
        if "dataset" in run:
            rows[run["dataset"], run.get("source"), bool(run.get("synthetic")), bool(run.get("sampled"))] = None
    if not rows:
        return ""
    lines = []
    for dataset, source, synthetic, sampled in sorted(rows, key=str):
        marks = [
            text for text, there in (("synthetic images", synthetic), ("a sample, not the whole set", sampled)) if there
        ]
        mark = f' <span class="mark">({", ".join(marks)})</span>' if marks else ""
        lines.append(f"<li>{html.escape(str(dataset))}: {html.escape(str(source or 'unknown source'))}{mark}</li>")
    return f"<section><h2>Data behind these pages</h2><ul>{''.join(lines)}</ul></section>"


def _files(folder: Path) -> str:
    found = sorted([*(folder / "tables").glob("*.csv"), *(folder / "figures").glob("*.*")])
    if not found:
        return ""
    links = (path.relative_to(folder).as_posix() for path in found if not path.name.startswith("."))
    items = "".join(f'<li><a href="{html.escape(link, quote=True)}">{html.escape(link)}</a></li>' for link in links)
    return f"<section><h2>Tables and figures as files</h2><ul>{items}</ul></section>"


def _provenance() -> str:
    from forget_lib.study.records import provenance

    told = provenance()
    commit, changed, _ = told["commit"].partition("+changed")
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return html.escape(f"Commit {commit[:12]}{changed}; {versions}; {told['system']} {told['machine']}.")


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Forget: the {name} study</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>Forget: the {name} study</h1>
<p>Take a trained image classifier, ask it to forget some of its training data, and measure against a model trained
without those data whether it did. Read the pages from the top; each one works without a network.</p>
{missing}
{answer}
{headline}
{compared}
<section><h2>All pages</h2><p><label>Find <input type="search" id="find" placeholder="such as mnist class-5"></label>
<span class="soft">Click a heading to sort.</span></p></section>
{groups}
{others}
{data}
{files}
<section><h2>Provenance</h2><p class="soft">{provenance}</p></section>
</main>
<script>
{script}
</script>
</body>
</html>
"""
