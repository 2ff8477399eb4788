"""The page that a number comes from is found by its scenario."""

import nbformat
import pytest
from nbformat.v4 import new_notebook

from forget_lib.show import links


@pytest.mark.parametrize(
    ("told", "scenario"),
    [
        ({"request": "class:5", "draw": 1}, ("mnist", "mlp", "class-5")),
        ({"request": "person:*20"}, ("mnist", "mlp", "person-any20")),
        (
            {"request": "random:0.1", "pool": {"samples": 3600, "evaluation": 360, "request": "mislabelled"}},
            ("mnist", "mlp", "pool-random-mislabelled-0.1"),
        ),
    ],
)
def test_pages_are_found_by_scenario_the_first_draw_first(tmp_path, told, scenario):
    for name, draw in (("b", 0), ("a", 1)):
        path = tmp_path / "notebooks" / "03_x" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        parameters = {"dataset": "mnist", "model": "mlp", **told, "draw": draw}
        nbformat.write(new_notebook(metadata={"papermill": {"parameters": parameters}}), path)
    pages = links.pages_of(tmp_path)
    assert pages[scenario] == ["../03_x/b.html", "../03_x/a.html"]
    assert links.linked([scenario], pages) == f"[mnist mlp {scenario[2]}](../03_x/b.html)"
    assert links.linked([scenario], {}) == f"mnist mlp {scenario[2]}"
    assert links.pages_of(tmp_path / "none") == {}
