"""One answered request for all tests, and copies of it that may be damaged."""

import shutil

import pytest

from tests.deletion.made import BAD_NAME, page_of, write_data, write_request


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forget")
    write_data(folder)
    return folder, page_of(write_request(folder, title=BAD_NAME))


@pytest.fixture(scope="session")
def shared(page):
    folder, names = page
    return folder, names["answer"], names["content"], names["path"]


@pytest.fixture
def mine(shared, tmp_path):
    """A copy that may be damaged."""
    folder, _, _, _ = shared
    shutil.copytree(folder, tmp_path / "copy")
    for path in (tmp_path / "copy").glob("**/*.yaml"):
        path.write_text(path.read_text().replace(str(folder), str(tmp_path / "copy")))
    return tmp_path / "copy"
