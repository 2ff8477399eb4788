"""The figures and the choice of pages of a folder of results/reference, and the page that leads to them.

One page is kept for each scenario and request: the first draw and seed. Pictures in pages get a palette of 256 colours,
which makes charts a third as large. No image of a real person may be committed: a page of a notebook that shows images
is kept only where all of its data are known to show none.
"""

import base64
import html
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from forget_lib.core.files import write_text
from workflow.pages import page as report_page
from workflow.pages.page import output_markdown2html, style

ABOUT_ALL = ("00_overview", "08_figures", "11_published_claims", "01_data")
CHARTS_ONLY = (
    *("00_overview", "02_train_baseline", "03_unlearn_mnist", "04_unlearn_cifar10", "05_unlearn_mufac"),
    *("06_unlearn_identity", "08_figures", "11_published_claims"),
)
"""Notebooks that draw charts and never an image of the data set."""
SHOWS = re.compile(r"contact_sheet|neighbour_strip|imshow|image_rows|picture\(|section\(.gallery")
"""What draws an image of a data set, whoever it shows; `figures.show_images` refuses real people by itself."""
NO_PERSON = ("mnist", "cifar", "synthetic")
"""Data sets whose names begin so hold no image of a real person."""
NOT_FOR_SCENARIOS = ("02_train_baseline", "10_deletion_request")
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
LINK = re.compile(r'href="\.\./(\d\d[a-z]?_\w+)/([^"#/]+)\.html(#[^"]*)?"')
"""A link from one page to another."""
COLOURS = 20_000
"""A picture of more colours is a photograph, and stays as it is."""


def smaller(text: str) -> str:
    """The page with its PNG pictures in 256 colours, where that makes them smaller and nobody sees it."""

    def again(match: re.Match) -> str:
        raw = base64.b64decode(match[1])
        picture = Image.open(io.BytesIO(raw)).convert("RGBA")
        if picture.getcolors(COLOURS) is None:
            return match[0]
        opaque = picture.getextrema()[3][0] == 255
        one = picture.convert("RGB").quantize(256, dither=0) if opaque else picture.quantize(256, dither=0)
        stream = io.BytesIO()
        one.save(stream, "PNG", optimize=True)
        made = stream.getvalue()
        return f"data:image/png;base64,{base64.b64encode(made).decode()}" if len(made) < len(raw) else match[0]

    return PICTURE.sub(again, text)


def without_folders(text: str, root: Path) -> str:
    """The text without the folders of this machine: that of the checkout and the user's own."""
    checkout = root.resolve().parent.parent
    text = report_page.without_folders(text)
    return text.replace(f"{checkout}/", "").replace(str(checkout), ".").replace(f"{Path.home()}/", "~/")


def may_show_a_person(notebook: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a page may hold an image of a real person: it shows images, and not only of `NO_PERSON`."""
    if notebook in CHARTS_ONLY:
        return False
    names = [*parameters.get("datasets_shown", []), *([parameters["dataset"]] if "dataset" in parameters else [])]
    return not names or not all(str(name).startswith(NO_PERSON) for name in names)


def choose(jobs: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]]]:
    """Keys of the jobs whose pages are kept, those about everything first, and the others by the reason why not."""
    kept: list[str] = [key for name in ABOUT_ALL for key, job in jobs.items() if job.notebook == name]
    left_out: dict[str, list[str]] = {}
    seen = set()
    for key, job in jobs.items():
        scenario = re.sub(r"-draw\d+-seed\d+.*$", "", key)
        if job.notebook in ABOUT_ALL:
            continue
        if job.notebook in NOT_FOR_SCENARIOS:
            left_out.setdefault("no page of a scenario", []).append(key)
        elif re.search(r"-(retrained|group\d+)$", job.name):
            left_out.setdefault("a part of another page", []).append(key)
        elif scenario in seen:
            left_out.setdefault("another draw or seed of a scenario that is here", []).append(key)
        else:
            seen.add(scenario)
            kept.append(key)
    for key in [key for key in kept if may_show_a_person(jobs[key].notebook, jobs[key].parameters)]:
        kept.remove(key)
        left_out.setdefault("may show a real person", []).append(key)
    return kept, left_out


def copy_pages(root: Path, output: Path, jobs: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Copies the chosen pages that are there, up to `limit` bytes; `pages` and `left_out` (by reason) for a manifest.

    Names are those of jobs, `<notebook>/<page>`.
    """
    done = {key: job for key, job in jobs.items() if (root / "notebooks" / f"{key}.html").is_file()}
    chosen, left_out = choose(done)
    texts: dict[str, str] = {}
    for key in chosen:
        text = (root / "notebooks" / f"{key}.html").read_text(encoding="utf-8")
        text = smaller(without_folders(text, root))
        if sum(map(len, texts.values())) + len(text) > limit:
            left_out.setdefault("over the limit of all pages together", []).append(key)
        else:
            texts[key] = text
    for key, text in texts.items():
        write_text(output / "notebooks" / f"{key}.html", relinked(text, texts))
    return {"pages": list(texts), "left_out": left_out}


def relinked(text: str, there: Collection[str]) -> str:
    """The page with its links to pages that are not here leading to their notebook's place in the index."""

    def link(match: re.Match) -> str:
        notebook, name = match.groups()[:2]
        return match[0] if f"{notebook}/{name}" in there else f'href="../../index.html#{notebook}"'

    return LINK.sub(link, text)


def write_readme(output: Path, about: Mapping[str, Any]) -> None:
    """README.md and index.html, the same text: what is here, what is missing, and where to look."""
    text = readme(output, about)
    write_text(output / "README.md", text)
    page = PAGE.format(
        title=html.escape(f"Reference: {about['profile']}"), style=style(), body=output_markdown2html(text)
    )
    write_text(output / "index.html", page)


def readme(output: Path, about: Mapping[str, Any]) -> str:
    """The text of README.md, from what the manifest will say."""
    commits = ", ".join(f"`{commit[:12]}` ({number})" for commit, number in about["commits"].items())
    changed = f", {about['changed']} of them with changes that were not committed" if about["changed"] else ""
    counted = ", ".join(f"{number} {status}" for status, number in about["records"].items() if status != "all")
    trained, whole = (_lasting(about[key]) for key in ("training_seconds", "notebook_seconds"))
    machine = about["machine"]
    made = (
        f"Made by `{about['command']}`: {about['records']['all']} records ({counted}), at commit (records) "
        f"{commits}{changed}. They took {trained} of training and unlearning, their notebooks {whole} in all, "
        f"on one core each of {machine['processor']} ({machine['cores']} cores). `MANIFEST.json` has versions, "
        "checksums of the data, the whole config, and a checksum of each file."
    )
    lines = [f"# Reference results of the {about['profile']} profile", "", made, "", *_headline(output)]
    lines += ["| what | where |", "|:---|:---|"]
    told = {
        "summary.csv": "means with 95 % intervals, and the retrained model's value",
        "summary.csv.gz": "means with 95 % intervals, and the retrained model's value",
        "runs.csv.gz": "a row a record and metric, without accuracies by class",
        "records.jsonl.gz": "every `run.json`; the tables follow from it",
    }
    lines += [f"| {words} | [{name}]({name}) |" for name, words in told.items() if (output / name).is_file()]
    lines += ["", *_scenarios(about), *_figures(output), *_pages(about)]
    return "\n".join(lines) + "\n"


def _lasting(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes"


def _headline(output: Path) -> list[str]:
    alt = "Forget accuracy minus the retrained model's, by method and scenario; 0 is right"
    return [f"![{alt}](figures/headline.png)", ""] if (output / "figures" / "headline.png").is_file() else []


def _scenarios(about: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Scenarios",
        "",
        "| scenario of the config | pages done | planned | in these tables |",
        "|:---|---:|---:|:---|",
    ]
    for name, one in about["scenarios"].items():
        state = "no" if not one["included"] or not one["done"] else "yes" if not one["missing"] else "what is done"
        lines.append(f"| {name} | {one['done']} | {one['planned']} | {state} |")
    if not about["scenarios"]:
        lines = ["## Scenarios"]
    lines += ["", "Originals (draws and seeds) by data set, model and request:", ""]
    return [*lines, *(f"- {name}: {number}" for name, number in about["draws_and_seeds"].items()), ""]


def _figures(output: Path) -> list[str]:
    """Charts by name, with a link to each of their files."""
    names: dict[str, list[str]] = {}
    for path in sorted((output / "figures").glob("*.*")):
        names.setdefault(path.stem, []).append(f"[{path.suffix[1:].upper()}](figures/{path.name})")
    return ["## Figures", "", *(f"- {name}: {', '.join(links)}" for name, links in names.items()), ""] if names else []


def _pages(about: Mapping[str, Any]) -> list[str]:
    lines = ["## Pages", ""]
    lines += ["Each is one file that needs no network; open it from a clone.", ""] if about["pages"] else []
    for notebook in sorted({key.split("/")[0] for key in about["pages"]}):
        names = [key.split("/")[1] for key in about["pages"] if key.startswith(f"{notebook}/")]
        lines += [f"### {notebook}", "", *(f"- [{name}](notebooks/{notebook}/{name}.html)" for name in names), ""]
    lines += ["### Left out", ""] if about["left_out"] else []
    lines += [f"- {len(keys)} pages: {reason}" for reason, keys in about["left_out"].items()]
    return lines


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
