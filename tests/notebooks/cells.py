"""Runs the code cells of a notebook without a kernel, so that a test can look at what they define and compute."""

import ast
import json
from typing import Any

from forget_lib.core.paths import REPOSITORY


def run_cells(notebook: str, *, before: str = "", **parameters: Any) -> dict[str, Any]:
    """The names that a notebook's code cells leave behind, and under "outputs" the value of each cell's last line.

    before: stop at the first cell that holds this text. parameters: put in the place of the notebook's own.
    """
    cells = json.loads((REPOSITORY / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"outputs": []}
    for cell in cells:
        source = "".join(cell["source"])
        if before and before in source:
            break
        if cell["cell_type"] == "code":
            names["outputs"].append(_run(source, f"{notebook}, cell {cell['id']}", names))
        if "parameters" in cell["metadata"].get("tags", []):
            names.update(parameters)
    return names


def _run(source: str, place: str, names: dict[str, Any]) -> Any:
    """Runs a cell; the value of its last line if that is an expression, else None."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), place, "exec"), names)
    code = compile(ast.Expression(last.value), place, "eval") if last else None
    return eval(code, names) if code else None  # noqa: S307  the project's own notebook


def sentences(names: dict[str, Any]) -> list[str]:
    """The lines of all Markdown lists that the cells gave."""
    texts = [value.data for value in names["outputs"] if hasattr(value, "_repr_markdown_")]
    return [line.removeprefix("- ") for text in texts for line in text.splitlines()]
