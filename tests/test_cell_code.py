"""Functions of a notebook's cells have a digest of their code and of all that they use."""

import pytest

from forget_lib.core.cell_code import cell_digest

pytestmark = pytest.mark.fault("Changed modules and cells of the user")

CELLS = """
RATE = 0.5

class Net:
    width = 3
    def forward(self, x):
        return x + 1

def helper(x):
    return [each * RATE for each in x]

def mine(model, task, *, epochs=1):
    # a comment
    return helper(model), Net().forward(task), "a"
"""


def digest(text: str) -> str:
    there = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), there)  # as a notebook runs its cells
    return cell_digest(there["mine"])


def test_the_digest_goes_by_the_code_and_by_what_it_uses_and_by_nothing_else():
    same = digest(CELLS)
    assert digest("\n\n" + CELLS.replace("# a comment", "# another")) == same
    assert digest(CELLS + "\ndef other():\n    pass\n") == same
    changes = {'"a"': '"b"', "each * RATE": "each + RATE", "0.5": "0.25", "x + 1": "x + 2", "width = 3": "width = 4"}
    changes["epochs=1"] = "epochs=2"
    assert len({same, *(digest(CELLS.replace(old, new)) for old, new in changes.items())}) == 1 + len(changes)


def test_functions_that_use_each_other_have_an_end():
    assert digest("def mine(x):\n    return other(x)\ndef other(x):\n    return mine(x)\n")


def test_a_changed_module_beside_the_notebook_changes_the_digest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = set()
    for text, use in (("a = 1\n", "beside.a"), ("a = 22\n", "beside.a")):
        (tmp_path / "beside.py").write_text(text)
        found.add(digest(f"import torch\nimport beside\ndef mine(x):\n    return torch.relu(x) + {use}\n"))
    assert len(found) == 2
