"""Hostile inputs: each is refused with the reason, or taken as plain data; none is executed or writes elsewhere."""

import pytest

from tests.faults import hostile_files, hostile_text
from tests.faults.hostile import outcome

INPUTS = [
    *hostile_files.archives(),
    *hostile_files.images(),
    *hostile_files.arrays(),
    *hostile_files.weights(),
    *hostile_text.texts(),
]


def marked(each):
    return pytest.param(each, id=f"{each.row.split()[0].lower()}-{each.name}", marks=pytest.mark.fault(each.row))


@pytest.mark.parametrize("hostile", [marked(each) for each in INPUTS])
def test_hostile_input(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome(hostile, tmp_path)
