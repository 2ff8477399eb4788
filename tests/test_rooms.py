"""The rooms of the library: arrows run one way, nothing lies at its root, and no import is hidden in a function."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parent.parent / "forget_lib"
FLOORS = (
    ("core",),
    ("datasets",),
    ("statistics",),
    ("models",),
    ("unlearning", "attacks"),
    ("study",),
    ("show",),
    ("deletion", "demo"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    """Dotted names of all modules of the library."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of everything of the library that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] in ("forget_lib", "workflow")]


def room_of(name: str) -> str:
    """The room of a module: `models` of forget_lib.models.train."""
    return name.split(".")[1] if name.startswith("forget_lib.") else name


def test_nothing_lies_at_the_root_but_the_ten_rooms():
    entries = {path.name for path in LIBRARY.iterdir() if path.name != "__pycache__"}
    assert entries == {"__init__.py", *FLOOR}


@pytest.mark.parametrize("name", sorted(set(modules()) - {"forget_lib"}))
def test_arrows_run_one_way(name):
    here = room_of(name)
    for line, imported in imports_of(modules()[name]):
        there = room_of(imported)
        assert there in FLOOR, f"{name}, line {line}: {imported} is not in a room"
        back = there != here and FLOOR[there] >= FLOOR[here]
        assert not back, f"{name}, line {line}: the arrow to {imported} runs back, {here} stands no higher"


def test_no_two_modules_import_each_other():
    known = modules()
    after = {}
    for name, path in known.items():
        targets = {imported if imported in known else imported.rpartition(".")[0] for _, imported in imports_of(path)}
        after[name] = {target for target in targets if target in known and known[target].name != "__init__.py"}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "a circle: " + " → ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(after[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in known:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_import_of_the_library_is_hidden_in_a_function(name):
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and (inner.module or "").startswith("forget_lib"):
                    raise AssertionError(f"{name}, line {inner.lineno}: {node.name} imports {inner.module}")


LESSON = """
import sys
from forget_lib.show import catalogue, figures, findings
from forget_lib.study import records, run
print(*(name for name in sys.modules if name.startswith("forget_lib")))
"""
MOST = 56
"""Modules of the library that the imports of a lesson may load."""


def test_the_imports_of_a_lesson_load_no_method_and_no_attack():
    done = subprocess.run(
        [sys.executable, "-c", LESSON], cwd=LIBRARY.parent, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    for package in ("unlearning", "attacks"):
        own = {name.split(".")[2] for name in loaded if name.startswith(f"forget_lib.{package}.")}
        assert own <= {"common", "parts", "registry", "task"}, package
    assert len(loaded) <= MOST
