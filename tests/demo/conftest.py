"""A tiny study on disk, and the demo on it."""

from pathlib import Path

import pytest

from forget_lib.demo import Demo, find_entries, open_bench
from forget_lib.demo.page import CLOSER
from tests.demo_study import make_records


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """The records of a tiny study; nothing may write there."""
    folder = tmp_path_factory.mktemp("results")
    make_records(folder)
    return folder


@pytest.fixture(scope="module")
def bench(root):
    return open_bench(find_entries(root)[0], root)


@pytest.fixture
def demo(root):
    """The page with all its panels looked at."""
    page = Demo(root, seed=3)
    for name in CLOSER:
        page.section(name)
    return page
