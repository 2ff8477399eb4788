"""The shape that all notebooks share."""

import ast
import json
import re

import pytest
import torch

from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets import ImageData
from forget_lib.datasets.requests import draw_sets, parse_request
from workflow.config_check import read_config
from workflow.pages.run import declared_parameters
from workflow.plan import plan

LESSONS = ("02_train_baseline", "03_unlearn_mnist", "04_unlearn_cifar10", "05_unlearn_mufac", "06_unlearn_identity")
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def cells(path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_common_shape(path):
    text = ["".join(cell["source"]) for cell in cells(path, "markdown")]
    assert re.match(r"# .+\n\n.+", text[0]), "a title and a paragraph come first"
    for part in ("**Reads**", "**Writes**", "**Takes**"):
        assert part in text[0]
    headings = re.findall(r"^## (.+)", "\n".join(text), flags=re.MULTILINE)
    assert headings[:2] == ["Setup", "Parameters"]
    assert headings[-1] == "Provenance"
    if path.stem in LESSONS:
        assert headings[-2] == "Try it"
        assert "provenance_table" in "".join(cells(path, "code")[-1]["source"])
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells(path, "code")) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_cells_are_short_and_come_without_outputs(path):
    for cell in cells(path, "code"):
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
        long_parameters = path.stem not in LESSONS and "parameters" in cell["metadata"].get("tags", [])
        assert len(lines) <= 15 or long_parameters, cell["id"]
        assert not cell["outputs"]
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_has_a_type_and_a_comment(path):
    cell = next(cell for cell in cells(path, "code") if "parameters" in cell["metadata"].get("tags", []))
    source = "".join(cell["source"])
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(source).body)
    assert len(re.findall(r"(?m)  # |^# ", source)) >= len(declared_parameters(path)) - 1


def test_the_sets_of_an_original_can_be_drawn_from_people_of_five_images():
    source = "".join(
        "".join(cell["source"]) for cell in cells(REPOSITORY / "notebooks" / "02_train_baseline.ipynb", "code")
    )
    asked = re.search(r'"request": "([^"]+)"', source)[1]
    labels = torch.arange(200) % 40
    people = ImageData(
        "few",
        "Few",
        torch.zeros(200, 1, 4, 4, dtype=torch.uint8),
        labels,
        torch.zeros(40, 1, 4, 4, dtype=torch.uint8),
        torch.arange(40),
        tuple(map(str, range(40))),
        "made here",
        "none",
    )
    sets = draw_sets(people, parse_request(asked))
    assert len(sets.forget) > 0


@pytest.mark.parametrize("profile", ["smoke", "quick", "study", "paper"])
def test_a_profile_passes_only_what_the_notebooks_declare(profile):
    for job in plan(read_config(REPOSITORY / "workflow" / "config" / f"{profile}.yaml")).values():
        known = declared_parameters(REPOSITORY / "notebooks" / f"{job.notebook}.ipynb")
        assert set(job.parameters) <= set(known), job.key
