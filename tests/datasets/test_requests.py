import dataclasses
import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forget_lib.core.errors import ForgetError, UnknownNameError
from forget_lib.core.names import request_text
from forget_lib.datasets.requests import (
    draw_sets,
    forgotten_words,
    parse_request,
    request_for,
    requested_classes,
    resolve,
)
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


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_a_person_of_a_class_that_nobody_unseen_has_is_forgotten_all_the_same():
    labels = torch.zeros_like(BLOBS.labels)
    labels[:10] = 1
    alone = dataclasses.replace(BLOBS, labels=labels)
    draws = [draw for draw in range(9) if 0 in alone.people[draw_sets(alone, parse_request("person:*1"), draw).trained]]
    sets = draw_sets(alone, parse_request("person:p0"), draws[0])
    assert (len(sets.forget), len(sets.unseen)) == (10, 0)


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize("content", [b"1\n2\n", b"1\r\n2\r\n", b"1, 2", b"\xef\xbb\xbf1\n2\n"])
def test_a_file_of_indices_is_read_as_programs_write_it(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert parse_request(f"indices:@{tmp_path}/list.txt").members == ("1", "2")


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_an_index_that_is_written_in_two_ways_is_one_image(tmp_path):
    (tmp_path / "i.txt").write_text("3\n03\n5\n")
    for text in ("indices:3,03,5", f"indices:@{tmp_path / 'i.txt'}"):
        assert parse_request(text).members == ("3", "5")


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


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_no_two_requests_share_a_folder():
    names = ["person:Ann Lee", "person:Ann_Lee", "person:Ann-Lee", "person:*3", "person:any3", "person:Doe,Jane"]
    lists = [["Doe, Jane"], ["*3"], ["Doe+Jane"], ["a,b" * 20, "c"], ["a" * 60, "b,c"], ["a" * 60 + ",b", "c"]]
    requests = [*names, *(request_text({"person": each}) for each in lists)]
    assert len({parse_request(text).name for text in requests}) == len(requests)


# --- names that look like something else ------------------------------------------------------------------------------


def named(*names: str):
    """The blobs with other names of the classes, or, for more than four, of the people."""
    if len(names) == 4:
        return dataclasses.replace(BLOBS, classes=names)
    return dataclasses.replace(BLOBS, person_names=(*names, *BLOBS.person_names[len(names) :]))


def meant(data, text: str) -> tuple[str, ...]:
    """The names that a request resolves to, by what `requested_classes` says for classes."""
    request = parse_request(text)
    if request.kind == "class":
        return tuple(data.classes[index] for index in requested_classes(data, request))
    return resolve(data, request).members


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize(
    ("names", "text", "right"),
    [
        (("001", "002", "003", "004"), "class:3", ("003",)),
        (("001", "002", "003", "004"), "class:003,1", ("003", "001")),
        (("2", "3", "5", "7"), "class:3", ("3",)),
        (("2", "3", "5", "7"), "class:03", ("3",)),
        (("0003", "0001", "0002", "0004"), "class:3", ("0003",)),
        (("1.0", "2.0", "3.0", "4.0"), "class:2", ("2.0",)),
        (("-1", "1", "a", "b"), "class:1", ("1",)),
        (("a", "b", "c", "d"), "class:3", ("d",)),
        (("a", "2-3", "c", "d"), "class:2", ("c",)),
    ],
)
def test_a_number_is_a_name_where_names_are_numbers(names, text, right):
    assert meant(named(*names), text) == right


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize(
    ("names", "text", "says"),
    [
        (("001", "002", "003", "004"), "class:0", "Unknown class of blobs '0'"),
        (("2", "3", "5", "7"), "class:1,4,5", "Unknown class of blobs '1', '4'"),
        (("10", "20", "30", "40"), "class:2", "Unknown class"),
        (("3", "dog", "cat", "owl"), "class:1", "Unknown class"),
        (("03", "003", "cat", "owl"), "class:3", "could be any of 03, 003"),
        (("12345678901234567890", "5", "6", "7"), "class:12345678901234567891", "Unknown class"),
    ],
)
def test_a_number_that_is_no_name_is_refused_where_names_are_numbers(names, text, says):
    with pytest.raises(ForgetError, match=says):
        draw_sets(named(*names), parse_request(text))


PEOPLE = named("Doe, Jane", "Doe", "Jane", "*3", "007", "7", "Ann Lee", "[x]")


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("person:Doe, Jane", ("Doe, Jane",)),
        ("person:Doe", ("Doe",)),
        ("person:*3", ("*3",)),
        ("person:7", ("7",)),
        ("person:007,*3", ("007", "*3")),
        ("person:[x]", ("[x]",)),
        ('person:["Doe, Jane", "*3"]', ("Doe, Jane", "*3")),
        ("person:[Doe, Jane]", ("Doe", "Jane")),
        ("person:[7, 007]", ("7", "007")),
    ],
)
def test_an_exact_name_comes_first(text, right):
    assert meant(PEOPLE, text) == right
    assert resolve(PEOPLE, parse_request(request_for(PEOPLE, "person", right))).members == right
    assert resolve(PEOPLE, resolve(PEOPLE, parse_request(text))).members == right


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize("text", ["person:Doe,Jane", "person:Ann Lee, Doe, Jane", "person:Doe , Jane,7"])
def test_parts_of_a_name_with_a_comma_are_refused(text):
    with pytest.raises(ForgetError, match=r'\'Doe, Jane\' is one name. Write names in a list: person:\["Doe, Jane"\]'):
        resolve(PEOPLE, parse_request(text))


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_the_folder_of_a_request_is_that_of_the_names_meant():
    whole, both = (resolve(PEOPLE, parse_request(text)).name for text in ("person:Doe, Jane", "person:[Doe, Jane]"))
    assert whole != both == "person-Doe+Jane"
    assert resolve(PEOPLE, parse_request("person:*3")).name != parse_request("person:*3").name == "person-any3"


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"class": [10, "a"]}, "holds 10; write names that look like numbers in quotes"),
        ({"class": [False]}, "in quotes"),
        ({"class": "a"}, "one kind with a list"),
        ({"class": ["a"], "person": ["b"]}, "one kind with a list"),
        ({"random": [0.1]}, "Unknown kind of request with a list"),
        ({"indices": ["a"]}, "whole numbers"),
        ({"class": []}, "one kind with a list"),
    ],
)
def test_a_list_that_is_no_request_is_refused(given, says):
    with pytest.raises(ForgetError, match=says):
        request_text(given)


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_a_list_becomes_text_and_is_read_back():
    assert parse_request(request_text({"person": ["Doe, Jane", "ü\u2028"]})).members == ("Doe, Jane", "ü\u2028")
    assert request_text({"indices": [3, 17]}) == "indices:3,17"
    assert request_text("class:5") == "class:5"


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_what_goes_is_told_by_index_and_name():
    data = named("001", "002", "003", "004")
    assert forgotten_words(data, parse_request("class:3,1"), draw_sets(data, parse_request("class:3,1"))) == (
        "001 (index 0), 003 (index 2)"
    )
    request = parse_request("indices:3,17")
    files = dataclasses.replace(data, files=tuple(f"{index}.png" for index in range(len(data.labels))))
    assert forgotten_words(files, request, draw_sets(files, request)) == "3.png (index 3), 17.png (index 17)"
    assert forgotten_words(data, request, draw_sets(data, request)) == "2 images"


@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("held", ["NFC", "NFD"])
@pytest.mark.fault("Names in two spellings of Unicode")
def test_a_name_is_found_in_either_spelling_of_unicode(asked, held):
    spelled = {form: unicodedata.normalize(form, "Zoë, A") for form in ("NFC", "NFD")}
    for kind, data in (("class", named(spelled[held], "b", "c", "d")), ("person", named(spelled[held], *"bcdef"))):
        for text in (f"{kind}:{spelled[asked]}", f'{kind}:["{spelled[asked]}"]'):
            request = resolve(data, parse_request(text))
            assert request.members == (spelled["NFC"],)
            assert resolve(data, request) == request


@pytest.mark.fault("Names in two spellings of Unicode")
def test_two_names_that_are_one_in_two_spellings_are_refused():
    with pytest.raises(ForgetError, match="stands there twice"):
        named(*(unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD")), "c", "d")
