"""The choice of settings: fair trials, a criterion that no control wins, and a file that says how it came about."""

import dataclasses
import math

import pytest
import torch
import yaml

from forget_lib.core import paths
from forget_lib.core.errors import ForgetError
from forget_lib.datasets import load
from forget_lib.datasets.requests import parse_request
from forget_lib.models.train import Meter
from forget_lib.study import chosen, run, tuning
from forget_lib.unlearning import get_method, list_methods, unlearn
from forget_lib.unlearning.registry import check_settings
from tests.conftest import write_folder
from workflow import tuning as command

SETTINGS = sorted((chosen.FOLDER).glob("*.yaml"))


def blobs_scenario(folder, request="class:c1", **recipe):
    recipe = {"epochs": 10, "batch_size": 16, "learning_rate": 0.05} | recipe
    return run.make_scenario(folder, recipe, (), dataset="blobs", model="mlp", request=request, draw=100, seed=100)


def test_every_method_has_as_many_trials_for_each_kind_of_request():
    spaces = tuning.load_spaces()
    assert set(spaces) <= set(list_methods(controls=False))
    assert not any(get_method(name).exact for name in spaces)
    assert len(spaces) >= 18
    for kinds in spaces.values():
        assert set(kinds) == {"class", "subset"}
        assert all(len({str(trial) for trial in trials}) == tuning.TRIALS for trials in kinds.values())


@pytest.mark.parametrize("path", sorted((tuning.SPACES).glob("spaces*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_spaces_can_be_read(path):
    assert set(tuning.load_spaces(path)) <= set(list_methods(controls=False))


def test_a_space_of_another_size_or_with_unknown_settings_is_refused(tmp_path):
    path = tmp_path / "spaces.yaml"
    path.write_text("finetune: {class: [{learning_rate: 0.1}]}")
    with pytest.raises(ForgetError, match="1 trials; every method gets 6"):
        tuning.load_spaces(path)
    path.write_text("finetune: {class: [" + ", ".join(["{rate: 0.1}"] * 6) + "]}")
    with pytest.raises(ForgetError, match="learning_rate"):
        tuning.load_spaces(path)


def test_tuning_uses_other_classes_and_draws_than_those_reported(blobs):
    def on(text):
        return tuning.tuning_request(parse_request(text), blobs)

    assert on("class:c1") == "class:c2"
    assert on("class:c3,c0") == "class:c1,c2"
    assert on("random:0.1") == "random:0.1"
    assert on("mislabelled:0.2") == "mislabelled:0.2"
    assert on("person:p1,p3") == "person:*2"
    assert on("family:*2") == "family:*2"
    assert on("indices:1,2,3") == f"random:{3 / len(blobs.labels):.3g}"
    with pytest.raises(ForgetError, match="too few other classes"):
        on("class:c0,c1,c2")
    with pytest.raises(ForgetError, match="no published list"):
        on("official:list")
    listed = dataclasses.replace(blobs, official=torch.isin(blobs.families, torch.tensor([0, 2])).nonzero().flatten())
    assert tuning.tuning_request(parse_request("official:list"), listed) == "family:*2"
    assert tuning.DRAW >= 100
    assert tuning.SEED >= 100


def test_the_budget_stops_a_method_and_its_epochs_are_cut_to_fit(blobs, tmp_path):
    scenario = blobs_scenario(tmp_path)
    trial = tuning.run_trial(scenario, "finetune", {"learning_rate": 0.01, "epochs": 9})
    assert trial["settings"] == {"learning_rate": 0.01, "epochs": 2}
    assert trial["status"] == "done"
    assert trial["relative_cost"] == pytest.approx(0.2)
    assert trial["passes"] > 1.9 * 0.2 * 30 * len(scenario.samples["retain"])  # the attempt that was stopped counts too
    too_much = {"noise_count": 500, "noise_steps": 50, "noise_copies": 1}
    trial = tuning.run_trial(scenario, "unsir", too_much)
    assert (trial["status"], trial["score"]) == ("over budget", math.inf)
    assert isinstance(tuning.BudgetMeter(5), Meter)
    with pytest.raises(tuning.OverBudgetError):
        tuning.BudgetMeter(5).add(6)


def test_a_trial_that_fails_never_wins(blobs, tmp_path):
    trial = tuning.run_trial(blobs_scenario(tmp_path), "finetune", {"learning_rate": 1e30, "epochs": 1})
    assert trial["score"] == math.inf
    assert trial["status"].startswith("failed")
    assert tuning.choose([trial]) is None
    assert tuning.choose([trial, {"score": 3.0, "measured": {}}]) == 1


def test_the_probe_breaks_ties_only():
    def trial(score, probe):
        return {"score": score, "measured": {"probe": probe}}

    assert tuning.choose([trial(0.10, 0.9), trial(0.11, 0.5), trial(0.2, 0.0)]) == 1
    assert tuning.choose([trial(0.10, 0.9), trial(0.13, 0.5)]) == 0
    assert tuning.score({"recall": 0.1, "mass": 0.2, "loss": 0.3, "probe": 9.0}) == pytest.approx(0.6)


def test_what_is_measured_for_a_class_and_for_a_subset(blobs, tmp_path):
    scenario = blobs_scenario(tmp_path)
    original = run.original(scenario)
    kept = tuning.measure(original, original, scenario)
    assert kept["recall"] > 0.9
    assert kept["mass"] > 0.8
    assert kept["loss"] == 0
    masked = tuning.measure(unlearn("mask_logit", original, run.make_task(scenario)), original, scenario)
    assert (masked["recall"], masked["loss"], masked["probe"]) == (0, 0, kept["probe"])
    assert masked["mass"] < 0.01
    assert kept["moved"] == 0
    assert masked["moved"] < 1e-5
    with torch.no_grad():
        broken = scenario.new_model(0).eval()
        broken.head.bias[0] = 1e4
    assert tuning.measure(broken, original, scenario)["loss"] > 0.5
    subset = blobs_scenario(tmp_path, "random:0.3")
    measured = tuning.measure(run.original(subset), run.original(subset), subset)
    assert set(measured) == {"accuracy", "distance", "attack", "loss", "moved"}
    assert all(0 <= value <= 1 for value in measured.values())


def test_mislabelled_samples_are_compared_with_samples_mislabelled_the_same_way(blobs, tmp_path):
    scenario = blobs_scenario(tmp_path, "mislabelled:0.2")
    alike = tuning._alike(scenario)
    assert len(alike) == len(scenario.samples["validation"])
    assert not (alike.labels == scenario.samples["validation"].labels).any()


def test_controls_and_exact_methods_are_not_tuned(blobs, tmp_path):
    for name, what in (("do_nothing", "a control"), ("mask_logit", "a control"), ("retrain", "exact")):
        with pytest.raises(ForgetError, match=what):
            tuning.tune(name, [blobs_scenario(tmp_path)], [{}])


def test_outputs_that_changed_by_a_constant_a_class_have_not_moved():
    before = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert tuning.moved_share(before, before) == 0
    assert tuning.moved_share(before, before + torch.tensor([0.0, -30.0, 2.0, 0.0])) < 1e-5
    assert tuning.moved_share(before, 1.5 * before) == pytest.approx(0.5, rel=1e-5)
    assert tuning.moved_share(before, torch.zeros_like(before)) == pytest.approx(1)


def test_what_a_constant_undoes_is_no_candidate_however_well_it_scores(blobs, tmp_path):
    scenario = blobs_scenario(tmp_path)
    masked = tuning.run_trial(scenario, "mask_logit", {})
    masked["measured"]["probe"] = 0.0  # even if the probe spoke for it
    worse = {"score": masked["score"] + 1.5, "measured": {"probe": 1.0, "moved": 0.2}}
    assert tuning.choose([masked, worse]) == 1
    assert tuning.choose([masked, tuning.run_trial(scenario, "do_nothing", {})]) is None


@pytest.mark.parametrize(("text", "name"), [("class:6", "random_label"), ("random:0.1", "salun")])
def test_neither_doing_nothing_nor_masking_the_logit_is_ever_the_choice(tmp_path, text, name):
    recipe = {"epochs": 10, "batch_size": 64, "learning_rate": 0.02}
    options = {"dataset": "mnist", "model": "mlp", "draw": 100, "seed": 100, "start": "sample"}
    scenario = run.make_scenario(tmp_path, recipe, (), request=text, **options)
    kind = tuning.kind_of(scenario.parsed)
    controls = ["do_nothing", "mask_logit"] if kind == "class" else ["do_nothing"]
    trials = [tuning.run_trial(scenario, control, {}) for control in controls]
    own = [tuning.run_trial(scenario, name, settings) for settings in tuning.load_spaces()[name][kind]]
    assert tuning.choose(trials + own) >= len(controls)


def test_the_command_line_writes_the_choice_with_all_that_is_behind_it(blobs, tmp_path, capsys):
    out = tmp_path / "settings.yaml"
    arguments = ["--dataset", "blobs", "--model", "mlp", "--request", "class:c1", "--results", str(tmp_path / "r")]
    arguments += ["--recipe", "{epochs: 10, batch_size: 16, learning_rate: 0.05}", "--out", str(out)]
    assert command.main([*arguments, "--methods", "ssd", "finetune"]) == 0
    written = yaml.safe_load(out.read_text())
    assert written["tuned_on"] == "class:c2"
    assert (written["draws"], written["seeds"]) == ([100, 101], [100, 101])
    assert set(written["methods"]) <= {"ssd", "finetune"}
    assert all(len(trials) == 6 for trials in written["trials"].values())
    assert written["cost"]["retrainings"] > 0
    assert set(written["controls"]) == {"do_nothing", "mask_logit"}
    assert str(tmp_path) not in out.read_text()
    assert "wrote settings.yaml" in capsys.readouterr().out


def test_the_command_line_says_what_is_wrong(blobs, tmp_path, capsys):
    arguments = ["--dataset", "blobs", "--model", "mlp", "--request", "class:c9", "--results", str(tmp_path)]
    assert command.main(arguments) == 1
    assert "error: Unknown class" in capsys.readouterr().err


def test_tuning_can_go_on_method_by_method_on_the_same_data_only(blobs, tmp_path, capsys):
    out = tmp_path / "settings.yaml"
    arguments = ["--dataset", "blobs", "--model", "mlp", "--request", "class:c1", "--results", str(tmp_path / "r")]
    arguments += ["--recipe", "{epochs: 10, batch_size: 16, learning_rate: 0.05}", "--out", str(out), "--add"]
    for name in ("random_label", "ssd"):
        assert command.main([*arguments, "--repeats", "1", "--methods", name]) == 0
    written = yaml.safe_load(out.read_text())
    assert set(written["methods"]) == set(written["trials"]) == {"random_label", "ssd"}
    assert set(written["cost"]["by_method"]) == {"random_label", "ssd"}
    assert command.main([*arguments, "--repeats", "1", "--methods", "scrub", "--spaces", "spaces_whole"]) == 0
    assert yaml.safe_load(out.read_text())["space"] == "spaces; spaces_whole for scrub"
    before = out.read_text()
    assert command.main([*arguments, "--repeats", "2", "--methods", "finetune"]) == 1
    assert "made with another draws, seeds" in capsys.readouterr().err
    assert out.read_text() == before


@pytest.mark.fault("Two data sets or nets of one name")
def test_settings_of_own_data_are_called_after_the_data_s_checksum_and_name_no_folder(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr(chosen, "FOLDER", tmp_path / "settings")
    images = write_folder(blobs, tmp_path / "mnist", 40)
    arguments = ["--dataset", f"own:{images}", "--model", "mlp", "--request", "class:c1", "--repeats", "1"]
    arguments += ["--recipe", "{epochs: 1, batch_size: 16, learning_rate: 0.05}", "--results", str(tmp_path / "r")]
    assert command.main([*arguments, "--methods", "ssd"]) == 0
    checksum = load(f"own:{images}").checksum
    (path,) = (tmp_path / "settings").iterdir()
    assert path.name == f"mnist-{checksum[:8]}-mlp-class.yaml"
    assert str(tmp_path) not in path.read_text()
    assert yaml.safe_load(path.read_text())["dataset"] == "own:mnist"


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.stem)
def test_settings_in_the_repository_follow_from_their_trials(path):
    written = yaml.safe_load(path.read_text())
    assert written["draws"][0] >= tuning.DRAW
    assert written["seeds"][0] >= tuning.SEED
    assert str(paths.REPOSITORY) not in path.read_text()
    for name, trials in written["trials"].items():
        for trial in trials:
            check_settings(name, trial["settings"])
            assert trial["score"] is None or trial["relative_cost"] <= tuning.BUDGET
            trial["score"] = math.inf if trial["score"] is None else trial["score"]
        best = tuning.choose(trials)
        assert written["methods"].get(name) == (None if best is None else trials[best]["settings"])


def test_drawn_classes_are_tuned_on_other_draws(blobs):
    from forget_lib.datasets.requests import parse_request

    assert tuning.tuning_request(parse_request("class:*2"), blobs) == "class:*2"
