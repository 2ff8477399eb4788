"""Who shares an image is one: made-up pairs by hand, own data, and the counts of the real MUFAC where it is there."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch

from forget_lib.core.errors import DataError
from forget_lib.core.paths import data_folder
from forget_lib.datasets import mufac
from forget_lib.datasets.linked import alike, link, one_of_each, same_pixels
from forget_lib.datasets.own import OwnDataError, load_own
from forget_lib.datasets.requests import draw_sets, parse_request

NOBODY = torch.zeros(0, 2, dtype=torch.int64)


def pairs(*given: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(given)


def test_who_shares_an_image_with_one_who_shares_another_is_linked_to_both():
    found = link(torch.tensor([0, 1, 2, 3, 3, 4]), ("a", "b", "c", "d", "e"), pairs((1, 2), (2, 4)))
    assert found.names == ("a", "b", "e")
    assert found.ids.tolist() == [0, 1, 1, 1, 1, 2]
    assert found.aliases == {"c": "b", "d": "b"}


def test_without_pairs_all_ids_and_names_stay_even_of_people_without_an_image():
    found = link(torch.tensor([2, 0, 2]), ("a", "b", "c"), NOBODY)
    assert (found.ids.tolist(), found.names, found.aliases) == ([2, 0, 2], ("a", "b", "c"), {})


def test_images_are_the_same_to_the_bit_or_not():
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    images[1] = 7
    images[3, 0, 1, 1] = 1
    assert same_pixels(images).tolist() == [[0, 2]]
    assert same_pixels(images[:2]).tolist() == []


def test_hashes_are_alike_up_to_so_many_bits_over_all_blocks(monkeypatch):
    monkeypatch.setattr("forget_lib.datasets.linked.BLOCK", 2)
    hashes = np.zeros((5, 64), bool)
    hashes[1, :2] = True
    hashes[3, :3] = True
    hashes[4] = True
    assert alike(hashes, 0).tolist() == [[0, 2]]
    assert alike(hashes, 2).tolist() == [[0, 1], [0, 2], [1, 2], [1, 3]]
    assert alike(hashes[:0]).shape == (0, 2)


def test_of_images_that_are_alike_one_stays_by_the_order_given():
    chain = pairs((0, 1), (1, 2), (3, 4))
    assert one_of_each(chain, range(6)).tolist() == [True, False, True, True, False, True]
    assert one_of_each(chain, [1, 4, 0, 2, 3, 5]).tolist() == [False, True, False, False, True, True]


# Own data


@pytest.fixture
def shared(tmp_path):
    """An .npz of ten people with four images each, of whom Bob's first is Ann's last to the bit."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    images[4] = images[3]
    people = np.repeat(["Ann", "Bob", *"CDEFGHIJ"], 4)
    families = np.repeat([f"family {number}" for number in range(5)], 8)
    path = tmp_path / "own.npz"
    np.savez(path, images=images, labels=np.arange(40) % 2, people=people, families=families)
    return path


def test_own_people_who_share_an_image_are_forgotten_held_out_and_tested_together(shared, capsys):
    data = load_own(str(shared))
    assert data.aliases == {"person": {"Bob": "Ann"}, "family": {}}
    assert "such as Bob with Ann: who asks to forget one forgets both" in capsys.readouterr().out
    assert "1 of the person names share an image with another one and count as one" in data.notes
    ann = data.person_names.index("Ann")
    assert int((data.people == ann).sum()) + int((data.test_people == ann).sum()) == 8
    assert not set(data.people.tolist()) & set(data.test_people.tolist())
    if ann in data.people:
        draw = next(d for d in range(20) if ann in data.people[draw_sets(data, parse_request("person:*1"), d).trained])
        sets = draw_sets(data, parse_request("person:Bob"), draw)
        assert len(sets.forget) == 8


def test_own_people_without_shared_images_stay_as_they_are(shared):
    with np.load(shared) as file:
        arrays = dict(file)
    arrays["images"][4] += 1
    np.savez(shared, **arrays)
    data = load_own(str(shared))
    assert data.aliases == {"person": {}, "family": {}}
    assert len(data.person_names) == 10


def test_own_data_in_which_all_are_linked_have_nobody_to_test_on(shared):
    with np.load(shared) as file:
        arrays = dict(file)
    arrays["images"][::4] = arrays["images"][0]
    np.savez(shared, **arrays)
    with pytest.raises(OwnDataError, match="all images are of one person"):
        load_own(str(shared))


# The real set


@pytest.fixture(scope="module")
def real() -> mufac.Table:
    try:
        return mufac._local(data_folder() / "mufac")
    except DataError as error:
        pytest.skip(f"!!! THE COPIES IN THE REAL MUFAC WERE NOT COUNTED: {error}; ./run_all.sh data mufac fetches it")


@pytest.mark.slow
def test_identical_files_of_the_real_set_are_as_many_as_published_in_the_docs(real):
    contents = defaultdict(list)
    for index, face in enumerate(real.faces):
        contents[face.path.read_bytes()].append(index)
    groups = [rows for rows in contents.values() if len(rows) > 1]
    part = np.repeat(list(real.parts), [len(faces) for faces in real.parts.values()])
    people = np.array([face.person_name for face in real.faces])
    assert len(groups) == 3_144
    assert sum(len(rows) - 1 for rows in groups) == 3_949
    assert all(len(set(people[rows])) == len(rows) for rows in groups)
    assert sum(len(set(part[rows])) > 1 for rows in groups) == 43
    train = len(real.parts["train"])
    listed = mufac.OFFICIAL_FORGET
    left = {row for rows in groups for row in rows if row < listed and any(listed <= other < train for other in rows)}
    assert len(left) == 18
    same = torch.tensor([(rows[0], other) for rows in groups for other in rows[1:]])
    assert families(real, same)[0] == 220


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "number", "largest"), [(2, 210, 7), (4, 178, 23)])
def test_families_of_the_real_set_are_fewer_than_their_names(real, bits, number, largest):
    assert len({face.family for face in real.faces}) == 399
    assert families(real, real.alike(bits)) == (number, largest)


def families(table: mufac.Table, same: torch.Tensor) -> tuple[int, int]:
    """Number of linked families, and of names in the largest of them."""
    ids, names = pd.factorize(np.array([face.family for face in table.faces]), sort=True)
    found = link(torch.from_numpy(ids), tuple(names), same)
    heads = pd.Series([found.aliases.get(name, name) for name in names])
    return len(found.names), int(heads.value_counts().max())
