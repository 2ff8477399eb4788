"""Checks of a report, sound and changed."""

import json

import pytest

from forget_lib.deletion import report
from tests.deletion.made import outcomes, write_data
from workflow.deletion import main


def test_verify_finds_a_sound_report_sound_without_and_with_the_data(shared):
    folder, _, _, path = shared
    (folder / "first" / "report.html").write_text(report.report_digest(report.read_report(path)))
    assert set(outcomes(path).values()) == {"ok"}
    assert set(outcomes(path, with_data=True).values()) == {"ok"}
    assert main(["verify", str(path.parent), "--data"]) == 0


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda c: c["verdict"].update(outcome="fail"), "the verdict follows from the numbers"),
        (lambda c: c["readings"]["outputs"].update(value=0.9), "the verdict follows from the numbers"),
        (lambda c: c["rule"].update(alpha=0.2), "the rule is the frozen one"),
        (lambda c: c["model"].update(after="0"), "the model is the one judged"),
        (lambda c: c.update(images=9), "the ledger is whole and holds this report"),
    ],
)
def test_verify_finds_what_was_changed_in_a_report(mine, change, failing):
    path = mine / "first" / "report.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert outcomes(path)[failing] == "failed"
    assert main(["verify", str(path)]) == 1


def test_verify_with_data_finds_other_images_and_says_what_is_gone(mine):
    path = mine / "first" / "report.json"
    write_data(mine, seed=1)
    found = outcomes(path, with_data=True)
    assert found["the fingerprints are those of the requested images"] == "failed"
    (mine / "data.npz").unlink()
    assert outcomes(path, with_data=True)["the data are there"] == "not possible"
