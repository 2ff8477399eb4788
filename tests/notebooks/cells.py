"""Runs the code cells of a notebook without a kernel, so that a test can look at what they define and compute."""

import json
from typing import Any

from forget_lib.core.paths import REPOSITORY


def run_cells(notebook: str, *, before: str = "", **parameters: Any) -> dict[str, Any]:
    """The names that a notebook's code cells leave behind.

    before: stop at the first cell that holds this text. parameters: put in the place of the notebook's own.
    """
    cells = json.loads((REPOSITORY / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        source = "".join(cell["source"])
        if before and before in source:
            break
        if cell["cell_type"] == "code":
            exec(compile(source, f"{notebook}, cell {cell['id']}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names.update(parameters)
    return names
