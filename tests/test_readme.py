"""The links of the project's pages lead somewhere, and what they tell people to type exists."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import forget_lib
from forget_lib.core.paths import REPOSITORY
from workflow import readme

README = REPOSITORY / "README.md"
OTHERS = [REPOSITORY / name for name in ("data/README.md", "results/README.md", "results/reference/README.md")]
PAGES = [*readme.PAGES, *OTHERS]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)


def anchors(path: Path) -> set[str]:
    """The anchors that headings of a Markdown page get."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_relative_links_lead_to_a_file(path):
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_name_only_commands_that_exist(path):
    help_text = (REPOSITORY / "run_all.sh").read_text(encoding="utf-8")
    for word in re.findall(r"\./run_all\.sh ([a-z]+)", path.read_text(encoding="utf-8")):
        assert re.search(rf"^  {word}\b", help_text, re.MULTILINE), word


def test_the_readme_is_short_and_names_every_notebook_and_every_page():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    pages = [*(REPOSITORY / "notebooks").glob("*.ipynb"), *readme.PAGES[1:]]
    assert not [name_of(page) for page in pages if f"({name_of(page)})" not in text]


def test_the_tree_of_the_readme_names_every_folder_and_room():
    tree = README.read_text(encoding="utf-8").split("## Where things are")[1].split("```")[1]
    tops = {path.name for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    rooms = {path.parent.name for path in (REPOSITORY / "forget_lib").glob("*/__init__.py")}
    assert re.findall(r"^([a-z_]+)/ ", tree, re.MULTILINE) != []
    assert set(re.findall(r"^  ([a-z_]+)/ ", tree, re.MULTILINE)) == rooms
    made = {"build", "dist", "shared"}  # by running, and ignored by git
    assert tops - made <= set(re.findall(r"^([a-z_]+)/ ", tree, re.MULTILINE))


def test_the_citation_agrees_with_the_package():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == forget_lib.__version__
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
    assert citation["title"].lower().startswith(f"{project['name']}: ")
    assert project["description"].startswith(citation["title"].partition(": ")[2].capitalize())
