"""What a page costs beside its work: its kernel as a process of its own, and as a fork of one that has the libraries.

    python benchmarks/run.py pages

A notebook that does nothing but the imports of `03_unlearn_mnist` is run in turn by both kinds of kernel (Linux; see
`workflow/pages/warm.py`). CPU seconds are the kernel's own, from its start to the end of the imports; wall seconds
are those of the whole page, from the start of the notebook to the written HTML.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib.core.files import read_notebook  # noqa: E402
from workflow.pages.run import run_notebook  # noqa: E402

NOTEBOOK = REPOSITORY / "notebooks" / "03_unlearn_mnist.ipynb"
TURNS = 9
SPENT = "\nprint(time.process_time())"


def toy(folder: Path) -> Path:
    """A notebook of the cell of `NOTEBOOK` that imports the library; it prints the CPU seconds of its kernel."""
    content = read_notebook(NOTEBOOK)
    code = (cell for cell in content["cells"] if cell["cell_type"] == "code")
    imports = next(cell for cell in code if "from forget_lib" in "".join(cell["source"]))
    cell = imports | {"source": "".join(imports["source"]) + SPENT}
    path = folder / "imports.ipynb"
    path.write_text(json.dumps(content | {"cells": [cell]}))
    return path


def page(notebook: Path) -> tuple[float, float]:
    """CPU seconds of the kernel, wall seconds of the page."""
    begun = time.perf_counter()
    executed = run_notebook(notebook, {}, notebook.parent / "out" / "imports.ipynb", notebook.parent / "out.html")
    spent = time.perf_counter() - begun
    (output,) = json.loads(executed.read_text())["cells"][0]["outputs"]
    return float("".join(output["text"])), spent


def main() -> pd.DataFrame:
    """A row for each kind of kernel: medians over the turns, and the spread of the CPU seconds."""
    found: dict[str, list[tuple[float, float]]] = {"own process": [], "fork": []}
    with tempfile.TemporaryDirectory(prefix="forget-") as name:
        notebook, socket = toy(Path(name)), Path(name) / "kernels"
        command = [sys.executable, "-m", "workflow.pages", "warm", str(socket), str(os.getpid())]
        with subprocess.Popen(command, cwd=REPOSITORY) as server:
            for turn in range(TURNS + 1):
                for kind in found:
                    os.environ.pop("FORGET_WARM", None)
                    if kind == "fork":
                        os.environ["FORGET_WARM"] = str(socket)
                    seconds = page(notebook)
                    if turn:  # in the first the libraries are read from the disk, and imported by the server
                        found[kind].append(seconds)
            server.kill()
    rows = []
    for kind, turns in found.items():
        cpu, wall = (pd.Series(each) for each in zip(*turns, strict=True))
        spread = {"cpu_lowest": cpu.min(), "cpu_highest": cpu.max()}
        rows.append({"kernel": kind, "cpu_seconds": cpu.median(), **spread, "wall_seconds": wall.median()})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(main().round(2).to_string(index=False))
