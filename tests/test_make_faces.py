"""The synthetic faces: rendered again they are the committed ones, families stay apart, children resemble parents."""

import csv
import sys
from collections import Counter

import numpy as np
import PIL
import pytest
from PIL import Image

from forget_lib.core.paths import REPOSITORY

FOLDER = REPOSITORY / "data" / "samples"
FACES = FOLDER / "faces"


@pytest.fixture(scope="module")
def make_faces():
    """The generator, which lies beside its data and not in a package."""
    sys.path.insert(0, str(FOLDER))
    try:
        import make_faces

        yield make_faces
    finally:
        sys.path.remove(str(FOLDER))


def rows(part: str) -> list[dict[str, str]]:
    with open(FACES / f"custom_{part}_dataset.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_images_rendered_again_are_the_committed_ones(make_faces):
    family = next(family for family, part in sorted(make_faces.parts().items()) if part == "test")
    shots = make_faces.photographs(family, limit=3)
    assert len(shots) == 3
    for folder, _, _, name, content in shots:
        assert make_faces.same(FACES / folder / name, content), name
        if (PIL.__version__, np.__version__) == ("13.0.0", "2.4.6"):
            assert (FACES / folder / name).read_bytes() == content, name


def test_the_same_seed_gives_the_same_pixels_and_another_does_not(make_faces):
    person = make_faces.make_family(0, 3, make_faces.head().blocks)[0]
    first, again, other = (
        make_faces.render(make_faces.head(), person, 40, np.random.default_rng(seed), 32) for seed in (1, 1, 2)
    )
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_sample_is_small_and_has_the_people_it_should_have():
    people = {
        part: Counter((row["family_id"], row["person_id"]) for row in rows(part)) for part in ("train", "val", "test")
    }
    counts = [count for part in people.values() for count in part.values()]
    families = [{family for family, _ in part} for part in people.values()]
    assert 280 <= len(counts) <= 340
    assert min(counts) >= 5
    assert max(counts) <= 8
    assert [len(part) for part in families] == [52, 10, 18]
    assert len(set.union(*families)) == 80
    assert {row["age_class"] for row in rows("test")} == set("abcdefgh")
    assert sum(path.stat().st_size for path in FACES.rglob("*") if path.is_file()) <= 12e6


def test_people_are_photographed_at_several_ages():
    ages: dict[tuple[str, str], set[str]] = {}
    for row in rows("train"):
        ages.setdefault((row["family_id"], row["person_id"]), set()).add(row["age_class"])
    assert np.mean([len(letters) > 1 for letters in ages.values()]) > 0.5


def test_a_face_recogniser_gets_twelve_images_of_forty_people_at_one_age():
    counts = Counter((row["family_id"], row["person_id"]) for row in rows("identity"))
    letters = {(row["family_id"], row["person_id"]): row["age_class"] for row in rows("identity")}
    assert set(counts.values()) == {18}
    assert len(counts) == 40
    assert all(letters[row["family_id"], row["person_id"]] == row["age_class"] for row in rows("identity"))


def test_children_are_nearer_to_their_parents_than_to_strangers(make_faces):
    blocks, near, far = make_faces.head().blocks, [], []
    families = [{p.role: p.look for p in make_faces.make_family(0, family, blocks)} for family in range(20)]
    for number, family in enumerate(families):
        for role in ("S", "D"):
            if role in family:
                other = families[(number + 1) % len(families)]
                near += [np.abs(family[role].genes - family[parent].genes).mean() for parent in "FM"]
                far += [np.abs(family[role].genes - other[parent].genes).mean() for parent in "FM"]
    assert np.mean(near) < 0.75 * np.mean(far)


def test_the_same_person_gets_greyer_and_children_have_no_grey(make_faces):
    for person in make_faces.make_family(0, 5, make_faces.head().blocks):
        grey = [person.greying(age) for age in (10, 40, 60, 80)]
        assert grey[0] == 0
        assert grey == sorted(grey)


@pytest.mark.parametrize(
    ("years", "letter"), [(0, "a"), (6, "a"), (7, "b"), (19, "c"), (20, "d"), (66, "g"), (80, "h")]
)
def test_ages_have_the_published_classes(make_faces, years, letter):
    assert make_faces.age_class(years) == letter


def test_the_head_file_needs_no_pickle_and_packing_loses_half_a_step(make_faces):
    with np.load(FOLDER / "face_head.npz", allow_pickle=False) as file:
        assert file["faces"].max() < len(file["base"])
    from extract_head import packed

    shapes = np.random.default_rng(0).normal(size=(3, 5, 3))
    integers, scale = packed(shapes, np.int8)
    assert np.abs(integers * scale[:, None, None] - shapes).max() <= scale.max() * 0.51


def test_the_contact_sheet_has_a_row_for_each_family(make_faces):
    sheet = make_faces.contact_sheet(FACES, 2, each=1)
    assert isinstance(sheet, Image.Image)
    assert sheet.size == (8 * 96, 2 * 96)
