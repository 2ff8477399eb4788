"""An executed notebook as one HTML file that needs no network: maths as MathML, pictures inside, code foldable."""

import html
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from pygments.formatters import HtmlFormatter

from forget_lib.core.files import read_notebook, write_text

# Bounded, so that a long word without spaces costs no more than its length times this.
FOLDERS = re.compile(r"/[\w./-]{0,300}?/((?:site-packages|forget_lib)/)")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
TEMPLATES = Path(__file__).resolve().parent / "templates"
PAGE = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
"""Pages that are no notebooks: what is put into a template is escaped."""
WIDGET = "application/vnd.jupyter.widget-view+json"
SINGLE = ("00_overview", "01_data", "08_figures")
"""Notebooks of which every profile has one page; of the others the index lists the pages, or that there is none."""


def mathml(source: str, display: bool) -> str:
    """TeX as MathML; what cannot be converted is shown as its source, a command that is not known as its name."""
    try:
        converted = convert(source.strip(), display="block" if display else "inline")
        return re.sub(r">\\([A-Za-z]+)<", r">\1<", converted)
    except Exception:  # the converter raises many kinds, none of which should lose the page
        return f"<code>{html.escape(source)}</code>"


def slug(text: str) -> str:
    """The anchor of a heading, spelled as JupyterLab does: spaces and what is no letter become hyphens."""
    return re.sub(r"[^\w.+-]+", "-", html.unescape(re.sub(r"<[^>]+>", "", text))).strip("-")


class MathRenderer(IPythonRenderer):
    """Markdown with maths as MathML in place of TeX that a script from the network would have to render."""

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """A heading with an anchor, so that other pages can lead to it."""
        return super().heading(text, level, **{"id": slug(text), **attrs})

    def block_math(self, body: str) -> str:
        """$$…$$"""
        return f'<div class="math">{mathml(body, True)}</div>'

    def multiline_math(self, text: str) -> str:
        """An environment such as align."""
        return self.block_math(text)

    def latex_environment(self, name: str, body: str) -> str:
        """An environment such as align."""
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def inline_math(self, body: str) -> str:
        """$…$"""
        return mathml(body, False)


def output_markdown2html(source: str) -> str:
    """Markdown that a cell printed, as HTML. It holds names from data: HTML in it is shown as text, unlike in the
    notebook's own text."""
    return MarkdownWithMath(
        renderer=MathRenderer(escape=True, allow_harmful_protocols=False, exclude_anchor_links=True)
    ).render(source)


def arrange(cells: list[Any]) -> list[Any]:
    """The cells of a notebook as its page shows them: first those that come before all sections, then the sections
    whose heading has a tag `page-1`, `page-2` and so on, then all others, each folded under its heading. A section with
    the tag `if-shown` is left out where its cells show nothing.

    A notebook without such a tag keeps its order, and nothing is folded.
    """
    sections: list[list[Any]] = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            sections.append([])
        sections[-1].append(cell)
    start, *rest = sections
    places = {id(section): _place(section[0]) for section in rest}
    if not any(places.values()):
        return cells
    rest = [section for section in rest if "if-shown" not in _tags(section[0]) or any(map(_outputs, section))]
    rest.sort(key=lambda section: places[id(section)] or "page-9")
    for section in rest:
        if not places[id(section)]:
            heading, _, text = section[0].source.partition("\n")
            title = MarkdownWithMath(renderer=MathRenderer(escape=False, exclude_anchor_links=True)).render(heading)
            section[0].source = text
            kind = "part" if text.strip() or any(map(_outputs, section)) else "part bare"
            section[0].metadata["opens"] = f'<details class="{kind}"><summary>{title}</summary>'
            section[-1].metadata["closes"] = "</details>"
    return [cell for section in [start, *rest] for cell in section]


def _tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def _place(heading: Any) -> str:
    return next((tag for tag in _tags(heading) if tag.startswith("page-")), "")


def _outputs(cell: Any) -> list[Any]:
    return cell.get("outputs", [])


def plain_table(table: str) -> str:
    """A table of pandas in HTML with one row of headings, and with words for what is missing, true or false."""
    row = r"<tr[^>]*>((?:\s*<th[^>]*>[^<]*</th>)+)\s*</tr>\s*"
    heads = re.search(rf"<thead>\s*{row}{row}</thead>", table)
    if heads:  # pandas writes the name of the index into a row of its own
        columns, names = (re.findall(r"<th[^>]*>([^<]*)</th>", part) for part in heads.groups())
        merged = [name.strip() or column for name, column in zip(names, columns, strict=False)]
        line = "".join(f"<th>{name}</th>" for name in merged)
        table = f"{table[: heads.start()]}<thead><tr>{line}</tr></thead>{table[heads.end() :]}"
    words = {"NaN": "–", "None": "–", "True": "yes", "False": "no"}
    return re.sub(r"<td>(NaN|None|True|False)</td>", lambda match: f"<td>{words[match[1]]}</td>", table)


class PageExporter(HTMLExporter):
    """The exporter of the study's pages; template `templates/forget`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(template_name="forget", extra_template_basedirs=[str(TEMPLATES)], **options)
        self.exclude_anchor_links = self.exclude_input_prompt = self.exclude_output_prompt = True
        self.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # one box for the lines of one cell

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Markdown to HTML, maths included."""
        cell = context.get("cell", {})
        renderer = MathRenderer(escape=False, attachments=cell.get("attachments", {}), exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)

    def default_filters(self) -> Any:
        """The filters of HTMLExporter with ours."""
        yield from super().default_filters()
        yield "markdown2html", self.markdown2html
        yield "output_markdown2html", output_markdown2html
        yield "mathml", lambda source: mathml(source.strip().strip("$"), True)


@lru_cache
def style() -> str:
    """The style sheet of pages and index, with the colours of code for light and dark."""
    light = HtmlFormatter(style="default", nobackground=True).get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark", nobackground=True).get_style_defs(".highlight")
    dark = f"@media (prefers-color-scheme: dark) {{ @media screen {{\n{dark}\n}} }}"
    return "\n".join([(TEMPLATES / "forget" / "style.css").read_text(encoding="utf-8"), light, dark])


def title_of(notebook: Any) -> str:
    """The first heading of a notebook as plain text, or "Untitled"."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            found = re.search(r"^#\s+(.+)$", "".join(cell["source"]), re.MULTILINE)
            if found:
                return re.sub(r"[*_`$]", "", found[1]).strip()
    return "Untitled"


def export_html(executed: Path, page: Path, index: str = "../../index.html", first: str = "") -> Path:
    """Writes an executed notebook as a self-contained page.

    Args: index: where the page's link to the overview of all pages points. first: HTML that stands before the notebook.
    Returns: page.
    Raises: ForgetError if the page cannot be written.
    """
    read_notebook(executed)  # names a damaged one
    notebook = nbformat.read(str(executed), as_version=4)
    for cell in notebook.cells:  # widgets need a running kernel, and a bar would stand at 0 % for ever
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = without_folders(output.text)
                elif 'class="dataframe"' in output.get("data", {}).get("text/html", ""):
                    output.data["text/html"] = plain_table(output.data["text/html"])
    notebook.cells = arrange(notebook.cells)
    resources = {"page": {"title": title_of(notebook), "style": style(), "index": index, "first": first}}
    body, _ = PageExporter().from_notebook_node(notebook, resources=resources)
    write_text(Path(page), _linked(CONTROL.sub("", body), index))
    return Path(page)


def without_folders(text: str) -> str:
    """The text with files of the environment and of this project named from there on: a warning of Python names the
    folders of the machine, which are nobody's business."""
    return FOLDERS.sub(r"\1", text)


def _linked(body: str, index: str) -> str:
    """Links between notebooks, as they are written there, as links between pages; plain text in a page that stands
    alone (no index)."""

    def page(match: re.Match) -> str:
        name, anchor, text = match.groups("")
        if not index:
            return text
        target = f"../{name}/{name.split('_')[-1]}.html{anchor}" if name in SINGLE else f"{index}#{name}"
        return f'<a href="{target}">{text}</a>'

    return re.sub(r'<a href="(\d\d\w?_\w+)\.ipynb(#[^"]*)?">(.*?)</a>', page, body, flags=re.DOTALL)
