"""From a case to its answer: what is computed, kept, resumed and measured again."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import answer as answers
from forget_lib.deletion import case as cases
from forget_lib.deletion import ledger, purge, report, verdict
from forget_lib.deletion.report import file_hash
from forget_lib.deletion.request import keep_copy, read_request
from forget_lib.study import run
from tests.deletion.made import answered, mine_forget, outcomes, write_data, write_request


def test_the_original_and_a_hidden_class_fail_and_a_retrained_model_does_not(shared):
    _, answer, content, _ = shared
    assert content["verdict"]["outcome"] == answer.verdict.outcome != verdict.FAIL
    assert answer.controls[answers.ORIGINAL].outcome == verdict.FAIL
    assert answer.controls[answers.MASKED].outcome == verdict.FAIL
    attacks = {row["attack"]: row for row in content["attacks"]}
    assert attacks["trace, outputs"][answers.ORIGINAL] == pytest.approx(1, abs=0.5)
    power = {(row["attack"], row["share"]): row["power"] for row in content["error_curve"]}
    assert power["trace, outputs", 0.0] == pytest.approx(0.05, abs=0.01)
    assert power["trace, outputs", 1.0] > 0.9


@pytest.mark.parametrize(
    ("forget", "words"),
    [
        ("class:zzz", "Unknown class"),
        ("indices:99999", "not in"),
        ("person:nobody", "Unknown person"),
        ("'class:0,1,2'", "whole training set"),
        ("{files: [x.png]}", "no file 'x.png'"),
    ],
)
def test_a_request_that_matches_nothing_or_everything_names_its_line(shared, tmp_path, forget, words):
    write_data(tmp_path)
    path = write_request(tmp_path, forget=forget)
    with pytest.raises(ForgetError, match="line 6") as caught:
        cases.open_case(read_request(path))
    assert words in str(caught.value)


def test_given_weights_are_the_original(mine):
    case = report.prepare(mine / "first.yaml")
    trained = run.original(case.scenario)
    save_file(trained.state_dict(), mine / "given.safetensors")
    path = mine / "first.yaml"
    path.write_text(path.read_text().replace("{name: mlp}", "{name: mlp, weights: given.safetensors}"))
    given = run.original(cases.open_case(read_request(path)).scenario)
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in trained.state_dict().items())
    listed = {each.path.name: each.action for each in purge.artefacts(mine / "first")}
    assert "given.safetensors" not in listed  # the copy of the request names no weights
    keep_copy(path, mine / "first" / "request.yaml")
    listed = {each.path.name: each.action for each in purge.artefacts(mine / "first")}
    assert listed["given.safetensors"] == "by hand"
    listed = {each.path.name: each.action for each in purge.artefacts(mine / "first", given_weights=True)}
    assert listed["given.safetensors"] == "remove"


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_an_unlearned_model_is_read_back_and_nothing_is_called_damaged(shared, monkeypatch, capfd):
    folder, answer, content, path = shared
    case = report.prepare(folder / "first.yaml")
    original = run.original(case.scenario)
    monkeypatch.setattr(answers, "unlearn", None)  # would raise
    _, cost = answers.unlearned_model(case, original, answer.choice)
    assert cost == pytest.approx(answer.cost)
    assert file_hash(case.folder / "unlearned" / "model.safetensors") == content["model"]["after"]
    assert set(outcomes(path, with_data=True).values()) <= {"ok", "not possible"}
    assert "damaged" not in "".join(capfd.readouterr())


def test_a_later_request_measures_the_earlier_one_again(mine):
    answered(mine / "first.yaml")  # again, since its data lie elsewhere now
    path = write_request(mine, name="second", forget="class:b")
    answer, content, _ = answered(path)
    (row,) = content["earlier_requests"]
    assert row["line"] == 2
    # The second model was made from one that knows class a: what the first request removed is back.
    assert row["trace_now"] > 0.5
    assert row["revived"]
    assert content["returned_images"] == len(mine_forget(mine))
    assert len(ledger.read_ledger(mine / "ledger.jsonl")) == 3
    (entry,) = answers.earlier_requests(answer.case)
    shutil.rmtree(mine / "first" / "references")
    with pytest.raises(ForgetError, match="its references were purged"):
        answers.trace_now(answer, entry)
    (mine / "first" / "request.yaml").unlink()
    with pytest.raises(ForgetError, match="its data or its request are gone"):
        answers.trace_now(answer, entry)
