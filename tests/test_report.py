"""Notebooks run in batch, and pages that need no network."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from forget_lib.core.errors import ForgetError, UnknownNameError
from forget_lib.core.files import only_one, write_text
from forget_lib.core.names import short_name
from forget_lib.core.paths import REPOSITORY
from forget_lib.show import catalogue
from forget_lib.study import records
from workflow.pages.index import failures, write_index
from workflow.pages.page import export_html, mathml, plain_table, title_of
from workflow.pages.private import hide_folders
from workflow.pages.run import declared_parameters, run_notebook, tail

LOADS = re.compile(
    r"""<(?:script|img|iframe|link|source|video|audio|embed|object)\b[^>]*?\b(?:src|href|data|srcset)\s*=\s*["']?"""
    r"""((?!data:|\#)[^"'\s>]+)|url\(\s*["']?((?!data:|\#)[^"')\s]+)|@import\s+["']([^"']+)""",
    re.IGNORECASE,
)
"""What makes a browser fetch something; a plain link (<a href>) does not."""


def external_requests(page: Path) -> list[str]:
    """What a browser would fetch from elsewhere to show this page; empty for a self-contained one."""
    text = page.read_text(encoding="utf-8")
    return sorted({next(part for part in found if part) for found in LOADS.findall(text)})


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def write(path, *cells, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells), metadata=metadata), path)
    return path


def parameters_cell():
    return new_code_cell("x: int = 1  # a number\nnames = {\n    'a': 1,\n}", metadata={"tags": ["parameters"]})


@pytest.fixture
def notebook(tmp_path):
    body = new_code_cell("import forget_lib\nif x < 0:\n    raise ValueError('x is negative')\nprint('x is', x)")
    return write(tmp_path / "here" / "toy.ipynb", new_markdown_cell("# A *toy*"), parameters_cell(), body)


@pytest.fixture
def executed(tmp_path):
    """As if run: a picture, a stream, a table, maths, a widget."""
    figure = new_output("display_data", {"image/png": PIXEL, "text/plain": "Figure"})
    figure.metadata = {"image/png": {"alt": 'A "line"'}}
    widget = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%|  |"})
    formula = new_output("display_data", {"text/latex": r"$\frac{a}{b}$", "text/plain": "a/b"})
    table = new_output("display_data", {"text/html": "<table><tr><td>cell</td></tr></table>", "text/plain": "t"})
    stream = new_output("stream", name="stdout", text="<said>")
    code = new_code_cell("secret = 1 < 2", outputs=[figure, widget, formula, table, stream])
    text = new_markdown_cell(
        "# Can *it* $x^2$?\n\nInline $a_1 + b$ and\n\n$$\\sum_k \\log p_k$$\n\n[there](https://example.org/)"
    )
    told = {"parameters": {"dataset": "mnist", "seed": 3}, "duration": 2.4, "end_time": "2026-01-02T03:04:05"}
    return write(tmp_path / "quick" / "notebooks" / "03_toy" / "one.ipynb", text, code, papermill=told)


def test_parameters_are_read_from_the_tagged_cell(notebook, tmp_path):
    assert declared_parameters(notebook) == ["x", "names"]
    assert declared_parameters(write(tmp_path / "none.ipynb", new_code_cell("x = 1"))) == []


def test_a_parameter_that_is_not_declared_is_refused(notebook, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'names'"):
        run_notebook(notebook, {"name": 1}, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


def test_a_missing_notebook_names_those_there_are(notebook):
    with pytest.raises(ForgetError, match="Notebooks there: toy"):
        declared_parameters(notebook.with_name("tyo.ipynb"))


@pytest.mark.slow
def test_a_notebook_runs_in_its_folder_with_its_parameters(notebook, tmp_path):
    out = tmp_path / "out" / "a.ipynb"
    run_notebook(notebook, {"x": 5}, out, tmp_path / "out" / "a.html", tmp_path / "logs" / "a.log")
    assert "x is 5" in (tmp_path / "logs" / "a.log").read_text()
    assert json.loads(out.read_text())["metadata"]["papermill"]["parameters"] == {"x": 5}
    assert "x is 5" in (tmp_path / "out" / "a.html").read_text()


@pytest.mark.slow
def test_a_failed_notebook_leaves_its_copy_with_the_error_and_no_output(notebook, tmp_path):
    out, log = tmp_path / "quick" / "notebooks" / "toy" / "a.ipynb", tmp_path / "quick" / "logs" / "toy" / "a.log"
    with pytest.raises(ForgetError, match="ValueError: x is negative"):
        run_notebook(notebook, {"x": -1}, out, out.with_suffix(".html"), log)
    assert not out.exists()
    assert "ValueError" in log.with_suffix(".ipynb").read_text()
    assert "x is negative" in tail(log)
    assert failures(tmp_path / "quick") == [log]


SETTINGS_CELL = """import builtins
import matplotlib.pyplot as plt
print(plt.get_backend(), plt.rcParams["text.usetex"], plt.rcParams["font.size"])
print(hasattr(builtins, "of_the_user"))
plt.plot([1, 2]);"""
"""A cell that says which of the settings of the user's account reach it."""


@pytest.mark.fault("Settings of the user's account, long TMPDIR, pip, the commit of another repository")
@pytest.mark.usefixtures("user_settings")
def test_a_batch_kernel_reads_no_setting_of_the_users_account(tmp_path):
    notebook = write(tmp_path / "toy.ipynb", new_code_cell(SETTINGS_CELL))
    executed = json.loads(run_notebook(notebook, {}, tmp_path / "out" / "toy.ipynb").read_text())
    said, picture = executed["cells"][0]["outputs"]
    assert said["text"] == ["module://matplotlib_inline.backend_inline False 10.0\n", "False\n"]
    assert "image/png" in picture["data"]


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_pages_and_logs_of_own_data_name_no_folder_of_the_user_s(tmp_path, monkeypatch, fails):
    home = tmp_path / "home" / "anna"
    (home / "images").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    cells = ["dataset = ''\nmodel = ''\nrecipe = {}\nrequest = ''", "print(dataset, model, recipe, request)"]
    notebook = write(
        tmp_path / "here" / "toy.ipynb",
        new_code_cell(cells[0], metadata={"tags": ["parameters"]}),
        new_code_cell(f"{cells[1]}; print('{home}/images/cat/1.png', dataset)" + "; 1 / 0" * fails),
    )
    given = {
        "dataset": f"own:{home}/images?size=8",
        "model": f"~/nets.py:make?weights={home}/w.pt",
        "recipe": {"function": f"{home}/train.py:train"},
        "request": os.path.relpath(home / "r.yaml", notebook.parent),
    }
    out, log = tmp_path / "q" / "notebooks" / "toy" / "a.ipynb", tmp_path / "q" / "logs" / "toy" / "a.log"
    with pytest.raises(ForgetError) if fails else contextlib.nullcontext():
        run_notebook(notebook, given, out, out.with_suffix(".html"), log)
    written = [log, log.with_suffix(".ipynb"), *([] if fails else [out, out.with_suffix(".html")])]
    for path in written:
        text = path.read_text()
        assert "anna" not in text, path
        assert "~/" not in text, path
        assert "images/cat/1.png" in text, path
    told = json.loads(log.with_suffix(".ipynb").read_text())["metadata"]["papermill"]["parameters"]
    assert told["dataset"] == short_name(given["dataset"])
    assert told["model"] == short_name(given["model"])
    assert told["request"] == "r.yaml"


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_places_within_the_repository_and_words_with_a_slash_stay(tmp_path):
    told = {"results": "../results/quick", "request": "class:a/b", "dataset": "own:data/digits", "request_file": "/tmp"}
    executed = write(tmp_path / "a.ipynb", new_code_cell("x = 'class:a/b ../results/quick own:data/digits /tmpdir'"))
    before = json.loads(executed.read_text())["cells"][0]["source"]
    hide_folders(executed, tmp_path / "a.log", told, REPOSITORY / "notebooks")
    assert json.loads(executed.read_text())["cells"][0]["source"] == before
    absolute = {"dataset": f"own:{REPOSITORY}/data/digits"}
    write(executed, new_code_cell(f"x = 'own:{REPOSITORY}/data/digits'"))
    hide_folders(executed, tmp_path / "a.log", absolute, REPOSITORY / "notebooks")
    assert "own:data/digits" in "".join(json.loads(executed.read_text())["cells"][0]["source"])


def tagged(text, *tags):
    return new_markdown_cell(text, metadata={"tags": list(tags)})


def test_the_sections_that_say_it_all_stand_first_and_the_others_are_folded(tmp_path):
    cells = [new_markdown_cell("# Title"), new_markdown_cell("## Setup\n\nImports."), new_code_cell("1")]
    cells += [
        tagged("## The figure", "page-2"),
        new_markdown_cell("Still open."),
        new_markdown_cell("## Rest *more*\n\nText."),
    ]
    cells += [tagged("## Findings", "page-1")]
    page = export_html(write(tmp_path / "a.ipynb", *cells), tmp_path / "a.html").read_text()
    places = [
        page.index(text) for text in ("<h1", ">Findings", ">The figure", "Still open.", ">Setup", "Imports.", ">Rest")
    ]
    assert places == sorted(places)
    assert page.count('<details class="part"><summary><h2') == 2
    assert page.count("</details>") == page.count("<details")
    assert page.index('<details class="part">') > page.index("Still open.")
    assert '<h2 id="Rest-more">' in page


SCROLLS = """() => [...document.querySelectorAll('main *')].filter((each) => {
    const style = getComputedStyle(each);
    const may = (name) => ['auto', 'scroll'].includes(style[name]);
    return (may('overflowY') && each.scrollHeight > each.clientHeight + 1)
        || (may('overflowX') && each.scrollWidth > each.clientWidth + 1);
}).map((each) => each.className + ' ' + each.tagName)"""


@pytest.mark.browser
def test_nothing_scrolls_inside_a_page_and_folded_sections_are_printed(browser, tmp_path):
    frame = pd.DataFrame({f"a column of numbers {number}": range(60) for number in range(6)})
    table = new_output("display_data", {"text/html": frame.to_html()})
    lines = new_output("stream", name="stdout", text="one line\n" * 80)
    code = new_code_cell("x = " + "1 + " * 60 + "1", outputs=[table, lines])
    cells = [new_markdown_cell("# Title"), tagged("## Findings", "page-1"), new_markdown_cell("## Rest"), code]
    page = export_html(write(tmp_path / "a.ipynb", *cells), tmp_path / "a.html")
    shown = browser.new_page(viewport={"width": 1400, "height": 900})
    shown.goto(page.as_uri())
    assert not shown.locator("table").is_visible()
    shown.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert shown.evaluate(SCROLLS) == []
    assert shown.evaluate("document.documentElement.scrollWidth") == 1400
    shown.reload()
    shown.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    assert shown.locator("table").is_visible()
    shown.close()


def test_a_section_about_what_is_not_there_is_left_out(tmp_path):
    shown = new_code_cell("2", outputs=[new_output("stream", name="stdout", text="said")])
    cells = [new_markdown_cell("# Title"), tagged("## Findings", "page-1"), tagged("## Costs", "if-shown")]
    cells += [new_code_cell("1"), tagged("## Spread", "if-shown"), shown]
    page = export_html(write(tmp_path / "a.ipynb", *cells), tmp_path / "a.html").read_text()
    assert "Spread" in page
    assert "Costs" not in page


def test_a_page_without_such_sections_stays_as_it_is(executed, tmp_path):
    assert (
        'class="part"'
        not in export_html(executed, tmp_path / "page.html").read_text().split("</style>")[1].split("<script")[0]
    )


def test_a_table_has_one_row_of_headings_and_words_for_what_is_missing_or_true():
    frame = pd.DataFrame({"a": [1.5, float("nan")], "b": [True, None]}, index=pd.Index(["x", "y"], name="method"))
    table = plain_table(frame.to_html())
    assert table.count("<tr") == 3
    assert re.findall("<th>(.*?)</th>", table) == ["method", "a", "b", "x", "y"]
    assert re.findall("<td>(.*?)</td>", table) == ["1.5", "yes", "–", "–"]
    plain = pd.DataFrame({"a": [1]}, index=["x"]).to_html()
    assert plain_table(plain) == plain


def test_a_page_asks_for_nothing_from_elsewhere(executed, tmp_path):
    page = export_html(executed, tmp_path / "page.html")
    assert external_requests(page) == []
    text = page.read_text()
    assert text.count("<math") == 4
    assert 'alt="A &quot;line&quot;"' in text or "alt='A \"line\"'" in text
    assert "0%|" not in text
    assert "&lt;said&gt;" in text
    assert "<details" in text
    assert "Show all code" in text
    assert 'href="../00_overview/overview.html#Glossary"' in text


@pytest.mark.parametrize(
    "part",
    [
        '<script src="https://a.b/c.js"></script>',
        "<img alt='x' src='//a.b/c.png'>",
        '<link rel="stylesheet" href="theme.css">',
        "<style>p { background: url(https://a.b/c.png) }</style>",
        '<style>@import "a.css";</style>',
    ],
)
def test_what_a_page_would_fetch_is_found(part, tmp_path):
    (tmp_path / "page.html").write_text(f"<html>{part}<a href='https://a.b'>a</a></html>")
    assert len(external_requests(tmp_path / "page.html")) == 1


def test_maths_that_cannot_be_converted_is_shown_as_it_is(monkeypatch):
    assert "<mfrac>" in mathml(r"\frac{1}{2}", False)
    monkeypatch.setattr("workflow.pages.page.convert", lambda *_, **__: 1 / 0)
    assert mathml("a<b", False) == "<code>a&lt;b</code>"


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_no_formula_of_the_study_is_shown_as_its_source():
    text = catalogue.formulas_table() + catalogue.attacks_table()
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        text += "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    formulas = re.findall(r"\$\$(.+?)\$\$|(?<![$`])\$([^$`]+?)\$(?!\$)", text, re.DOTALL)
    converted = [mathml(display or inline, bool(display)) for display, inline in formulas]
    assert len(converted) > 100
    assert [page for page in converted if "\\" in page or "<code>" in page] == []
    assert "<mi>arg</mi>" in mathml(r"\arg\max_k f", False)


def test_the_title_is_the_first_heading(executed):
    assert title_of(nbformat.read(executed, 4)) == "Can it x^2?"
    assert title_of(new_notebook()) == "Untitled"


def test_the_index_links_pages_and_says_what_was_not_made(executed):
    folder = executed.parents[2]
    text = write_index(folder, ["04_two class-1"]).read_text()
    assert 'href="notebooks/03_toy/one.html"' in text
    assert (folder / "notebooks/03_toy/one.html").exists()
    assert "mnist" in text
    assert "04_two class-1" in text
    assert external_requests(folder / "index.html") == []


def test_the_index_shows_the_answer_and_the_headline_of_the_overview(executed):
    folder = executed.parents[2]
    (folder / "tables").mkdir()
    row = {"method": "a<b", "kind": "class", "verdict": "equal", "placebo": False, "cost": None}
    row |= {"lines": ["forget +1.0", "n = 6"]}
    (folder / "tables" / "answers.json").write_text(json.dumps([row]))
    (folder / "figures").mkdir()
    (folder / "figures" / "headline.png").write_bytes(b"picture")
    text = write_index(folder).read_text()
    assert 'href="notebooks/08_figures/figures.html#kind-class"' in text
    assert "as retrained" in text
    assert "forget +1.0" in text
    assert 'data-name="a&lt;b"' in text
    assert 'id="03_toy"' in text
    assert "data:image/png;base64," in text
    assert external_requests(folder / "index.html") == []


@pytest.mark.parametrize("content", ["{", "[1, 2]", '[{"method": "ssd"}]', '{"a": {"b": 1}}'])
def test_a_damaged_table_of_answers_is_named(executed, content):
    folder = executed.parents[2]
    (folder / "tables").mkdir()
    (folder / "tables" / "answers.json").write_text(content)
    with pytest.raises(ForgetError, match=r"answers\.json is not the table of answers .* delete it"):
        write_index(folder)


def test_links_between_notebooks_lead_from_page_to_page(tmp_path):
    text = "# One\n\n[a](00_overview.ipynb#Glossary) [b](03_toy.ipynb) [c](other.ipynb)\n\n## All *gaps*, here"
    text += "\n\n[d](07b_toy.ipynb)"
    notebook = write(tmp_path / "one.ipynb", new_markdown_cell(text))
    page = export_html(notebook, tmp_path / "one.html").read_text()
    assert 'href="../00_overview/overview.html#Glossary"' in page
    assert 'href="../../index.html#03_toy"' in page
    assert 'href="../../index.html#07b_toy"' in page
    assert page.count("other.ipynb") == 1
    assert '<h2 id="All-gaps-here">' in page
    alone = export_html(notebook, tmp_path / "two.html", index="").read_text()
    assert "<p>a b <a" in alone


def test_the_index_calls_synthetic_data_synthetic(executed):
    folder = executed.parents[2]
    record = folder / "faces-mlp" / "class-5" / "draw0" / "seed0" / "retrain" / "run0"
    record.mkdir(parents=True)
    run = {"dataset": "faces", "source": "embedded <sample>", "synthetic": True, "sampled": True}
    run["schema"] = records.SCHEMA
    (record / "run.json").write_text(json.dumps(run))
    text = write_index(folder).read_text()
    assert "synthetic images, a sample, not the whole set" in text
    assert "embedded &lt;sample&gt;" in text


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_the_index_has_a_place_for_every_notebook_that_a_page_can_link_to(executed):
    text = write_index(executed.parents[2]).read_text()
    places = re.findall(r'id="(\d\d[a-z]?_\w+)"', text)
    notebooks = [path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")]
    assert sorted(places) == sorted([*notebooks, "03_toy"])
    assert re.search(r'id="09_face_demo".*\./run_all\.sh demo', text)


def test_an_index_of_nothing_says_what_to_do(tmp_path):
    with pytest.raises(ForgetError, match="Run the study first"):
        write_index(tmp_path)


def test_text_is_written_whole_or_not_at_all(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "one")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    (tmp_path / "file").touch()
    with pytest.raises(ForgetError, match="Cannot write"):
        write_text(tmp_path / "file" / "b.txt", "two")


def test_one_writer_at_a_time(tmp_path):
    order = []

    def second():
        with only_one(tmp_path / "out.ipynb"):
            order.append("second")

    with only_one(tmp_path / "out.ipynb"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_the_command_line_ends_with_one_message(tmp_path):
    command = [sys.executable, "-m", "workflow.pages", "index", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No executed notebook under")
    assert "Traceback" not in done.stderr


def test_a_warning_on_a_page_names_no_folder_of_the_machine(tmp_path):
    text = "/home/jo/env/lib/site-packages/torch/a.py:1: FutureWarning\n/data/jo/x/forget_lib/b.py:2: overflow\n"
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", name="stderr", text=text)])
    notebook = tmp_path / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# One"), cell]), notebook)
    page = export_html(notebook, tmp_path / "one.html").read_text()
    assert "site-packages/torch/a.py:1" in page
    assert "forget_lib/b.py:2" in page
    assert "/jo/" not in page
