"""What is on disk, and the models of a study, without a browser."""

import dataclasses
from pathlib import Path

import pytest
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import load
from forget_lib.datasets.requests import request_for
from forget_lib.demo import find_entries, open_bench, studies
from forget_lib.study import run
from forget_lib.study.scenario import Scenario
from tests.conftest import make_blobs
from tests.demo_study import make_records


def test_the_scenarios_on_disk_are_found_with_their_methods(root):
    (entry,) = find_entries(root)
    assert (entry.dataset, entry.model, entry.request) == ("mnist", "mlp", "class:5")
    assert set(entry.methods) == {"finetune", "uniform_kl"}


def scenario_of(monkeypatch, request: str, **fields) -> Scenario:
    """A scenario on the blobs with other fields; nothing is loaded or trained."""
    data = dataclasses.replace(make_blobs(), **fields)
    monkeypatch.setattr("forget_lib.study.scenario.load", lambda _name, _start: data)
    return Scenario(Path("results"), "blobs", "mlp", request)


REQUESTS = ["class:c1", "class:c1,c2", "class:*1", "random:0.1", "mislabelled:0.25", "person:p 3", "family:*2"]
REQUESTS += ["family:f1", "indices:3,17,5"]


@pytest.mark.parametrize("text", REQUESTS)
def test_a_record_holds_its_request_as_a_text_that_forgets_the_same(text, monkeypatch):
    names = tuple("p 3" if index == 3 else f"p{index}" for index in range(20))
    asked = scenario_of(monkeypatch, text, person_names=names)
    again = asked.asking(asked.request_text)
    assert again.parsed == asked.parsed
    assert again.request_text == asked.request_text


def test_indices_of_a_file_stand_in_the_record_themselves(tmp_path, monkeypatch):
    (tmp_path / "gone.txt").write_text("7\n03\n")
    assert scenario_of(monkeypatch, f"indices:@{tmp_path}/gone.txt").request_text == "indices:7,3"


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize(
    "names",
    [["Doe, Jane"], ["Doe"], ["Doe", "Jane"], ["*3"], ["any3"], ["anyone"], ["p_3"], ["p 3", "Doe, Jane"], ["7"]],
)
def test_the_text_of_a_record_names_exactly_its_people(names, monkeypatch):
    odd = ("Doe, Jane", "Doe", "Jane", "*3", "any3", "anyone", "p_3", "p 3", "007", "7")
    people = (*odd, *(f"p{index}" for index in range(10, 20)))
    asked = scenario_of(monkeypatch, request_for(make_blobs(), "person", names), person_names=people)
    again = asked.asking(asked.request_text)
    assert again.parsed.members == asked.parsed.members == tuple(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class:5", "class 5"),
        ("class:anyone", "class anyone"),
        ("class:5,7", "class 5, 7"),
        ("class:*8", "8 classes"),
        ("class:*1", "one class"),
        ("person:*20", "20 people"),
        ('person:["Doe, Jane", "*3"]', "person Doe, Jane, *3"),
        ("random:0.1", "10 % of the images at random"),
        ("mislabelled:0.2", "the 20 % of the images that are mislabelled"),
        ("indices:3,17,5", "3 chosen images"),
        ("official:list", "the published list"),
    ],
)
def test_a_request_is_named_in_words(text, words):
    assert studies.request_words(text) == words


@pytest.mark.parametrize(
    ("dataset", "text", "words"),
    [
        ("mnist", "class:5", "digit 5"),
        ("synthetic_identity", "class:*1", "one person"),
        ("cifar10", "class:*2", "2 classes"),
    ],
)
def test_classes_are_what_the_data_set_shows(dataset, text, words):
    assert studies.request_words(text, dataset) == words


def test_a_class_that_is_gone_is_an_error_that_says_so(root):
    (entry,) = find_entries(root)
    with pytest.raises(ForgetError, match="zebra"):
        open_bench(dataclasses.replace(entry, request="class:zebra"), root)


def test_models_of_other_data_are_refused(root, monkeypatch):
    data = dataclasses.replace(load("mnist", "sample"), checksum="other")
    monkeypatch.setattr("forget_lib.study.scenario.load", lambda _name, _start: data)
    with pytest.raises(ForgetError, match="other data"):
        open_bench(find_entries(root)[0], root)


def test_a_request_by_index_comes_back(tmp_path):
    make_records(tmp_path, request="indices:3,5,8,13,21,34")
    (entry,) = find_entries(tmp_path)
    assert entry.label == "Handwritten digits: forget 6 chosen images"
    bench = open_bench(entry, tmp_path)
    assert bench.scenario.sets.forget.tolist() == [3, 5, 8, 13, 21, 34]
    assert len(bench.samples("forget")) == 6


def test_opening_never_trains(root, monkeypatch):
    monkeypatch.setattr(run, "train", lambda *_, **__: pytest.fail("the page trained a model"))
    bench = open_bench(find_entries(root)[0], root)
    for name in bench.titles:
        found = bench.probabilities(name, bench.samples("test").images[:3])
        assert found.sum(1) == pytest.approx(torch.ones(3))
