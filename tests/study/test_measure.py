"""What is measured on models for the figures: relearning, likeness of layers, maps of the embedding."""

import dataclasses
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch

from forget_lib.attacks import WeightsInput, get_attack
from forget_lib.attacks.relearning import relearned, relearning_curve
from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import build
from forget_lib.models.train import embed
from forget_lib.study import measure, records
from forget_lib.study import run as study
from forget_lib.unlearning.parts.voting import Voting


@pytest.fixture
def asked(scenario):
    return dataclasses.replace(scenario, attacks=("loss_regression", "relearning"))


@pytest.fixture
def table(asked) -> pd.DataFrame:
    return study.run_methods(asked, {"uniform_kl": {}, "mask_logit": {}})


def value(table, method, metric, item=""):
    rows = (table["method"] == method) & (table["metric"] == metric) & (table["item"] == item)
    return table[rows]["value"].item()


def test_hidden_knowledge_comes_back_sooner_than_what_was_never_there(table):
    assert value(table, "original", "relearning_steps") == 0
    assert value(table, "original", "anamnesis_index") == 0
    assert value(table, "retrain", "relearning_steps") > 0
    assert 0.3 < value(table, "second_retrain", "anamnesis_index") < 3
    assert value(table, "retrain", "relearned_accuracy", "0") == value(table, "retrain", "forget_accuracy")


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> pd.DataFrame:
    """Models of a training of six epochs, and methods that train for two of them, or several nets anew."""
    given = {"dataset": "mnist14", "model": "mlp", "request": "class:5", "start": "sample"}
    recipe = {"epochs": 6, "batch_size": 64, "learning_rate": 0.02}
    asked = study.make_scenario(tmp_path_factory.mktemp("long"), recipe, ("relearning",), **given)
    return study.run_methods(asked, {"eu_k": {"k": 2, "epochs": 2}, "sisa": {}, "mask_logit": {}})


def test_relearning_is_compared_with_a_retraining_of_the_same_length(long):
    counts = long[long["metric"] == "retrain_relearning_steps"].set_index("item")["value"]
    assert list(counts.index) == ["2", "5", "6"]
    assert set(long.loc[long["metric"] == "retrain_relearning_steps", "method"]) == {"retrain"}
    nulls = {"eu_k": 2, "sisa": 6, "second_retrain": 6, "mask_logit": 2}
    for method, epochs in nulls.items():
        assert value(long, method, "relearning_null_epochs") == epochs
        ratio = value(long, method, "relearning_steps") / counts[str(epochs)]
        assert value(long, method, "anamnesis_index") == pytest.approx(ratio)


def test_what_was_trained_anew_is_not_told_sooner_or_later_for_its_length_or_its_number_of_nets(long):
    for method in ("eu_k", "sisa", "second_retrain"):
        assert 0.65 < value(long, method, "anamnesis_index") < 1.5
    assert value(long, "mask_logit", "anamnesis_index") < 1
    assert value(long, "original", "anamnesis_index") == 0


def test_the_rate_is_such_that_the_retrained_model_needs_twenty_batches(long):
    assert 20 <= value(long, "retrain", "relearning_steps") < 240
    assert value(long, "retrain", "retrain_relearning_cut", "6") == 0
    assert value(long, "retrain", "relearning_rate") in [0.002 * factor for factor in measure.FACTORS]


def test_a_censored_null_gives_no_verdict(asked, monkeypatch):
    monkeypatch.setattr(measure, "FACTORS", (1e-9,))
    table = study.run_methods(asked, {})
    assert set(table.loc[table["metric"] == "retrain_relearning_cut", "value"]) == {1}
    assert "anamnesis_index" not in set(table["metric"])
    assert value(table, "second_retrain", "relearning_cut") == 1


def test_models_that_vote_relearn_each_at_the_pace_of_one():
    forget = Samples(torch.randint(0, 255, (64, 1, 4, 4), dtype=torch.uint8), torch.arange(64) % 2)
    nets = [build("mlp", (1, 4, 4), 2, seed=0) for _ in range(3)]
    alone, together = (islice(relearned(net, forget, 0.1), 4) for net in (nets[0], Voting(nets)))
    for one, three in zip(alone, together, strict=True):
        assert torch.equal(one.head.weight, three.members[2].head.weight)


def test_relearning_counts_batches_and_leaves_the_model_as_it_was():
    images = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    forget = Samples(images, torch.ones(8, dtype=torch.int64))
    model = build("mlp", (1, 4, 4), 2, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    curve = relearning_curve(WeightsInput(model, forget, 1.0, learning_rate=1.0), (0, 1, 5))
    assert list(curve) == [0, 1, 5]
    assert curve[5] == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    stuck = {m.metric: m.value for m in get_attack("relearning")(WeightsInput(model, forget, 1.0, learning_rate=1e-9))}
    assert (stuck["relearning_cut"], stuck["relearning_steps"]) in ((1.0, 240.0), (0.0, 0.0))
    with pytest.raises(ForgetError, match="positive rate"):
        WeightsInput(model, forget, 1.0, learning_rate=0.0)


def test_a_model_is_alike_to_itself_and_less_to_one_trained_apart(table):
    layers = list(table[table["metric"] == "cka_to_retrain"]["item"].unique())
    assert layers == ["body.1", "head"]
    for layer in layers:
        assert 0 <= value(table, "original", "cka_to_retrain", layer) <= 1
    assert value(table, "mask_logit", "cka_to_original", "body.1") == pytest.approx(1, abs=1e-6)
    assert value(table, "second_retrain", "cka_to_original", "body.1") < 0.999


def test_a_record_that_was_made_again_is_compared_with_anew(table, asked):
    folder, other = asked.folder("retrain"), asked.folder("second_retrain")
    model = study.load_model(asked, "retrain")

    def likeness() -> list[float]:
        return [measured.value for measured in measure.layer_likeness(asked, model, {"retrain": folder})]

    assert likeness() == pytest.approx([1, 1], abs=1e-6)
    run = {key: entry for key, entry in records.read_record(folder).items() if key != "files"}
    records.write_record(folder, run | {"key": "another"}, state=records.read_state(other))
    assert max(likeness()) < 0.999


def test_probes_share_embeddings_and_measure_what_each_measures_alone(asked, monkeypatch):
    probes = ("linear_probe", "nearest_class_mean", "reidentification", "verification")
    model, embedded = study.original(asked), []

    def watched(model, samples):
        embedded.append(len(samples))
        return embed(model, samples)

    monkeypatch.setattr(measure, "embed", watched)
    together, _ = study.evaluate(asked, model, ("test",), probes)
    assert sorted(embedded) == sorted(len(asked.samples[part]) for part in ("trained", "validation", "test"))
    alone = [study.evaluate(asked, model, ("test",), (name,))[0] for name in probes]
    for name, found in zip(probes, alone, strict=True):
        assert [each for each in together if each.attack == name] == [each for each in found if each.attack == name]
    assert embedded[3:7] == 2 * [len(asked.samples["trained"]), len(asked.samples["test"])]


def test_a_random_request_maps_forget_samples(asked):
    random = dataclasses.replace(asked, request="random:0.2")
    samples, number = measure.map_samples(random)
    assert number == min(measure.MAP_FORGET, len(random.samples["forget"]))
    assert torch.equal(samples.images[:number], random.samples["forget"].images[:number])


@pytest.mark.usefixtures("table")
def test_records_keep_the_arrays(asked):
    arrays = records.read_predictions(asked.folder("original"))
    assert arrays["map_embedding"].dtype == np.float16
    assert len(arrays["map_labels"]) == len(arrays["map_embedding"]) == len(arrays["map_forgotten"])


def test_an_embedding_that_diverged_is_cut_and_stays_finite(scenario):
    model = study.original(scenario)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e4)
    assert np.isfinite(measure.embeddings(scenario, model)["map_embedding"]).all()
