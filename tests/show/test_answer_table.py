"""The table of answers on a page, as a browser lays it out."""

import itertools

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

from forget_lib.show import answer_table
from forget_lib.show.overview import KINDS
from workflow.pages.page import export_html

METHODS = ["original", "finetune", "salun", *(f"a_method_of_a_long_name_{number}" for number in range(43))]
"""As many as in the study."""
SEEN = """() => {
    const box = document.querySelector('.forget-answer');
    box.scrollIntoView();
    const seen = (cell) => {
        const {x, y, width, height} = cell.getBoundingClientRect();
        return cell.contains(document.elementFromPoint(x + width / 2, y + height / 2));
    };
    const [method, first] = box.querySelectorAll('thead th');
    return [seen(method), seen(first), seen(box.querySelector('tbody th')), seen(box.querySelector('.legend'))];
}"""
"""Whether a reader sees the heading of the methods, that of the first kind, the first method, and the legend."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with the answers of a study of 46 methods on nine kinds of request."""
    lines = ["forget +1.0 (-10.0 to +10.0)", "kept -1.0 (-10.0 to +10.0)", "n = 6"]
    same = {"verdict": "equal", "placebo": False, "cost": 0.1, "lines": lines}
    rows = [{"method": method, "kind": kind} | same for method, kind in itertools.product(METHODS, list(KINDS)[:9])]
    table = new_output("display_data", {"text/html": answer_table.answer_page(pd.DataFrame(rows))})
    folder = tmp_path_factory.mktemp("page")
    cells = [new_markdown_cell("# The answer"), new_code_cell("answers", outputs=[table])]
    (folder / "one.ipynb").write_text(writes(new_notebook(cells=cells)))
    return export_html(folder / "one.ipynb", folder / "one.html")


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1000, 1400, 1920])
def test_the_methods_and_the_first_kind_are_seen_at_every_width(browser, page, width):
    shown = browser.new_page(viewport={"width": width, "height": 1000})
    shown.goto(page.as_uri())
    assert shown.evaluate(SEEN) == [True, True, True, True]
    assert shown.evaluate("document.documentElement.scrollWidth") == width, "the page itself scrolls sideways"
    shown.close()
