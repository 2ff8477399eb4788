"""What else carries the data: listed, removed, kept."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from forget_lib.datasets.own import CACHE_FROM
from forget_lib.deletion import ledger, purge, report, verdict
from tests.deletion.made import outcomes, write_request
from workflow.deletion import main


def test_purge_lists_first_then_removes_what_carries_the_data_and_keeps_the_chain(mine):
    page = mine / "first" / "report.html"
    page.write_text('<p>x</p><img src="data:," alt="Requested images, shown"><img alt="other">')
    listed = {each.path.name: each.action for each in purge.artefacts(mine / "first")}
    assert listed["records"] == listed["references"] == "remove"
    assert listed["report.html"] == "strip"
    assert listed["ledger.jsonl"] == listed["unlearned"] == "keep"
    assert listed["data.npz"] == "by hand"
    assert (mine / "first" / "records").exists()
    assert main(["purge", str(mine / "first"), "--apply"]) == 0
    assert not (mine / "first" / "records").exists()
    assert not (mine / "first" / "references").exists()
    assert "Requested images," not in page.read_text()
    assert 'alt="other"' in page.read_text()
    assert [entry["kind"] for entry in ledger.read_ledger(mine / "ledger.jsonl")] == ["request", "purge"]
    rows = json.loads((mine / "first" / "purge.json").read_text())["artefacts"]
    assert all(row["time"] and row["why"] for row in rows)
    found = outcomes(mine / "first" / "report.json", with_data=True)
    names = ("the readings come out again", "the model's accuracies come out again")
    assert [found[name] for name in names] == ["not possible", "ok"]


def test_purge_removes_what_a_killed_run_left_half_written(mine):
    hidden = mine / "first" / "unlearned" / ".run0-abc123"
    hidden.mkdir(parents=True)
    (mine / "first" / ".report.json.lock").touch()
    listed = {each.path.name: each.action for each in purge.artefacts(mine / "first")}
    assert listed[hidden.name] == "remove"
    assert ".report.json.lock" not in listed


@pytest.mark.fault("Purge that leaves a copy")
def test_purge_finds_all_caches_of_these_images_however_their_place_is_written(mine, tmp_path, monkeypatch):
    from forget_lib.datasets.own import caches_of

    monkeypatch.setattr(purge, "data_folder", lambda: tmp_path / "caches")
    monkeypatch.setenv("HOME", str(mine))
    given = [f"{caches_of(mine / 'faces')}{options}" for options in ("any-any", "16-any", "any-grey")]
    others = [f"{caches_of(mine / 'elsewhere' / 'faces')}any-any", "own-faces_012345-any-any"]
    for name in (*given, *others):
        (tmp_path / "caches" / name).mkdir(parents=True)
    path = mine / "first" / "request.yaml"
    text = path.read_text()
    for written in ("~/faces", "~/faces?size=32", f"{mine}/faces", f"{mine}/first/../faces"):
        path.write_text(text.replace(f"{mine}/data.npz", written))
        listed = {each.path.name: each.action for each in purge.artefacts(mine / "first")}
        assert {name for name, action in listed.items() if name.startswith("own-")} == set(given), written
        assert {listed[name] for name in given} == {"remove"}
        assert listed["faces"] == "by hand"


@pytest.mark.fault("Purge that leaves a copy")
def faces_answered(mine, monkeypatch, name: str) -> set[str]:
    """Faces enough to be cached, and an answer (of other numbers) about them; the names of their caches."""
    monkeypatch.setenv("FORGET_DATA", str(mine / "caches"))
    generator = np.random.default_rng(0)
    for number in range(CACHE_FROM):
        path = mine / "store" / "faces" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (4, 4), np.uint8)).save(path)
    (mine / "link").symlink_to(mine / "store" / "faces")
    asked = write_request(mine, name="pictures")
    asked.write_text(asked.read_text().replace(f"{mine}/data.npz", name))
    case = report.prepare(asked)
    content = json.loads((mine / "first" / "report.json").read_text())
    content["data"] |= {"caches": case.scenario.data.caches}
    (mine / "pictures" / "report.json").write_text(json.dumps(content))
    found = {path.name for path in (mine / "caches").glob("own-*")}
    assert found
    return found


@pytest.mark.fault("Purge that leaves a copy")
def test_purge_finds_the_caches_when_the_data_or_the_answer_have_gone_elsewhere(mine, monkeypatch):
    caches = faces_answered(mine, monkeypatch, "link")
    (mine / "link").unlink()
    (mine / "archive" / "2026").mkdir(parents=True)
    moved = shutil.copytree(mine / "pictures", mine / "archive" / "2026" / "pictures")
    for folder in (mine / "pictures", moved):
        listed = {each.path.name: each for each in purge.artefacts(folder)}
        assert {name for name, each in listed.items() if each.action == "remove"} >= caches
        assert "not found" in listed["link"].why
        assert listed["ledger.jsonl"].action == ("by hand" if folder == moved else "keep")
        assert listed["link"].action == "by hand"
    purge.purge(moved)
    assert not list((mine / "caches").glob("own-*[!k]"))


@pytest.mark.fault("Purge that leaves a copy")
def test_purge_says_that_caches_of_the_same_pictures_elsewhere_are_not_known(mine, monkeypatch):
    faces_answered(mine, monkeypatch, "store/faces")
    (why,) = [each.why for each in purge.artefacts(mine / "pictures") if each.path.name == "faces"]
    assert "caches of other folders or tables" in why
    assert "not found" not in why


@pytest.mark.fault("Purge that leaves a copy")
def test_purge_says_what_it_cannot_name_where_the_answer_does_not_tell_its_caches(mine):
    path = mine / "first" / "report.json"
    content = json.loads(path.read_text())
    del content["data"]["caches"]
    path.write_text(json.dumps(content))
    (mine / "data.npz").unlink()
    (why,) = [each.why for each in purge.artefacts(mine / "first") if each.path.name == "data.npz"]
    assert "not found" in why
    assert "own-" in why


@pytest.mark.parametrize("told", ["", "*", "own-", "../", "own-x_0123456-*"])
@pytest.mark.fault("Purge that leaves a copy")
def test_a_report_cannot_make_purge_remove_what_is_no_cache_of_own_data(mine, monkeypatch, told):
    monkeypatch.setenv("FORGET_DATA", str(mine / "caches"))
    (mine / "caches" / "mnist").mkdir(parents=True)
    (mine / "caches" / "own-other_0123ab-any-any").mkdir()
    path = mine / "first" / "report.json"
    content = json.loads(path.read_text())
    content["data"]["caches"] = told
    path.write_text(json.dumps(content))
    removed = {each.path.name for each in purge.artefacts(mine / "first") if each.action == "remove"}
    assert removed == {"records", "references"}


@pytest.mark.fault("Purge that leaves a copy")
def test_purge_says_where_given_weights_are_not_found(mine):
    path = mine / "first" / "request.yaml"
    path.write_text(path.read_text().replace("{name: mlp}", "{name: mlp, weights: given.safetensors}"))
    listed = {each.path.name: each for each in purge.artefacts(mine / "first", given_weights=True)}
    assert listed["given.safetensors"].action == "by hand"
    assert "not found" in listed["given.safetensors"].why


def test_purge_names_where_the_data_of_a_registered_part_of_a_set_lie(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(purge, "data_folder", lambda: tmp_path / "data")
    for name in ("mufac", "cache", "orl"):
        (tmp_path / "data" / name).mkdir(parents=True)
    path = mine / "first" / "request.yaml"
    path.write_text(path.read_text().replace(f"own:{mine}/data.npz", "mufac128"))
    listed = {each.path.name: each.action for each in purge.artefacts(mine / "first")}
    assert (listed["mufac"], listed["cache"]) == ("by hand", "remove")
    assert "orl" not in listed


@pytest.mark.fault("Purge that leaves a copy")
def test_purge_lists_all_that_an_answer_holds(mine):
    listed = {each.path.name for each in purge.artefacts(mine / "first")}
    assert {path.name for path in (mine / "first").iterdir()} <= listed
    assert str(mine) not in (mine / "first" / "request.base").read_text()


@pytest.mark.fault("Purge that leaves a copy")
@pytest.mark.parametrize("outcome", verdict.OUTCOMES)
def test_purge_says_what_the_verdict_means_for_the_model_that_is_kept(mine, capsys, outcome):
    path = mine / "first" / "report.json"
    content = json.loads(path.read_text())
    content["verdict"]["outcome"] = outcome
    path.write_text(json.dumps(content))
    assert main(["purge", str(mine / "first"), "--apply"]) == 0
    said = capsys.readouterr().out
    rows = {row["what"]: row["why"] for row in json.loads((mine / "first" / "purge.json").read_text())["artefacts"]}
    passed = outcome == verdict.PASS
    assert ("without the data" in rows["unlearned"]) == passed
    assert ("still carries the data" in said) == (outcome == verdict.FAIL)
    assert ("not shown that" in said) == (outcome not in (verdict.PASS, verdict.FAIL))
