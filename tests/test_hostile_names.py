"""Names with HTML, scripts and terminal escapes: text in every page, table and widget."""

from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from forget_lib.demo.parts import html, probability_bars
from forget_lib.show import findings
from workflow.pages.index import write_index
from workflow.pages.page import export_html

pytestmark = pytest.mark.fault("Names with HTML, scripts and terminal escapes")
NAMES = [
    "<script>alert('canary')</script>",
    "<img src=x onerror=alert('canary')>",
    "\"><svg onload=alert('canary')>",
    "' onmouseover='alert(`canary`)",
    "</title><iframe src=javascript:alert('canary')>",
    "[x](javascript:alert('canary'))",
    "<a href='javascript:alert(1)'>canary</a>",
    "</style><style>@import 'canary'",
    "<details open ontoggle=alert('canary')>",
    "$$</math><script>canary</script>$$",
    "\x1b[2J\x1b]0;canary\x07",
]


class Active(HTMLParser):
    """Collects what would act: elements and attributes with the canary in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        leads = {name for name, value in attributes if (value or "").strip().lower().startswith("javascript:")}
        acts = leads & {"href", "src", "action", "data"} or [name for name, _ in attributes if name.startswith("on")]
        if acts or tag in ("iframe", "object", "embed"):
            self.found.append(f"{tag} {attributes}")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside in ("script", "style") and "canary" in data:
            self.found.append(f"{self.inside}: {data[:80]}")


def page_with(tmp_path, *outputs, **told):
    path = tmp_path / "results" / "notebooks" / "03_toy" / "a.ipynb"
    path.parent.mkdir(parents=True)
    cells = [new_markdown_cell("# Toy"), new_code_cell("1", outputs=list(outputs))]
    nbformat.write(new_notebook(cells=cells, metadata={"papermill": told}), path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_in_a_page(name, tmp_path):
    table = pd.DataFrame({"class": [name], name: [1]})
    kinds = [
        {"text/markdown": findings.as_list([f"**{name}** was forgotten; {name}"]), "text/plain": name},
        {"text/html": table.to_html(), "text/plain": str(table)},
        {"text/plain": name},
    ]
    outputs = [new_output("display_data", kind) for kind in kinds] + [new_output("stream", name="stdout", text=name)]
    page = export_html(page_with(tmp_path, *outputs), tmp_path / "a.html").read_text()
    assert Active(page).found == []
    assert "\x1b" not in page


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_in_the_index(name, tmp_path):
    told = {"dataset": name, "model": name, "request": name}
    page_with(tmp_path, parameters=told, end_time=name, duration=name)
    page = write_index(tmp_path / "results", [name]).read_text()
    assert Active(page).found == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_in_the_widgets(name):
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    pieces = [
        html.status(name),
        html.note(name),
        html.picture(image, name, caption=name),
        html.pictures([(image, name)], name),
        html.legend([name], ["#000"]),
        html.bars({name: [0.5]}, [name], ["#000"], name),
        html.dots({name: np.array([0.0, 1.0])}, ["#000"], 0.0, 1.0, name),
        html.matrix(np.eye(2), [name, "b"], "#000", name),
        html.histogram(0.0, 1.0, {name: np.ones(1), "b": np.ones(1)}, ["#000", "#111"], 0.5),
        html.how_to_compare(name, 0.5),
        html.pairs(2, 1, 1, name, 0.5),
        probability_bars({name: torch.tensor([0.6, 0.4])}, [name, "b"], ["#000"]),
    ]
    assert Active("".join(pieces)).found == []
