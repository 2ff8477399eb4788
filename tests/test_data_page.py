"""What 01_data computes of faces: age, relations, near-duplicates, and the sentences that follow from them."""

import dataclasses
import json

import pandas as pd
import pytest
import torch

from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets import load
from forget_lib.datasets.mufac import read_sample
from forget_lib.models.recipe import Recipe


def sources() -> list[str]:
    content = json.loads((REPOSITORY / "notebooks" / "01_data.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def page() -> dict:
    """The names that the page's cells define, without what they compute; a training takes a second."""
    names: dict = {}
    for source in sources():
        defines = source.startswith(("import ", "from ", "def ", "PARENT_OF", "SHOWN", "RECIPE"))
        if defines and "loaded" not in source:
            exec(source, names)
    names["RECIPE"] = Recipe(epochs=3, batch_size=32, learning_rate=0.03)
    return names


def said(page: dict, **tables) -> str:
    """The sentences of the cells that read these tables."""
    names = page | {"lines": [], "near": {}, "repeats": {}} | tables
    for source in sources():
        if source.startswith(("for name, age in ages", "for name, table in near", "for name, table in repeats")):
            exec(source, names)
    return "\n".join(names["lines"])


@pytest.fixture(scope="module")
def few():
    """The rendered faces at 32×32, fewer of them."""
    data = load("synthetic_faces32", "sample")
    return dataclasses.replace(data, images=data.images[:600], labels=data.labels[:600], people=data.people[:600])


def test_age_is_told_for_families_that_were_held_out(page, few):
    found = page["age_check"](few)
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert found["accuracy"] > found["most frequent class"]
    assert found["families"] == len(few.test_families.unique())


def test_a_person_is_nearer_than_a_relative_and_a_relative_nearer_than_a_stranger(page, few):
    means = page["relation_check"](few)["mean distance"]
    assert means["person"] < means["relative"] < means["stranger"]


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ("F0001_F", "F0001_F", "person"),
        ("F0001_F", "F0001_M", "in-law"),
        ("F0001_F", "F0001_GF2", "in-law"),
        ("F0001_M", "F0001_GF2", "relative"),
        ("F0001_F", "F0001_S", "relative"),
        ("F0001_S", "F0001_GF2", "relative"),
        ("F0001_F", "F0002_F", "stranger"),
    ],
)
def test_two_people_are_related_by_family_and_role(page, first, second, relation):
    assert page["related"](first, second) == page["related"](second, first) == relation


def test_near_duplicates_are_counted_and_left_out(page):
    table = read_sample()
    part = dataclasses.replace(table, parts={name: faces[:20] for name, faces in table.parts.items()})
    part.parts["test"][1] = part.parts["test"][0]
    table = page["duplicate_check"](part)
    assert table.loc[0, "copies left out"] == 1
    assert table.loc[0, "pairs across parts"] == 0
    text = said(page, repeats={"faces": table}, ages={}, near={})
    assert "1 images are copies of another" in text


def test_larger_images_are_averaged_and_smaller_ones_stay(page):
    large = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    large[:, :, ::2] = 255
    assert page["small"](large).unique().tolist() == [128]
    assert page["small"](large[:, :, :32, :32]).shape[2] == 32


def test_sentences_follow_the_numbers(page):
    age = pd.Series(
        {"accuracy": 0.3, "low": 0.2, "high": 0.4, "most frequent class": 0.25, "within one class": 0.5, "families": 9}
    )
    near = pd.DataFrame(
        {"mean distance": [0.3, 0.2, 0.4], "families in this order": ["1 of 9"] * 3}, index=page["SHOWN"]
    )
    text = said(page, ages={"faces": age}, near={"faces": near})
    assert "not clearly above" in text
    assert "do **not** grow" in text
    assert "far above" in said(page, ages={"faces": age.replace(0.2, 0.35)}, near={})
