"""What 01_data says of faces: age, relations, near-duplicates, and the sentences that follow from them."""

import dataclasses

import pandas as pd
import pytest
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import load
from forget_lib.datasets.mufac import read_sample
from forget_lib.models.recipe import Recipe
from forget_lib.study import face_checks


@pytest.fixture(scope="module")
def few():
    """The rendered faces at 32×32, fewer of them, so that a training takes a second."""
    data = load("synthetic_faces32", "sample")
    return dataclasses.replace(data, images=data.images[:600], labels=data.labels[:600], people=data.people[:600])


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(face_checks, "RECIPE", Recipe(epochs=3, batch_size=32, learning_rate=0.03))


def test_age_is_told_for_families_that_were_held_out(few):
    found = face_checks.age_check(few)
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert found["accuracy"] > found["most frequent class"]
    assert found["families"] == len(few.test_families.unique())


def test_a_person_is_nearer_than_a_relative_and_a_relative_nearer_than_a_stranger(few):
    means = face_checks.relation_check(few)["mean distance"]
    assert means["person"] < means["relative"] < means["stranger"]


def test_near_duplicates_are_counted_and_left_out():
    table = read_sample()
    part = dataclasses.replace(table, parts={name: faces[:20] for name, faces in table.parts.items()})
    part.parts["test"][1] = part.parts["test"][0]
    row = face_checks.duplicate_check(part, bits=(0,)).loc[0]
    assert row["within test"] == 1
    assert row["kept of test"] == 19


def test_larger_images_are_averaged_and_smaller_ones_stay():
    large = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    large[:, :, ::2] = 255
    assert face_checks.small(large).unique().tolist() == [128]
    assert face_checks.small(large[:, :, :32, :32]).shape[2] == 32


def test_sentences_follow_the_numbers():
    age = pd.Series(
        {"accuracy": 0.3, "low": 0.2, "high": 0.4, "most frequent class": 0.25, "within one class": 0.5, "families": 9}
    )
    near = pd.DataFrame(
        {"mean distance": [0.3, 0.2, 0.4], "families in this order": ["1 of 9"] * 3}, index=face_checks.SHOWN
    )
    said = face_checks.sentences(age, near, None)
    assert "not clearly above" in said[0]
    assert "do **not** grow" in said[1]
    assert "far above" in face_checks.sentences(age.replace(0.2, 0.35), None, None)[0]


def test_data_without_families_are_refused():
    with pytest.raises(ForgetError, match="knows no families"):
        face_checks.age_check(load("mnist", "sample"))
