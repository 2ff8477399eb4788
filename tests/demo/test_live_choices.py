"""Forgetting live what the studies forget: a class, a family, a person, and a person whom a recogniser knows."""

import asyncio
import dataclasses
import threading
from collections.abc import Iterator

import pytest

from forget_lib.datasets import load
from forget_lib.datasets.registry import DATASETS, dataset
from forget_lib.demo import find_entries, open_bench
from forget_lib.demo.live import LiveMeter, forget_live
from forget_lib.demo.opening import Opening
from forget_lib.demo.studies import live_choices
from forget_lib.study import run as study

PEOPLE = 6
RECIPE = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05}


@pytest.fixture
def bench(blobs, tmp_path):
    """Blobs of people in families, with originals for requests by class and by person."""
    for request in ("class:c1", "person:*1"):
        scenario = study.make_scenario(tmp_path, RECIPE, (), dataset="blobs", model="mlp", request=request)
        study.run_methods(scenario, {"uniform_kl": {}})
    return open_bench(find_entries(tmp_path)[0], tmp_path)


def run(bench, request: str, method: str = "uniform_kl"):
    seen: list[LiveMeter] = []
    result = forget_live(bench, request, method, threading.Event(), seen.append)
    assert len(seen) == 1, "there is one meter to look at"
    return result


def test_a_class_a_family_and_a_person_can_be_forgotten(bench, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    choices = dict(live_choices(bench))
    data = bench.data
    people = [words for words in choices if choices[words].startswith("person:")]
    families = [words for words in choices if words.startswith("family")]
    assert len(people) < len(data.person_names), "held-out people were never trained on"
    assert families
    for words in ("c2", families[0], people[0]):
        forget = run(bench, choices[words]).scenario.samples["forget"]
        assert 0 < len(forget) < len(data.labels)
    family = data.family_names.index(families[0].removeprefix("family "))
    scenario = run(bench, choices[families[0]]).scenario
    assert set(data.families[scenario.sets.forget].tolist()) == {family}
    assert family not in data.families[scenario.sets.retain].tolist()
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before, "nothing is written"


def test_the_panel_forgets_a_person_to_the_end(bench):
    panel = Opening(lambda _result: None)
    panel.show(bench)
    panel.what.value = next(request for _, request in panel.what.options if request.startswith("person:"))

    async def story() -> None:
        await panel.begin()

    asyncio.run(story())
    assert "Done in" in panel.status.value
    assert panel.models.keys() >= {"original", "unlearned"}


@pytest.fixture
def few_faces() -> Iterator[str]:
    """The first six rendered people of the identity data, at a quarter of their size."""
    data = load("synthetic_identity", "sample")
    fields = {"name": "few_identity", "classes": data.classes[:PEOPLE], "person_names": data.person_names[:PEOPLE]}
    fields["sexes"] = data.sexes[data.labels < PEOPLE]
    for images, labels, people, families in (
        ("images", "labels", "people", "families"),
        ("test_images", "test_labels", "test_people", "test_families"),
    ):
        few = getattr(data, labels) < PEOPLE
        fields[images] = getattr(data, images)[few][..., ::4, ::4].contiguous()
        fields |= {name: getattr(data, name)[few] for name in (labels, people, families)}
    few_data = dataclasses.replace(data, **fields)
    dataset("few_identity")(lambda start: few_data)
    yield "few_identity"
    DATASETS.pop("few_identity")


def test_a_person_is_forgotten_from_a_recogniser_of_faces(few_faces, tmp_path):
    recipe = {"epochs": 20, "batch_size": 16, "learning_rate": 0.03}
    fields = {"dataset": few_faces, "model": "mlp", "request": "class:*2", "start": "sample"}
    study.run_methods(study.make_scenario(tmp_path, recipe, (), **fields), {"finetune": {}})
    bench = open_bench(find_entries(tmp_path)[0], tmp_path)
    words, request = live_choices(bench)[0]
    assert words == "Person 1, man"
    result = run(bench, request, "retrain")
    assert len(result.scenario.classes) == 1
    assert result.after["forget"] < result.before["forget"]
    assert bench.shows_faces
