"""Data sets are found by name, and the file of one is imported when it is asked for and not before."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from forget_lib import datasets
from forget_lib.core.errors import UnknownNameError
from forget_lib.datasets.registry import DATASETS, FILES


def test_the_list_of_files_is_that_of_the_data_sets_in_them():
    written = {
        path.stem: tuple(sorted(re.findall(r'^@dataset\("(\w+)"\)', path.read_text(encoding="utf-8"), re.MULTILINE)))
        for path in Path(datasets.__file__).parent.glob("*.py")
    }
    assert {stem: names for stem, names in written.items() if names} == FILES
    for file, names in FILES.items():
        module = importlib.import_module(f"forget_lib.datasets.{file}")
        assert all(DATASETS[name].__module__ == module.__name__ for name in names)


def test_no_data_set_is_imported_before_it_is_asked_for():
    code = (
        "import sys; from forget_lib.datasets import list_datasets, load; assert 'mufac' in list_datasets();"
        "load('mnist14', start='sample'); print(*(n for n in sys.modules if n.startswith('forget_lib.datasets.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.rpartition(".")[2] for name in done.stdout.splitlines()[-1].split()}
    assert "mnist" in loaded
    assert not loaded & {"cifar10", "mufac", "orl", "lfw", "own", "age_weights"}


def test_a_name_that_is_not_there_is_refused_before_anything_is_imported():
    with pytest.raises(UnknownNameError, match=r"Unknown data set 'mnsit'.*Did you mean 'mnist'"):
        datasets.load("mnsit")
