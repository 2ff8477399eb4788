"""docs/paper.md as one HTML file and as PDF: `python benchmarks/paper.py` writes results/reference/paper.{html,pdf}.

Needs Chromium for the PDF. The numbers are those of docs/paper.md, which `python -m workflow.readme` makes.
"""

import re
import sys
from pathlib import Path

import mistune

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.deletion_pages import print_pages  # noqa: E402

SOURCE = REPOSITORY / "docs" / "paper.md"
OUTPUT = REPOSITORY / "results" / "reference" / "paper.html"
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 Georgia, serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word }
h1, h2, h3 { line-height: 1.25; break-after: avoid }
table { border-collapse: collapse; font: 12.5px/1.35 system-ui, sans-serif; width: 100%; margin: 1rem 0 }
th, td { border-bottom: 1px solid #999; padding: 4px 6px; text-align: left; vertical-align: top }
tr { break-inside: avoid }
@page { size: A4; margin: 16mm 14mm }
@media print { body { font-size: 10.5pt; margin: 0; max-width: none } table { font-size: 7.5pt } }
@media (max-width: 600px) {
  thead { display: none }
  tr { display: block; border-bottom: 2px solid #999; padding: 6px 0 }
  td { display: block; border: 0; padding: 1px 0 }
  td::before { content: attr(data-head); color: #555; display: block; font-size: 11px }
}
"""


def labelled(table: str) -> str:
    """A table whose cells name their column, for a narrow screen where the head is hidden."""
    heads = re.findall(r"<th[^>]*>(.*?)</th>", table)
    row = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)

    def named(match: re.Match) -> str:
        names = iter(heads)
        return "<tr>" + re.sub(r"<td", lambda _: f'<td data-head="{next(names)}"', match[1]) + "</tr>"

    head, _, body = table.partition("</thead>")
    return f"{head}</thead>{row.sub(named, body)}"


def page(text: str) -> str:
    """The HTML of a page of docs/ with its links as seen from results/reference."""
    body = str(mistune.create_markdown(plugins=["table"], escape=False)(text))
    body = re.sub(r'href="(?!https?:|#)', 'href="../../docs/', body)
    body = re.sub(r"<table>.*?</table>", lambda match: labelled(match[0]), body, flags=re.DOTALL)
    title = text.partition("\n")[0].lstrip("# ")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>{body}</body></html>\n'


def main() -> None:
    """Writes both files."""
    OUTPUT.write_text(page(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
    print_pages([OUTPUT])


if __name__ == "__main__":
    main()
