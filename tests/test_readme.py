"""The links of the project's pages lead somewhere, and what the README tells people to type exists."""

import re
from pathlib import Path

import pytest

from forget_lib.core.paths import REPOSITORY

PAGES = [path for path in ("README.md", "data/README.md", "results/README.md") if (REPOSITORY / path).exists()]


def links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)


def anchors(path: Path) -> set[str]:
    """The anchors that headings of a Markdown page get."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_a_file(page):
    path = REPOSITORY / page
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{page}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page}: {link}"


def test_the_readme_names_only_commands_that_exist():
    help_text = (REPOSITORY / "run_all.sh").read_text()
    for word in re.findall(r"\./run_all\.sh ([a-z]+)", (REPOSITORY / "README.md").read_text()):
        assert re.search(rf"^  {word}\b", help_text, re.MULTILINE), word


def test_every_notebook_is_on_the_readme_map():
    readme = (REPOSITORY / "README.md").read_text()
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.name}" in readme
