"""What the page of benchmarks says of its tables."""

import ast
import json

import pandas as pd
import torch

from benchmarks import pages, run, time_to_accuracy
from forget_lib.datasets.samples import Samples, normalise
from forget_lib.models.nets import Classifier

ROWS = {
    ("short", "float32"): 0.868,
    ("short, SGD for Muon", "float32"): 0.818,
    ("short, cosine schedule", "float32"): 0.869,
    ("short", "bfloat16"): 0.9,
}


def table(rows: dict[tuple[str, str], float]) -> pd.DataFrame:
    return pd.DataFrame([{"variant": name, "precision": how, "accuracy": value} for (name, how), value in rows.items()])


def test_what_a_part_of_the_recipe_buys_is_told_against_the_whole_in_the_same_precision():
    assert run.bought(table(ROWS)) == ["against short in float32, in points: SGD for Muon -5.0, cosine schedule +0.1"]


def test_nothing_is_told_without_the_whole_recipe_or_without_a_part_left_out():
    assert run.bought(table({("short, cosine schedule", "float32"): 0.8})) == []
    assert run.bought(table({("short", "float32"): 0.8, ("short, SGD for Muon", "bfloat16"): 0.7})) == []


def test_rows_stand_in_the_order_of_the_variants_whatever_was_measured_first():
    rows = {key: {"variant": key[0], "precision": key[1]} for key in reversed(ROWS)}
    found = time_to_accuracy.in_order(rows)
    assert list(zip(found["variant"], found["precision"], strict=True))[:2] == [
        ("short", "float32"),
        ("short", "bfloat16"),
    ]


def test_accuracy_over_mirror_images_and_shifts_is_told_where_it_was_measured():
    row = {"variant": "wide", "precision": "float32", "accuracy": 0.926, "epochs": 8, "cpu_seconds": 120.0}
    assert run.told(row) == "wide, float32 92.6% after 8 epochs and 2.0 CPU minutes"
    assert run.told(row | {"shifted": float("nan")}) == run.told(row)
    assert "92.6% (94.0% over mirror images and shifts)" in run.told(row | {"shifted": 0.94})


def test_logits_are_averaged_over_mirror_images_and_shifts_with_the_edge_reflected():
    class Corner(Classifier):
        """Its only logit is the pixel in the upper left corner."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, 0, 0, :1]

    image = torch.tensor([[10, 20, 30], [40, 50, 60], [70, 80, 90]], dtype=torch.uint8)[None, None]
    net = Corner(torch.nn.Flatten(), 9, 1)
    found = time_to_accuracy.averaged_logits(net, Samples(image, torch.zeros(1, dtype=torch.int64)))
    # As it is 10, mirrored 30; moved down and right the corner is the reflected 50, moved up and left it is 50 too.
    expected = {"accuracy": [10], "mirrored": [10, 30], "shifted": [10, 30] * 2 + [50] * 4}
    for name, pixels in expected.items():
        values = normalise(torch.tensor(pixels, dtype=torch.uint8)[:, None, None, None])
        torch.testing.assert_close(found[name], values.sum().reshape(1, 1), msg=name)


def test_the_page_that_is_timed_imports_what_a_page_of_the_study_imports_and_nothing_else(tmp_path):
    (cell,) = json.loads(pages.toy(tmp_path).read_text())["cells"]
    names = [type(line).__name__ for line in ast.parse("".join(cell["source"])).body]
    assert set(names[:-3]) == {"Import", "ImportFrom"}  # then a setting of pandas, and the time at the start
    assert cell["source"].endswith(pages.SPENT)


def test_the_kinds_of_kernel_are_told_with_their_seconds():
    rows = [("own process", 3.0, 2.9, 3.3, 5.0), ("fork", 0.3, 0.2, 0.4, 1.0)]
    table = pd.DataFrame(rows, columns=["kernel", "cpu_seconds", "cpu_lowest", "cpu_highest", "wall_seconds"])
    figure, axes = run.plt.subplots()
    text = run.draw_pages(table, axes)
    run.plt.close(figure)
    assert text == "own process: 3.00 CPU seconds, 5.0 s for the page; fork: 0.30 CPU seconds, 1.0 s for the page"
