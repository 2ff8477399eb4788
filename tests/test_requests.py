import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forget_lib.datasets.requests import draw_sets, parse_request, requested_classes
from forget_lib.errors import ForgetError, UnknownNameError
from tests.conftest import make_blobs

BLOBS = make_blobs()
TEXTS = [
    "class:c1",
    "class:0,c3",
    "class:*2",
    "random:0.2",
    "mislabelled:0.25",
    "indices:3,17,40",
    "person:*4",
    "family:*2",
]


@given(text=st.sampled_from(TEXTS), draw=st.integers(0, 50))
def test_the_sets_are_disjoint_and_cover_the_pool(text, draw):
    sets = draw_sets(BLOBS, parse_request(text), draw)
    parts = [sets.forget, sets.retain, sets.validation, sets.unseen, sets.population]
    assert torch.cat(parts).sort().values.tolist() == list(range(len(BLOBS.labels)))


@given(text=st.sampled_from(TEXTS), draw=st.integers(0, 50))
def test_the_same_draw_gives_the_same_sets(text, draw):
    first, second = (draw_sets(BLOBS, parse_request(text), draw) for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))


def test_requests_of_one_draw_share_the_training_set_and_other_draws_do_not():
    by_class, random = (draw_sets(BLOBS, parse_request(text), 0).trained for text in ("class:c1", "random:0.2"))
    assert torch.equal(by_class, random)
    assert not torch.equal(random, draw_sets(BLOBS, parse_request("random:0.2"), 1).trained)


def test_a_class_request_takes_the_whole_class_and_its_unseen_samples_are_of_that_class():
    sets = draw_sets(BLOBS, parse_request("class:c1,2"), 0)
    assert set(BLOBS.labels[sets.forget].tolist()) == {1, 2} == set(BLOBS.labels[sets.unseen].tolist())
    assert not set(BLOBS.labels[sets.retain].tolist()) & {1, 2}


def test_drawn_classes_change_with_the_draw_and_are_what_is_forgotten():
    request = parse_request("class:*2")
    drawn = {draw: requested_classes(BLOBS, request, draw) for draw in range(8)}
    assert len(set(drawn.values())) > 1
    assert all(
        set(BLOBS.labels[draw_sets(BLOBS, request, draw).forget].tolist()) == set(c) for draw, c in drawn.items()
    )


def test_a_random_request_takes_its_share_of_every_class():
    sets = draw_sets(BLOBS, parse_request("random:0.25"), 3)
    shares = torch.bincount(BLOBS.labels[sets.forget]) / torch.bincount(BLOBS.labels[sets.trained])
    assert torch.allclose(shares, torch.full((4,), 0.25), atol=0.03)


def test_mislabelled_samples_carry_wrong_labels_and_so_do_the_unseen_ones_and_no_others():
    sets = draw_sets(BLOBS, parse_request("mislabelled:0.2"), 0)
    wrong = (sets.labels != BLOBS.labels).nonzero().flatten()
    assert torch.equal(wrong, torch.cat([sets.forget, sets.unseen]).sort().values)


@pytest.mark.parametrize(("text", "ids"), [("person:*4", BLOBS.people), ("family:*2", BLOBS.families)])
def test_forgotten_and_unseen_people_are_whole_and_different(text, ids):
    sets = draw_sets(BLOBS, parse_request(text), 0)
    groups = [set(ids[getattr(sets, name)].tolist()) for name in ("forget", "retain", "unseen", "validation")]
    assert len(groups[0]) == int(text[-1])
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_unseen_people_have_the_mix_of_sexes_of_those_who_are_forgotten():
    sexes = (BLOBS.people % 2) if BLOBS.people is not None else None
    known = dataclasses.replace(BLOBS, sexes=sexes)
    of_person = {int(person): int(sex) for person, sex in zip(BLOBS.people, sexes, strict=True)}
    names = [name for place, name in enumerate(BLOBS.person_names) if of_person[place] == 1]
    for name in names:
        try:
            sets = draw_sets(known, parse_request(f"person:{name}"), 0)
        except UnknownNameError:  # held out at this draw
            continue
        assert set(sexes[sets.unseen].tolist()) <= {1}
        return
    pytest.fail("no person of this sex is in the training set")


def test_the_official_list_forgets_whole_families_and_compares_with_other_families():
    official = (BLOBS.families == 1).nonzero().flatten()
    listed = dataclasses.replace(BLOBS, official=official)
    sets = draw_sets(listed, parse_request("official:list"), 0)
    assert torch.equal(sets.forget, official)
    assert 1 not in BLOBS.families[torch.cat([sets.unseen, sets.validation, sets.population])].tolist()
    assert not set(BLOBS.families[sets.unseen].tolist()) & set(BLOBS.families[sets.trained].tolist())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clas:5", "class"),
        ("class:", "what to forget"),
        ("random:0", "between 0 and 1"),
        ("random:1", "between 0 and 1"),
        ("random:nan", "between 0 and 1"),
        ("random:much", "between 0 and 1"),
        ("indices:1,x", "whole numbers"),
        ("indices:@no-such-file", "cannot read"),
        ("person:*0", "draws N"),
        ("class:,", "nothing to forget"),
        ("official:other", "official:list"),
    ],
)
def test_a_request_that_cannot_be_read_says_what_was_expected(text, says):
    with pytest.raises(ForgetError, match=says.replace("*", r"\*")):
        parse_request(text)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("class:c9", UnknownNameError, "c0, c1, c2, c3"),
        ("class:c0,c1,c2,c3", ForgetError, "whole training set"),
        ("class:*4", ForgetError, "only 4 classes"),
        ("random:0.001", ForgetError, "forget nothing"),
        ("indices:999999", ForgetError, "192 samples"),
        ("official:list", ForgetError, "no published list"),
        ("person:nobody", UnknownNameError, "Unknown person"),
        ("person:*500", ForgetError, "ask for fewer"),
    ],
)
def test_a_request_that_does_not_fit_the_data_is_refused(text, error, says):
    with pytest.raises(error, match=says):
        draw_sets(BLOBS, parse_request(text), 0)


def test_names_are_safe_for_folders():
    name = parse_request("class:../x,a b").name
    assert "/" not in name
    assert " " not in name
