"""A deletion request on a tiny data set of the user's own, and the notebook run on it."""

import contextlib
import json
from typing import Any

import numpy as np

from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion import ledger, verify

BAD_NAME = "<script>alert(1)</script> $x$ **b**"


def write_data(folder, *, seed: int = 0, each: int = 60) -> None:
    """Three classes of 6 × 6 noise around a centre of their own; five people a class, who all stand in it."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(60, 190, (3, 6, 6))
    labels = np.repeat([0, 1, 2], each)
    images = np.clip(centres[labels] + generator.normal(0, 45, (len(labels), 6, 6)), 0, 255).astype(np.uint8)
    people = np.array([f"p{label}-{i % 5}" for label in (0, 1, 2) for i in range(each)])
    test = np.clip(centres[labels[::3]] + generator.normal(0, 45, (each, 6, 6)), 0, 255).astype(np.uint8)
    np.savez(
        folder / "data.npz",
        images=images,
        labels=labels,
        test_images=test,
        test_labels=labels[::3],
        classes=np.array(["a", "b", BAD_NAME]),
        people=people,
        test_people=np.array(["elsewhere"] * each),
    )


REQUEST = """version: 1
title: "{title}"
data: {{name: "own:{folder}/data.npz"}}
model: {{name: mlp}}
recipe: {{epochs: 8, batch_size: 16, learning_rate: 0.05}}
forget: {forget}
method: {method}
budget: {{references: 6, originals: 3, kept: 3, shares: 0, processes: 1}}
write: {{folder: "{folder}/{name}"}}
"""


def write_request(folder, *, name="first", forget="class:a", method="retrain", title="t", extra=""):
    path = folder / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(REQUEST.format(folder=folder, name=name, forget=forget, method=method, title=title) + extra)
    return path


def page_of(path) -> dict[str, Any]:
    """What the cells of the notebook leave, run in this process on a request."""
    notebook = json.loads((REPOSITORY / "notebooks" / "10_deletion_request.ipynb").read_text())
    names: dict[str, Any] = {}
    with contextlib.chdir(REPOSITORY / "notebooks"):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
                if "parameters" in cell["metadata"].get("tags", []):
                    names["request"] = str(path)
    return names


def answered(path):
    names = page_of(path)
    return names["answer"], names["content"], names["path"]


def mine_forget(folder) -> list[str]:
    return ledger.read_ledger(folder / "ledger.jsonl")[0]["forget"]


def outcomes(report, **options) -> dict[str, str]:
    return {check.name: check.outcome for check in verify.verify(report, **options)}
