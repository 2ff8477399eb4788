import dataclasses
import json

import numpy as np
import pytest
import torch

from forget_lib.attacks import ATTACKS
from forget_lib.core import user_code
from forget_lib.core.errors import ForgetError, UnknownNameError
from forget_lib.show import answer_table, figures, findings, overview
from forget_lib.study import measure, records
from forget_lib.study import run as study
from forget_lib.unlearning import METHODS, list_methods, method
from tests.conftest import write_folder

SOME = {"finetune": {"epochs": 1}, "uniform_kl": {"forget_rate": 0.05, "retain_rate": 0.02}}


def value(table, name: str, metric: str) -> float:
    return table[(table["method"] == name) & (table["metric"] == metric)]["value"].item()


def test_the_retrained_model_does_not_know_the_forgotten_class_and_the_original_does(scenario):
    table = study.run_methods(scenario, SOME)
    assert value(table, "original", "forget_accuracy") > 0.9
    assert value(table, "retrain", "forget_accuracy") == 0
    assert value(table, "retrain", "test_accuracy_retained") > 0.9
    assert value(table, "retrain", "relative_cost") == pytest.approx(1.0)
    assert value(table, "original", "tug_of_war") < value(table, "second_retrain", "tug_of_war") <= 1
    assert value(table, "original", "js_divergence_forget") > value(table, "second_retrain", "js_divergence_forget")
    assert value(table, "finetune", "relative_cost") == pytest.approx(1 / 4)


def test_what_is_on_disk_is_not_made_again(scenario, monkeypatch):
    first = study.run_methods(scenario, SOME)
    monkeypatch.setattr(study, "train", None)
    monkeypatch.setattr(study, "unlearn", None)
    assert study.run_methods(scenario, SOME).equals(first)


@pytest.mark.fault("Two data sets or nets of one name")
def test_two_folders_of_one_name_leave_records_of_their_own_that_name_no_folder(blobs, tmp_path):
    recipe = {"epochs": 1, "batch_size": 16, "learning_rate": 0.05}
    for site, each in (("a", 20), ("b", 30)):
        images = write_folder(blobs, tmp_path / site / "mnist", each)
        fields = {"dataset": f"own:{images}", "model": "mlp", "request": "class:c1"}
        study.run_methods(study.make_scenario(tmp_path / "results", recipe, (), **fields), {"finetune": {}})
    runs = records.load(tmp_path / "results")
    part = runs[(runs["method"] == "finetune") & (runs["metric"] == "test_accuracy")]
    assert sorted(part["n"]) == [16, 24]
    assert part["dataset"].nunique() == 2
    assert not set(part["dataset"]) & {"mnist"}
    for path in (tmp_path / "results").rglob("run.json"):
        assert str(tmp_path) not in path.read_text()


def test_a_changed_setting_reruns_that_method_alone(scenario, monkeypatch):
    study.run_methods(scenario, SOME)
    ran = []
    real = study.unlearn
    monkeypatch.setattr(
        study, "unlearn", lambda name, *rest, **settings: ran.append(name) or real(name, *rest, **settings)
    )
    study.run_methods(scenario, SOME | {"finetune": {"epochs": 2}})
    assert ran == ["finetune"]


def test_a_record_holds_everything_needed_to_redo_it(scenario):
    study.run_method(scenario, "finetune")
    run = json.loads((scenario.folder("finetune") / "run.json").read_text())
    wanted = {
        "settings",
        "recipe",
        "data_checksum",
        "seed",
        "draw",
        "versions",
        "commit",
        "cost",
        "measurements",
        "source",
    }
    assert wanted <= set(run)
    assert run["settings"] == METHODS["finetune"].settings | {"epochs": 1}  # a fifth of a short training


def test_what_a_method_says_of_its_run_is_in_its_record_and_in_the_table(scenario):
    @method("certain", title="", paper="", uses="forget", family="test")
    def certain(model, task):
        task.facts.update(epsilon=1.5, refitted=True, unit="sample")
        return model

    try:
        table = study.run_methods(scenario, {"certain": {}, "finetune": {}})
    finally:
        METHODS.pop("certain")
    run = json.loads((scenario.folder("certain") / "run.json").read_text())
    assert run["facts"] == {"epsilon": 1.5, "refitted": True, "unit": "sample"}
    rows = table.drop_duplicates("method").set_index("method")
    assert rows.loc["certain", ["fact_epsilon", "fact_refitted", "fact_unit"]].tolist() == [1.5, True, "sample"]
    assert np.isnan(rows.loc["finetune", "fact_epsilon"])


def test_the_same_scenario_twice_gives_the_same_numbers(scenario, tmp_path):
    other = dataclasses.replace(scenario, root=tmp_path / "other")
    first, second = (study.run_methods(each, SOME) for each in (scenario, other))
    timed = first["metric"] == "seconds"
    assert np.array_equal(first["value"][~timed], second["value"][~timed], equal_nan=True)


def test_requests_that_keep_the_training_set_share_the_original(scenario, monkeypatch):
    study.original(scenario)
    monkeypatch.setattr(study, "train", None)
    study.original(dataclasses.replace(scenario, request="random:0.2"))


def test_the_original_of_mislabelled_data_keeps_its_weights(blobs, tmp_path):
    recipe = {"epochs": 2, "batch_size": 16}
    noisy = study.make_scenario(tmp_path, recipe, dataset="blobs", model="mlp", request="mislabelled:0.2")
    study.run_methods(noisy, {"finetune": {}})
    first = study.original(noisy).state_dict()
    assert all(
        torch.equal(first[name], tensor) for name, tensor in study.load_model(noisy, "original").state_dict().items()
    )
    assert records.read_state(noisy.folder("original", request="all-with-mislabelled-0.2"))


def test_a_damaged_original_is_trained_again(scenario, capsys):
    before = study.original(scenario).state_dict()
    path = scenario.folder("original", request="all") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    after = study.original(scenario).state_dict()
    assert "trained again" in capsys.readouterr().out
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", list_methods())
def test_no_method_sees_unseen_population_or_test_data(scenario, name):
    task = study.make_task(scenario)
    there = {field.name for field in dataclasses.fields(task)}
    assert not there & {"unseen", "population", "test", "retrained"}
    allowed = torch.cat([scenario.samples[part].images for part in ("trained", "validation")]).flatten(1)
    for part in (task.forget, task.retain, task.validation):
        assert all((allowed == image.flatten()).all(1).any() for image in part.images)


def test_divergence_and_inapplicability_are_recorded_and_the_study_goes_on(scenario):
    @method("explodes", title="", paper="", uses="forget", family="test")
    def explodes(model, task):
        for parameter in model.parameters():
            parameter.data.fill_(float("nan"))
        return model

    @method("needs_scores", title="", paper="", uses="forget", family="test", needs=("memorisation scores",))
    def needs_scores(model, task):
        return model

    try:
        table = study.run_methods(scenario, {"explodes": {}, "needs_scores": {}, "finetune": {}})
    finally:
        METHODS.pop("explodes"), METHODS.pop("needs_scores")
    status = table.drop_duplicates("method").set_index("method")
    assert status.loc["explodes", "status"] == "failed"
    assert "not finite" in status.loc["explodes", "reason"]
    assert status.loc["needs_scores", "status"] == "not applicable"
    assert status.loc["finetune", "status"] == "done"
    assert "memorisation scores" in findings.gaps_shown(table).loc["needs_scores", "note"]


def test_wrong_names_and_settings_are_refused_before_anything_runs(scenario, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'finetune'"):
        study.run_methods(scenario, {"fine_tune": {}})
    with pytest.raises(ForgetError, match="learning_rate"):
        study.run_methods(scenario, {"finetune": {"rate": 1}})
    with pytest.raises(ForgetError, match="expected a number above 0"):
        study.run_methods(scenario, {"finetune": {"learning_rate": "high"}})
    with pytest.raises(UnknownNameError, match="Unknown data set"):
        study.make_scenario(tmp_path, dataset="mnits", model="mlp", request="class:1")
    with pytest.raises(UnknownNameError, match="Unknown attack"):
        study.make_scenario(tmp_path, attacks=["loss"], dataset="blobs", model="mlp", request="class:1")
    assert not list(tmp_path.rglob("run.json"))


def test_the_person_is_the_unit_of_requests_about_people_and_of_published_lists(tmp_path):
    asked = {"person:*2": True, "family:*1": True, "official:list": True, "class:c1": False, "random:0.1": False}
    assert {text: study.Scenario(tmp_path, "blobs", "mlp", text).groups_people for text in asked} == asked


def test_uniform_kl_keeps_the_metrics_of_every_epoch_from_zero(scenario):
    import pandas as pd

    study.run_methods(scenario, SOME | {"uniform_kl": {"epochs": 3}})
    history = pd.read_csv(scenario.folder("uniform_kl") / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2, 3]
    assert history["forget_accuracy"].iloc[0] > 0.9


def test_a_probe_finds_what_only_the_output_hides(blobs, tmp_path):
    recipe = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05}
    attacks = ["linear_probe", "reidentification", "verification"]
    hidden = study.make_scenario(tmp_path, recipe, attacks, dataset="blobs", model="mlp", request="class:c1")
    table = study.run_methods(hidden, {"mask_logit": {}})
    assert value(table, "mask_logit", "forget_accuracy") == 0
    assert value(table, "mask_logit", "probe_recall_forgotten") == value(table, "original", "probe_recall_forgotten")
    assert value(table, "original", "rank_1_forgotten") > 0.5
    assert 0 <= value(table, "retrain", "equal_error_rate") <= 1


def test_methods_that_need_the_training_log_get_it(scenario):
    table = study.run_methods(scenario, {"amnesiac": {}})
    assert table[table["method"] == "amnesiac"]["status"].eq("done").all()


def test_every_recorded_model_can_be_loaded_again_also_an_ensemble(scenario):
    study.run_methods(scenario, {"finetune": {}, "sisa": {"shards": 2, "vote": "argmax"}})
    for name in ("finetune", "sisa"):
        logits = study.predict(study.load_model(scenario, name), scenario.samples["forget"])
        assert torch.equal(logits, torch.from_numpy(records.read_predictions(scenario.folder(name))["forget_logits"]))


def test_weights_of_another_shape_are_refused_with_what_to_do(scenario):
    study.run_method(scenario, "finetune")
    folder = scenario.folder("finetune")
    records.write_record(folder, records.read_record(folder), state={"head.bias": torch.zeros(2)})
    with pytest.raises(ForgetError, match="do not fit mlp; delete the folder"):
        study.load_model(scenario, "finetune")


NETS = """
import torch
from torch import nn


class Moody(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body, self.last = nn.Flatten(), nn.Linear(64, num_classes)

    def forward(self, images):
        if images.requires_grad:
            raise KeyError("no gradient, please")
        return self.last(self.body(images))
"""


@pytest.mark.fault("A net, method or attack that raises")
def test_a_built_in_method_that_raises_on_someones_net_is_a_failed_record_that_is_named_and_the_rest_goes_on(
    blobs, tmp_path, monkeypatch
):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    (tmp_path / "nets.py").write_text(NETS)
    keys = {"dataset": "blobs", "model": f"{tmp_path}/nets.py:Moody", "request": "class:c1"}
    moody = study.make_scenario(tmp_path / "results", {"epochs": 2, "batch_size": 16}, (), **keys)
    table = study.run_methods(moody, {"boundary_shrink": {}, "finetune": {}})
    status = table.drop_duplicates("method").set_index("method")[["status", "reason"]]
    assert status.loc["finetune", "status"] == "done"
    assert status.loc["boundary_shrink", "status"] == "failed"
    words = "boundary_shrink failed on the net Moody: KeyError: 'no gradient, please' (nets.py, line 13)."
    assert status.loc["boundary_shrink", "reason"] == words
    assert figures.comparison(table).loc["boundary_shrink"].unique().tolist() == ["failed"]
    assert findings.gaps_shown(table).loc["boundary_shrink", "note"] == f"failed ({words.rstrip('.')})"
    assert "failed: boundary_shrink" in figures.scenario_of(table)
    found = overview.answers(table)
    assert found.set_index("method").loc["boundary_shrink", ["verdict", "failed", "runs"]].tolist() == ["failed", 1, 1]
    assert "✕ failed" in answer_table.answer_page(overview.by_kind(found))
    assert overview.failing(found) == ["boundary_shrink (1 of 1 runs)"]
    figures.plt.close("all")


@pytest.mark.fault("A net, method or attack that raises")
def test_a_net_that_cannot_be_trained_is_named_with_the_error_and_its_line(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    (tmp_path / "nets.py").write_text(NETS.replace("images.requires_grad", "torch.is_grad_enabled()"))
    keys = {"dataset": "blobs", "model": f"{tmp_path}/nets.py:Moody", "request": "class:c1"}
    moody = study.make_scenario(tmp_path / "results", {"epochs": 2, "batch_size": 16}, (), **keys)
    with pytest.raises(ForgetError, match=r"^nets\.py:Moody cannot be trained.*KeyError.*\(nets\.py, line 13\)"):
        study.run_methods(moody, {"finetune": {}})


SMALL_BATCHES = """
import torch
from torch import nn
class Few(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
    def forward(self, images):
        assert len(images) <= 16, "too many"
        return self.last(images)
class Frozen(Few):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.requires_grad_(False)
"""


@pytest.mark.fault("A net, method or attack that raises")
def test_a_net_that_takes_small_batches_only_is_refused_before_it_is_trained(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    (tmp_path / "nets.py").write_text(SMALL_BATCHES)
    keys = {"dataset": "blobs", "model": f"{tmp_path}/nets.py:Few", "request": "class:c1"}
    few = study.make_scenario(tmp_path / "results", {"epochs": 2, "batch_size": 16}, (), **keys)
    monkeypatch.setattr(study, "train", pytest.fail)
    with pytest.raises(ForgetError, match=r"^nets\.py:Few cannot be .*AssertionError: too many \(nets\.py, line 9\)"):
        study.run_methods(few, {"finetune": {}})


@pytest.mark.fault("A net, method or attack that raises")
def test_a_net_whose_weights_are_all_frozen_is_refused_at_the_door(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    (tmp_path / "nets.py").write_text(SMALL_BATCHES)
    keys = {"dataset": "blobs", "model": f"{tmp_path}/nets.py:Frozen", "request": "class:c1"}
    with pytest.raises(ForgetError, match=r"nets\.py:Frozen.*every weight .*frozen"):
        study.make_scenario(tmp_path / "results", {"epochs": 2, "batch_size": 16}, (), **keys)


@pytest.mark.fault("A net, method or attack that raises")
def test_a_net_that_cannot_be_measured_after_a_method_is_a_failed_record(scenario, monkeypatch):
    study.original(scenario)

    def broken(*_: object) -> None:
        raise IndexError("oh")

    monkeypatch.setattr(measure, "evaluate", broken)
    record = study.run_method(scenario, "finetune")
    assert record["status"] == "failed"
    assert record["reason"].startswith("finetune could not be measured on mlp: IndexError: oh (test_run.py, line ")


@pytest.mark.fault("A net, method or attack that raises")
def test_an_attack_that_raises_has_no_result_and_says_so(scenario, monkeypatch, capsys):
    entry = ATTACKS["loss_regression"]

    def broken(_inputs: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(ATTACKS, "loss_regression", dataclasses.replace(entry, function=broken))
    assert study.run_method(scenario, "finetune")["without_result"] == ["loss_regression"]
    assert "attack loss_regression: no result, ZeroDivisionError: oh" in capsys.readouterr().out
