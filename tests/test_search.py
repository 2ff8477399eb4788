"""The search in the index: what it holds of the pages, and how it is used in a browser without a network."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.test_report import external_requests, write
from workflow.pages.index import write_index
from workflow.pages.search import parts_of

HOSTILE = "</script><img src=x onerror=\"document.title='run'\"> \u2028 `\\u2028`"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results with two pages, one of which holds what must not run."""
    root = tmp_path_factory.mktemp("searched")
    shown = new_code_cell(
        "code_of_a_cell = 1", outputs=[new_output("stream", name="stdout", text="quokka in an output")]
    )
    first = [
        new_markdown_cell("# One page\n\nIntro."),
        new_markdown_cell("## The wombat's burrow\n\nDeep it is."),
        shown,
    ]
    write(root / "notebooks" / "03_toy" / "one.ipynb", *first)
    second = [new_markdown_cell("# Other page\n\nA wombat digs."), new_code_cell("x", outputs=[])]
    second[1].outputs = [new_output("stream", name="stdout", text=HOSTILE + " echidna")]
    write(root / "notebooks" / "04_toy" / "two.ipynb", *second)
    write_index(root)
    return root


@pytest.fixture
def page(folder, browser):
    """The index, opened as a file in a browser that has no network."""
    context = browser.new_context(offline=True, viewport={"width": 400, "height": 800})
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    yield page
    context.close()


def texts(folder):
    script = (folder / "search.js").read_text(encoding="utf-8")
    return json.loads(script.removeprefix("window.textsOfPages = ").removesuffix(";\n"))


def test_the_texts_hold_words_and_outputs_by_heading_and_no_code(folder):
    (title, link, parts), _ = texts(folder)
    assert (title, link) == ("One page (one)", "notebooks/03_toy/one.html")
    burrow = next(part for part in parts if "burrow" in part[1])
    assert f'id="{burrow[0]}"' in (folder / link).read_text()
    assert "Deep it is." in burrow[2]
    assert "quokka in an output" in burrow[2]
    assert "code_of_a_cell" not in json.dumps(parts)


def test_the_index_stays_small_and_loads_nothing_by_itself(folder):
    text = (folder / "index.html").read_text()
    assert external_requests(folder / "index.html") == []
    assert "quokka" not in text
    assert "\u2028" not in (folder / "search.js").read_text(encoding="utf-8")


def test_pictures_styles_and_scripts_are_no_text():
    page = (
        '<style>p{}</style><h2 id="a b">A &amp; b</h2><p>x<img src="data:image/png;base64,AAAA">y</p><script>z</script>'
    )
    assert parts_of(page) == [("a b", "A & b", "x y")]
    assert parts_of("<p>without a heading</p><h3>no anchor</h3>t") == [
        ("", "", "without a heading"),
        ("", "no anchor", "t"),
    ]


@pytest.mark.browser
def test_a_word_is_found_with_its_heading_first_and_leads_to_it(page):
    assert page.evaluate("'textsOfPages' in window") is False
    page.keyboard.press("Tab")
    page.locator("#search").fill("WOMBAT")
    page.wait_for_function("document.querySelectorAll('#search-results a').length == 2")
    links = page.locator("#search-results a")
    assert links.nth(0).text_content() == "One page (one): The wombat's burrow"
    assert page.locator("#search-status").text_content() == "Places found: 2"
    assert page.locator("#search-results mark").all_text_contents() == ["wombat"]  # the other is in a heading
    links.nth(0).click()
    page.wait_for_url("**/one.html#*")
    assert page.evaluate("document.querySelector(decodeURIComponent(location.hash)).textContent").startswith(
        "The wombat"
    )


@pytest.mark.browser
def test_it_is_used_by_keys_alone(page):
    page.locator("#search").focus()
    page.keyboard.type("wombat")
    page.wait_for_function("document.querySelectorAll('#search-results a').length == 2")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.href").endswith("two.html#Other-page")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/one.html#*")


@pytest.mark.browser
def test_every_word_must_be_there_and_none_is_run(page):
    page.locator("#search").fill("wombat nowhere")
    page.wait_for_function("document.getElementById('search-status').textContent == 'Places found: 0'")
    page.locator("#search").fill("onerror (.*")
    page.wait_for_function("document.getElementById('search-status').textContent == 'Places found: 0'")
    page.locator("#search").fill("onerror echidna")
    page.wait_for_function("document.getElementById('search-status').textContent == 'Places found: 1'")
    assert page.locator("#search-results img").count() == 0
    assert page.title() != "run"
    page.locator("#search").fill("")
    assert page.locator("#search-results li").count() == 0
    assert page.locator("#search-status").text_content() == ""


@pytest.mark.browser
def test_a_missing_file_of_texts_is_said_and_no_width_scrolls(page, folder):
    page.locator("#search").fill("wombat")
    page.wait_for_function("document.querySelectorAll('#search-results a').length == 2")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    script = folder / "search.js"
    aside = script.rename(folder / "aside.js")
    try:
        page.reload()
        page.locator("#search").fill("wombat")
        page.wait_for_function("document.getElementById('search-status').textContent.includes('missing')")
    finally:
        aside.rename(script)
