"""A short film of the demo: a rendered person is forgotten, then three checks say what is left.

    python benchmarks/demo_film.py [--results FOLDER] [--output FILE]

Writes results/reference/demo.webp from the models of a finished ./run_all.sh quick. Nothing is drawn by hand: a frame
is a screenshot of the page while the method runs. Needs Chromium.
"""

import argparse
import io
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.browser import ARGUMENTS, PATIENCE, chromium, notebook_for, server  # noqa: E402

VIEW, WIDTH = {"width": 1240, "height": 830}, 930
"""Of the page, and of the film, in pixels."""
LOOK, MOVE = 2500, 220
"""Milliseconds of a picture that is looked at, and of one in motion."""
MOST_BYTES = 4_000_000
Frame = tuple[Image.Image, int]


def taken(page: Page, duration: int) -> Frame:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    return picture.resize((WIDTH, height), Image.Resampling.LANCZOS), duration


def until(page: Page, text: str) -> list[Frame]:
    """Frames until a status line says this."""
    frames = []
    while not page.locator("[role=status]", has_text=re.compile(text)).count():
        frames.append(taken(page, MOVE))
    return frames


def film(page: Page) -> list[Frame]:
    """Opening, forgetting, and the closer look."""
    press = page.get_by_role("button", name="Forget this person now")
    press.wait_for()
    page.get_by_role("button", name="Another picture").click()  # one that looks at us
    page.locator("[role=status]", has_text="Picture 2").wait_for()
    frames = [taken(page, LOOK)]
    press.focus()
    frames.append(taken(page, LOOK // 3))
    press.click()
    frames += until(page, "Done in")
    frames.append(taken(page, LOOK))
    look = page.get_by_role("button", name="Did it only hide it?")
    look.focus()
    frames.append(taken(page, LOOK // 3))
    look.click()
    frames += until(page, "Looked closer")[:3]
    page.locator(".fd-lamp").first.wait_for()
    frames.append(taken(page, 2 * LOOK))
    return frames


def main() -> int:
    """Writes the film; exit status 1 if it is larger than a README should load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "results" / "quick")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "results" / "reference" / "demo.webp")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        notebook_for(Path(work), asked.results.resolve())
        with server("voila", Path(work), Path(work) / "voila.log") as address:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            page = browser.new_page(viewport=VIEW)
            page.set_default_timeout(PATIENCE)
            page.goto(address, wait_until="commit")
            frames = film(page)
            browser.close()
    pictures, durations = zip(*frames, strict=True)
    first, *others = pictures
    first.save(asked.output, save_all=True, append_images=others, duration=durations, loop=0, quality=80, method=4)
    size = asked.output.stat().st_size
    print(f"{len(frames)} frames, {sum(durations) / 1000:.0f} s, {size / 1e6:.1f} MB: {asked.output.name}")
    return int(size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
