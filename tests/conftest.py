"""Small data for the tests: everything here is made on the spot, nothing is read or fetched."""

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.registry import DATASETS, dataset
from forget_lib.study import run
from tests.browser import ARGUMENTS, chromium

# The tests' nets are too small for two threads, which on a busy machine wait for one another a hundred times as long.
torch.set_num_threads(1)


LONGEST, IMPATIENT = "tests/test_smoke.py", "tests/demo/test_browser.py"
"""The file that takes longest starts first, so that it does not run alone at the end, on one core of several. Pages
with kernels come when that study is done: they would wait for each other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, the one that waits for pages last; all others in their order."""
    items.sort(key=lambda item: item.nodeid.startswith(IMPATIENT) - item.nodeid.startswith(LONGEST))


def make_blobs(classes: int = 4, each: int = 60, size: int = 8) -> ImageData:
    """Noisy copies of one image a class; person ids in runs of ten images, two people a family."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(classes, 1, size, size, generator=generator) * 255
    labels = torch.arange(classes * each) % classes
    images = centres[labels] * 0.4 + 150 * torch.rand(len(labels), 1, size, size, generator=generator)
    images, test = images.to(torch.uint8), torch.arange(len(labels)) % 5 == 0
    people = torch.arange(int((~test).sum())) // 10
    return ImageData(
        name="blobs",
        title="Blobs",
        images=images[~test],
        labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        classes=tuple(f"c{index}" for index in range(classes)),
        source="made in a test",
        checksum=checksum_of(images, labels),
        synthetic=True,
        people=people,
        families=people // 2,
        person_names=tuple(f"p{index}" for index in range(int(people.max()) + 1)),
        family_names=tuple(f"f{index}" for index in range(int(people.max()) // 2 + 1)),
        held_out={"validation": 0.15, "unseen": 0.15, "population": 0.1},
    )


def write_folder(data: ImageData, folder: Path, each: int) -> Path:
    """Writes the first `each` training images of every class as PNGs, class/number.png, a folder as `own:` reads it."""
    for index, title in enumerate(data.classes):
        (folder / title).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(data.images[data.labels == index][:each]):
            picture = image[0] if len(image) == 1 else image.permute(1, 2, 0)
            Image.fromarray(picture.numpy()).save(folder / title / f"{number}.png")
    return folder


@pytest.fixture
def blobs() -> Iterator[ImageData]:
    """A data set named "blobs", registered for the length of a test."""
    data = make_blobs()
    dataset("blobs")(lambda start: data)
    yield data
    DATASETS.pop("blobs")


@pytest.fixture
def scenario(blobs: ImageData, tmp_path: Path) -> run.Scenario:
    """A class request on the blobs, with a net that learns them in a moment."""
    recipe = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05}
    return run.make_scenario(tmp_path, recipe, dataset="blobs", model="mlp", request="class:c1")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A Chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    if path is None:
        warnings.warn("NO CHROMIUM FOUND: pages were NOT tested in a browser. Install chromium.", stacklevel=1)
        pytest.skip("no Chromium to be had (install chromium)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("FORGET_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def user_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account with settings of its own for matplotlib, IPython, Python and temporary files, as on many clusters."""
    home, long = tmp_path / "home", tmp_path / ("long" * 30)
    started = "import builtins\nbuiltins.of_the_user = 1\n"
    settings = "c.InteractiveShellApp.extensions = ['none']\nc.InlineBackend.figure_formats = {'svg'}\n"
    for name, text in {
        ".config/matplotlib/matplotlibrc": "text.usetex: True\nfont.size: 24\n",
        ".ipython/profile_default/startup/00-mine.py": started,
        ".ipython/profile_default/ipython_config.py": settings + "c.InteractiveShellApp.matplotlib = 'agg'\n",
        "pythonrc.py": started,
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("IPYTHONDIR", "MPLCONFIGDIR", "MATPLOTLIBRC", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    values = {"HOME": home, "MPLBACKEND": "agg", "PYTHONSTARTUP": home / "pythonrc.py", "TMPDIR": long}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision and npm fail as they do without a network."""
    import torchvision

    def no_network(*_, download, **kwargs):
        if download:
            raise RuntimeError("Error downloading:\nTried https://host.example/x\ngot: no network")
        return real(*_, download=download, **kwargs)

    real = torchvision.datasets.CIFAR10
    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", no_network)
    monkeypatch.setattr(shutil, "which", lambda _: None)
