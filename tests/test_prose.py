"""What people read is plain: no long sentence in notebooks and docs/, and none of the phrases that readers misread."""

import json
import re
from collections.abc import Iterator

import pytest

from forget_lib.core.paths import REPOSITORY
from workflow import readme

MOST_WORDS = 35
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
CARDS = [REPOSITORY / folder / "README.md" for folder in ("data", "results", "results/reference", "tests/faults")]
PAGES = [*NOTEBOOKS, *readme.PAGES, *CARDS]
TEXTS = [*PAGES, REPOSITORY / "run_all.sh"]
RIDDLES = [
    r"\b(?:is|are|be|was|were) told (?:from|apart)\b",
    r"\bnothing to be told\b",
    r"\bto be had\b",
    r"\bas it stands there\b",
    r"\bsings\b",
    r"\bup to a turn\b",
    r"\bwhat is to go\b",
    r"\bgives itself away\b",
    r"\bis praise\b",
    r"\bno praise\b",
    r"\bwhat is usual\b",
    r"\bmoved, moved\b",
    r"\bhonestly so\b",
    r"\bso that nothing is turned\b",
    r"\bof a way of its own\b",
    r"\bso many bits\b",
    r"\bwitness(?:es)?\b",
    r"\bhas not learned again\b",
    r"\blie on each other\b",
    r"\bsees nothing of\b",
    r"\bfound (?:the|it|him) out\b",
    r"\bfind(?:s)? the original out\b",
    r"\bbe found out\b",
    r"\btakes it for\b",
    r"\bit is known what\b",
    r"\bhad it been\b",
    r"\btakes images for\b",
    r"\bgives it away\b",
    r"\bless what is\b",
    r"\bwhich tuning chose\b",
    r"\bimages to go\b",
    r"\bif any, are within\b",
]
"""Old phrases, as patterns; each was rewritten in plain words and must not come back."""


def markdown(path) -> str:
    """The text of a page that people read: of a notebook its Markdown cells, of a page all but what is generated."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return re.sub(r"<!-- ([\w ]+): generated.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def sentences(text: str) -> Iterator[str]:
    """Its sentences; a formula, a piece of code and a link are a word each, rows of tables and headings none."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "X", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "<"))]
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    for paragraph in paragraphs:
        yield from re.split(r"(?<=[.?!])[*)\"]*\s+", " ".join(paragraph.split()))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_sentence_is_long(path):
    long = [text for text in sentences(markdown(path)) if len(text.split()) > MOST_WORDS]
    assert not long, f"over {MOST_WORDS} words"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_old_phrases_do_not_come_back(path):
    text = " ".join(markdown(path).split())
    found = [match.group() for riddle in RIDDLES for match in re.finditer(riddle, text, re.IGNORECASE)]
    assert not found


def test_sentences_are_counted_as_people_read_them():
    text = "# A heading\n\nOne, `two three` and $a + b$. [Four five](x.md)?\n\n| a | b |\n\n- six\n- seven"
    assert list(sentences(text)) == ["One, X and X.", "Four five?", "- six", "- seven"]
