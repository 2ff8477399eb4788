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


VALUES = {
    "array": "import numpy\nk = numpy.array([1.0])\n",
    "array of objects": "import numpy\nk = numpy.array([len, 1.0], dtype=object)\n",
    "tensor": "import torch\nk = torch.tensor([1.0])\n",
    "net": "from torch import nn\nk = nn.Linear(2, 2)\nnn.init.constant_(k.weight, 1.0)\nnn.init.zeros_(k.bias)\n",
    "partial": "import functools\ndef g(x, y): return x\nk = functools.partial(g, 1.0)\n",
    "object": "class C: pass\nk = C(); k.rate = 1.0\n",
    "slots": "class C:\n    __slots__ = ('rate',)\nk = C(); k.rate = 1.0\n",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass C:\n    rate: float\nk = C(1.0)\n",
    "namespace": "import types\nk = types.SimpleNamespace(rate=1.0)\n",
    "enum": "import enum\nclass E(enum.Enum):\n    A = 1.0\nk = E.A\n",
    "list of functions": "def a(): return 1.0\nk = [a]\n",
    "dict of functions": "k = {'x': lambda: 1.0}\n",
    "dict with an object": "class C: pass\nc = C(); c.rate = 1.0\nk = {'x': c}\n",
    "default": "class C: pass\nc = C(); c.rate = 1.0\ndef k(x=c): return x\n",
    "property": "class C:\n    @property\n    def p(self): return 1.0\nk = C\n",
    "class method": "class C:\n    @classmethod\n    def p(cls): return 1.0\nk = C\n",
    "bound method": "class C:\n    def p(self): return self.rate\nc = C(); c.rate = 1.0\nk = c.p\n",
    "cached": "import functools\n@functools.lru_cache\ndef k(): return 1.0\n",
    "itself": "class C: pass\nk = C(); k.own = [k]; k.rate = 1.0\n",
    "order": "k = [1.0, 2.0]\n",
    "path": "from pathlib import Path\nk = Path('1.0')\n",
    "frame": "import pandas\nk = pandas.DataFrame({'a': [1.0]})\n",
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.fault("Changed modules and cells of the user")
def test_values_of_any_kind_go_by_what_they_hold(kind):
    text = VALUES[kind] + "def mine(model, task): return k\n"
    assert digest(text) == digest(text)
    assert digest(text) != digest(text.replace("1.0", "2.0"))


@pytest.mark.fault("Changed modules and cells of the user")
def test_what_cannot_be_read_is_never_taken_for_the_same():
    text = "k = (each for each in [1])\ndef mine(model, task): return k\n"
    assert digest(text) != digest(text)


@pytest.mark.parametrize("name", ["pi", "e"])
@pytest.mark.fault("Changed modules and cells of the user")
def test_a_name_taken_from_a_module_counts(name):
    text = f"import math\ndef mine(model, task): return math.{name}\n"
    assert digest(text) == digest(text)
    assert digest(text) != digest(text.replace(f"math.{name}", "math.tau"))
