"""Going on after a failed answer: the next method, up to training anew; nothing is overwritten."""

import json

import pytest

from forget_lib.deletion import purge
from forget_lib.deletion.verdict import FAIL, PASS, UNDECIDED
from workflow import deletion


@pytest.fixture
def answers(mine, monkeypatch):
    """Stands in for the notebook: each method's outcome, and the report that it leaves."""
    folder = mine / "first"
    outcomes, asked = {}, []

    def answer(request, folder, method=""):
        asked.append(method)
        content = json.loads(kept)
        content["verdict"]["outcome"] = outcomes[method]
        content["method"] |= {"method": method or "first_choice", "trial": trial}
        (folder / "report.json").write_text(json.dumps(content))
        (folder / "report.html").write_text("page")
        (folder / "unlearned").mkdir(exist_ok=True)
        return content

    kept = (folder / "report.json").read_text()
    trial = {
        "first_choice": {"settings": {}, "score": 1.0, "cost": 0.1},
        "third": {"settings": {}, "score": 3.0, "cost": 0.2},
        "second": {"settings": {}, "score": 2.0, "cost": 0.05},
    }
    monkeypatch.setattr(deletion, "answer", answer)
    return mine / "first.yaml", folder, outcomes, asked


@pytest.mark.parametrize(("outcome", "status"), [(PASS, 0), (FAIL, 3), (UNDECIDED, 4)])
def test_the_exit_status_tells_the_verdict(answers, outcome, status):
    request, _, outcomes, asked = answers
    outcomes[""] = outcome
    assert deletion.main(["run", str(request)]) == status
    assert asked == [""]


def test_until_pass_tries_the_next_best_and_says_its_cost(answers, capsys):
    request, folder, outcomes, asked = answers
    outcomes |= {"": FAIL, "second": FAIL, "third": PASS}
    assert deletion.main(["run", str(request), "--until-pass"]) == 0
    assert asked == ["", "second", "third"]
    assert "next: second, about 5%" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "tried").iterdir()) == ["1-first_choice", "2-second"]
    assert (folder / "tried" / "1-first_choice" / "report.json").is_file()


def test_training_anew_comes_last_and_is_the_end(answers):
    request, _, outcomes, asked = answers
    outcomes |= {"": FAIL, "second": FAIL, "third": FAIL, "retrain": FAIL}
    assert deletion.main(["run", str(request), "--until-pass"]) == 3
    assert asked == ["", "second", "third", "retrain"]


def test_a_second_run_keeps_the_answer_that_passed(answers):
    request, _, outcomes, asked = answers
    outcomes |= {"": FAIL, "second": PASS}
    deletion.main(["run", str(request), "--until-pass"])
    assert deletion.main(["run", str(request), "--until-pass"]) == 0
    assert asked[-1] == "second"


def test_purge_removes_the_failed_answers(answers):
    request, folder, outcomes, _ = answers
    outcomes |= {"": FAIL, "second": PASS}
    deletion.main(["run", str(request), "--until-pass"])
    actions = {each.path.name: each.action for each in purge.artefacts(folder)}
    assert actions["tried"] == purge.REMOVE
