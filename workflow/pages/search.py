"""The text of all pages for the search in the index: a script beside it, which the browser loads at the first search.

A page opened as a file may not read other files, but may run a script that stands beside it. So the index stays small.
"""

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path

from forget_lib.core.files import write_text

NAME = "search.js"
NOT_TEXT = re.compile(
    r"<(script|style|svg|header|title|head)\b.*?</\1>|<details class=\"code\">.*?</details>|<img\b[^>]*>|<!--.*?-->",
    re.DOTALL,
)
HEADING = re.compile(r"<h[1-6]\b([^>]*)>(.*?)</h[1-6]>", re.DOTALL)
TAG, SPACE, ID = re.compile(r"<[^>]*>"), re.compile(r"\s+"), re.compile(r'\bid="([^"]*)"')
Part = tuple[str, str, str]
"""Anchor of the nearest heading, the heading, and the text below it."""


def plain(markup: str) -> str:
    """The text of a piece of a page, on one line."""
    return SPACE.sub(" ", html.unescape(TAG.sub(" ", markup))).strip()


def parts_of(page: str) -> list[Part]:
    """What a page says, by heading, without its code, scripts and pictures."""
    anchor, heading, found = "", "", []
    pieces = HEADING.split(NOT_TEXT.sub(" ", page))
    found.append((anchor, heading, plain(pieces[0])))
    for attributes, title, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        known = ID.search(attributes)
        anchor, heading = html.unescape(known[1]) if known else anchor, plain(title)
        found.append((anchor, heading, plain(text)))
    return [part for part in found if part[1] or part[2]]


def write_search(folder: Path, pages: Iterable[tuple[str, str]]) -> Path:
    """Writes search.js of a results folder. pages: title and link, relative to the folder, of each page."""
    texts = [(title, link, parts_of((folder / link).read_text(encoding="utf-8"))) for title, link in pages]
    content = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    content = content.replace("\u2028", " ").replace("\u2029", " ")
    write_text(folder / NAME, f"window.textsOfPages = {content};\n")
    return folder / NAME
