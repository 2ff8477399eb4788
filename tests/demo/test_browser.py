"""The demo as people meet it: in a real browser, in JupyterLab and as a page."""

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import PATIENCE, TOKEN, notebook_for, server
from tests.demo_study import make_records

Error = pytest.importorskip("playwright.sync_api").Error
pytestmark = [pytest.mark.browser, pytest.mark.slow]
HARMLESS = re.compile(r"favicon|ResizeObserver|service-worker|jupyterlab/api/(news|update)", re.IGNORECASE)
SLOW_EPOCHS = 4000
"""Epochs of a retraining that is long enough to be cancelled in the middle."""

MOST_SECONDS = 10
"""After a page was closed, until its process has ended."""

GALLERY = ".fd-gallery button.fd-choice"
"""The pictures of the gallery, not those of the opening."""

NAMELESS = """() => [...document.querySelectorAll('.fd-page :is(button, select, input, [role=slider])')]
    .filter(e => e.offsetParent && !(e.labels?.length || e.ariaLabel || e.innerText?.trim() || e.title))
    .map(e => e.outerHTML.slice(0, 120))"""


PAINTED = """() => {
    const pad = document.querySelector('canvas.fd-pad, .fd-pad canvas');
    return pad.getContext('2d').getImageData(0, 0, pad.width, pad.height).data.some((v, i) => i % 4 < 3 && v > 200);
}"""
"""Whether anything white is on the pad that people see."""


FOCUS = """() => {
    const here = document.activeElement, style = getComputedStyle(here);
    if (!here.closest('.fd-page')) return [null, ''];
    const all = [...document.querySelectorAll('.fd-page *')];
    const name = here.labels?.[0]?.innerText || here.ariaLabel || here.innerText || here.title;
    return [`${name} (${all.indexOf(here)})`, `${style.outlineStyle} ${style.outlineWidth}`];
}"""
"""Name of the control that has the keyboard, with its place in the page, and its outline; null outside of the page."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a notebook, and records whose recipe says that retraining takes long."""
    folder, results = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("results")
    scenario = make_records(results)
    record = scenario.folder("retrain") / "run.json"
    content = json.loads(record.read_text())
    content["recipe"]["epochs"] = SLOW_EPOCHS
    del content["digest"]  # it would tell that the record was changed
    record.write_text(json.dumps(content))
    notebook_for(folder, results)
    return folder


@pytest.fixture(scope="module")
def voila(folder, tmp_path_factory) -> Iterator[str]:
    with server("voila", folder, tmp_path_factory.mktemp("log") / "voila.log") as address:
        yield address


class Visitor:
    """One page of a browser, with what went wrong in it."""

    def __init__(self, browser, address: str, **options) -> None:
        self.context = browser.new_context(viewport={"width": 1000, "height": 1000}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def _console(self, message) -> None:
        text = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not HARMLESS.search(text):
            self.problems.append(text)

    def run_all(self) -> None:
        """In JupyterLab: runs the notebook."""
        panel = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook-ExecutionIndicator[data-status='idle']"
        self.page.locator(panel).first.wait_for(state="attached")
        # JupyterLab does not lay out cells off screen; Playwright takes those for hidden and would not scroll to them.
        self.page.add_style_tag(content="* { content-visibility: visible !important; }")
        # A slow machine is asked which kernel to use; the one offered is right.
        question = self.page.locator("dialog.jp-Dialog").first
        self.page.add_locator_handler(question, lambda dialog: dialog.locator("button.jp-mod-accept").click())
        for _ in range(4):  # a kernel that has only just said that it is idle can lose the first request
            self.page.get_by_role("menuitem", name="Run", exact=True).click()
            self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            try:
                self.button("New choices").wait_for(timeout=PATIENCE / 2)
                return
            except Error:
                continue

    def ready(self) -> None:
        self.button("New choices").wait_for()
        self.status("Image 1 of 12")

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def status(self, text: str) -> None:
        """Waits until a status line says this."""
        self.page.locator("[role=status]", has_text=re.compile(text)).first.wait_for()

    def look(self, title: str) -> None:
        """Shows another panel below the opening."""
        self.button(title).click()

    def choose(self, label: str, option: str, place: int = 0) -> None:
        self.page.get_by_label(label, exact=True).nth(place).select_option(label=option)

    def upload(self, name: str, content: bytes) -> None:
        with self.page.expect_file_chooser() as chosen:
            self.page.get_by_role("button", name=re.compile("Choose a picture")).click()
        chosen.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})

    def close(self) -> None:
        self.context.close()
        assert self.problems == []


@pytest.fixture
def visitor(browser, voila) -> Iterator[Visitor]:
    someone = Visitor(browser, voila)
    someone.ready()
    yield someone
    someone.close()


def draw_a_one(page) -> None:
    """Draws a stroke from top to bottom with the mouse."""
    pad = page.locator("canvas.fd-pad, .fd-pad canvas").first
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    x, top, bottom = box["x"] + box["width"] / 2, box["y"] + 40, box["y"] + box["height"] - 40
    page.mouse.move(x, top)
    page.mouse.down()
    page.mouse.move(x, bottom, steps=12)
    page.mouse.up()


def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(buffer, kind)
    return buffer.getvalue()


def go_through(visitor: Visitor) -> None:
    """What both servers must do: choose, new choices, upload, draw, forget, cancel, start again."""
    page = visitor.page
    choices = page.locator(GALLERY)
    choices.nth(3).click()
    visitor.status("Image 4 of 12")
    names = choices.all_inner_texts()
    visitor.button("New choices").click()
    page.wait_for_function(
        "old => JSON.stringify([...document.querySelectorAll('.fd-gallery button.fd-choice')]"
        ".map(b => b.innerText)) != old",
        arg=json.dumps(names, separators=(",", ":"), ensure_ascii=False),
    )
    visitor.look("Your own picture")
    for _ in range(2):  # the same bad file twice: nothing is kept from the first time
        visitor.upload("bad.png", b"no picture")
        visitor.status("not a JPEG or PNG")
        visitor.upload("good.png", picture())
        visitor.status("64×64 pixels read")
    page.get_by_alt_text("What the models see of it").wait_for()
    visitor.look("Draw a digit")
    draw_a_one(page)
    visitor.status("Original 1")
    page.wait_for_function(PAINTED)
    forget_live(visitor)


def forget_live(visitor: Visitor) -> None:
    """Cancels in the middle, then forgets to the end."""
    visitor.choose("Method", "Retrain")
    visitor.button("Forget digit 5 now").click()
    visitor.status(r"% done, \d+ s, about")
    visitor.button("Cancel").click()
    visitor.status("Cancelled")
    visitor.choose("Method", "Uniform KL")
    visitor.button("Forget digit 5 now").click()
    visitor.status(r"Done in .* are still recognised")
    visitor.button("Did it only hide it?").click()
    visitor.page.locator(".fd-lamp", has_text="Share left:").wait_for()


def test_the_page_does_all_of_it(visitor):
    go_through(visitor)


def test_nothing_is_asked_from_elsewhere(visitor):
    assert all(re.match(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:", url) for url in visitor.requests)


def test_the_camera_takes_a_picture_and_goes_off(visitor):
    page = visitor.page
    visitor.look("Your own picture")
    visitor.button("Use the camera").click()
    visitor.button("Camera off").click()
    visitor.button("Use the camera").click()
    visitor.status("camera is on")
    visitor.button("Take the picture").press("Enter")
    visitor.status(r"\d+×\d+ pixels read")
    page.get_by_alt_text("What the models see of it").wait_for()
    assert page.evaluate("document.querySelector('.fd-input video').srcObject === null")
    visitor.button("Use the camera").wait_for()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})", "offers no camera"),
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError') }",
            "refused",
        ),
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError') }",
            "No camera",
        ),
    ],
)
def test_a_browser_without_a_camera_says_so(visitor, script, words):
    visitor.look("Your own picture")
    visitor.page.evaluate(f"() => {{ {script} }}")
    visitor.button("Use the camera").click()
    visitor.status(words)
    assert visitor.button("Use the camera").is_enabled()


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(visitor, tmp_path):
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(120_000_000)
    visitor.look("Your own picture")
    with visitor.page.expect_file_chooser() as chosen:
        visitor.page.get_by_role("button", name=re.compile("Choose a picture")).click()
    chosen.value.set_files(large)
    visitor.status("The file has 120 MB; at most 60 MB are read")
    visitor.upload("good.png", picture())
    visitor.status("64×64 pixels read")


def test_two_visitors_do_not_disturb_each_other(browser, visitor, voila):
    other = Visitor(browser, voila)
    other.ready()
    for someone in (visitor, other):
        someone.look("Your own picture")
    visitor.upload("mine.png", picture())
    visitor.page.get_by_alt_text("Your picture").wait_for()
    visitor.choose("Forget", "digit 3")
    other.choose("Forget", "digit 7")
    visitor.button("Forget digit 3 now").click()
    other.button("Forget digit 7 now").click()
    for someone, digit in ((visitor, 3), (other, 7)):
        someone.status("Done in")
        someone.page.get_by_text(f", digit {digit}").first.wait_for(state="attached")
    assert other.page.get_by_alt_text("Your picture").count() == 0, "a visitor saw the picture of another"
    other.close()


def test_every_control_has_a_name_and_works_with_the_keyboard(visitor):
    page = visitor.page
    nameless = page.evaluate(NAMELESS)
    assert nameless == []
    second = page.locator(GALLERY).nth(1)
    second.focus()
    page.keyboard.press("Enter")
    visitor.status("Image 2 of 12")
    visitor.look("Draw a digit")
    page.get_by_label("Without a mouse: write a").focus()
    page.keyboard.press("7")
    visitor.status("Original 7")


def test_tab_goes_through_the_whole_page_and_shows_where_it_is(visitor):
    page = visitor.page
    visitor.button("Handwritten digits: forget digit 5").focus()
    seen = []
    for _ in range(100):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(FOCUS)
        if name is None:
            break
        seen.append(name)
        assert outline == "solid 3px", name
    assert len(seen) == len(set(seen)), "an element holds the keyboard"
    for name in ("New choices", "Forget digit 5 now", "Another picture", "Draw a digit", "Attack it"):
        assert any(each.startswith(name) for each in seen), name


@pytest.mark.parametrize("width", [1000, 400])
def test_the_page_fits_its_width(visitor, width):
    visitor.page.set_viewport_size({"width": width, "height": 900})
    visitor.page.wait_for_timeout(500)
    wide = visitor.page.evaluate(
        """() => [...document.querySelectorAll('.fd-page *')].filter(e => e.offsetParent && !e.closest('.fd-scroll')
        && !e.closest('.fd-hidden') && e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.className + ' ' + e.getBoundingClientRect().right)"""
    )
    assert wide == []


def test_the_server_wants_the_token_and_serves_no_files(browser, voila):
    context = browser.new_context()
    page = context.new_page()
    base = voila.split("?")[0]
    page.goto(base)
    assert page.get_by_role("button", name="New choices").count() == 0
    for path in ("voila/files/09_face_demo.ipynb", "voila/files/picture.png", "files/09_face_demo.ipynb"):
        assert context.request.get(f"{base}{path}?token={TOKEN}").status in (403, 404)
    context.close()


def kernel_of(visitor: Visitor) -> str:
    return json.loads(visitor.page.locator("#jupyter-config-data").text_content())["kernelId"]


@pytest.mark.parametrize("leaves", [lambda page: page.close(run_before_unload=True), lambda page: page.reload()])
def test_the_process_of_a_page_that_is_closed_or_reloaded_ends(browser, voila, leaves):
    visitor = Visitor(browser, voila)
    visitor.ready()
    address = f"{voila.split('?')[0]}api/kernels/{kernel_of(visitor)}?token={TOKEN}"
    request = visitor.context.request
    assert request.get(address).ok
    left = time.monotonic()
    leaves(visitor.page)
    while request.get(address).ok:
        assert time.monotonic() < left + MOST_SECONDS
    visitor.context.close()


def test_jupyterlab_does_all_of_it(browser, folder, tmp_path):
    with server("lab", folder, tmp_path / "lab.log") as address:
        visitor = Visitor(browser, address)
        visitor.run_all()
        visitor.ready()
        go_through(visitor)
        visitor.close()
