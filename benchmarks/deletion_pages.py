"""Two answers to look at: the digit of the example request, unlearned by training anew (pass) and fine-tuned (fail).

    python benchmarks/deletion_pages.py [--output FOLDER]

Writes pass.html, pass.pdf, fail.html, fail.pdf and fail.png (the first page) to results/reference/deletion. The data
are the embedded sample of MNIST. Needs Chromium for PDF and picture.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib.core.errors import ForgetError  # noqa: E402
from forget_lib.deletion.report import opened  # noqa: E402
from tests.browser import ARGUMENTS, chromium  # noqa: E402
from workflow.deletion import answer  # noqa: E402

EXAMPLE = REPOSITORY / "workflow" / "config" / "requests" / "digit.yaml"
METHODS = {"pass": "retrain", "fail": "finetune"}


def write_page(outcome: str, method: str, work: Path, output: Path) -> Path:
    """Answers the request by a method and copies the report. Raises: ForgetError if the verdict is another."""
    asked = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")) | {"method": method}
    request = work / f"{outcome}.yaml"
    request.write_text(yaml.safe_dump(asked | {"contact": "privacy office (example)"}), encoding="utf-8")
    folder = opened(request, work / outcome).folder
    found = answer(request, folder)["verdict"]["outcome"]
    if found != outcome:
        raise ForgetError(f"{method} ends as {found!r}, not as {outcome!r}: choose another method for this example.")
    return Path(shutil.copy(folder / "report.html", output / f"{outcome}.html"))


def print_pages(pages: list[Path], pictured: str = "") -> None:
    """PDF of each page, and with `pictured`, a selector, a picture of that part of the last."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 900, "height": 700})
        for page in pages:
            tab.goto(page.resolve().as_uri())
            tab.pdf(path=str(page.with_suffix(".pdf")), prefer_css_page_size=True)
        if pictured:
            tab.locator(pictured).screenshot(path=str(pages[-1].with_suffix(".png")))
        browser.close()


def main() -> int:
    """Writes the pages; exit status 1 if an outcome is not the expected one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "results" / "reference" / "deletion")
    output = parser.parse_args().output.resolve()
    os.chdir(REPOSITORY)
    with tempfile.TemporaryDirectory(prefix="forget-pages-") as folder:
        try:
            pages = [write_page(*each, Path(folder), output) for each in METHODS.items()]
        except ForgetError as error:
            print(error, file=sys.stderr)
            return 1
    print_pages(pages, ".answer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
