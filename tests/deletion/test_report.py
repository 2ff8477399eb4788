"""The report: what it says and hides, and whose folder it may be written to."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import answer as answers
from forget_lib.deletion import case as cases
from forget_lib.deletion import ledger, recommend, report
from forget_lib.deletion.request import read_request
from tests.deletion.made import BAD_NAME, answered, mine_forget, page_of, write_request
from workflow.deletion import main
from workflow.pages.page import output_markdown2html


def as_read(markdown: str) -> str:
    """Markdown of a cell's output as a browser shows it in the page: its text, tags left out, entities resolved."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(output_markdown2html(markdown))
    return "".join(found)


def test_the_report_holds_no_path_no_image_and_no_plain_hash(shared):
    folder, answer, content, path = shared
    text = path.read_text()
    assert str(folder) not in text
    assert answer.case.scenario.data.checksum not in text
    assert len(content["data"]["forget"]) == content["images"]
    key = ledger.key_beside(answer.case.ledger)
    forget = answer.case.scenario.samples["forget"]
    assert content["data"]["forget"] == ledger.fingerprints(key, forget.images, forget.labels)
    assert content["data"]["forget"] != ledger.fingerprints(b"another", forget.images, forget.labels)


def test_two_runs_of_the_same_request_give_the_same_report_apart_from_times(shared):
    folder, _, content, _ = shared
    shutil.rmtree(folder / "first")
    _, again, _ = answered(folder / "first.yaml")
    assert report.report_digest(again) == report.report_digest(content)
    assert len(ledger.read_ledger(folder / "ledger.jsonl")) == 1


def test_a_file_that_is_no_report_is_refused(tmp_path):
    for text in ("{}", "[", '{"kind": "forget deletion report", "schema": 99}'):
        path = tmp_path / "report.json"
        path.write_text(text)
        with pytest.raises(ForgetError, match="report"):
            report.read_report(path)


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_a_folder_with_the_answer_to_another_request_is_refused_and_left_as_it_is(mine):
    before = {path: path.read_bytes() for path in (mine / "first").rglob("*") if path.is_file()}
    path = mine / "bob" / "first.yaml"
    path.parent.mkdir()
    path.write_text((mine / "first.yaml").read_text().replace("class:a", "class:b"))
    with pytest.raises(ForgetError, match=r"first.yaml, line 9: .*answer to another request"):
        report.prepare(path)
    assert main(["run", str(path)]) == 1
    assert {path: path.read_bytes() for path in (mine / "first").rglob("*") if path.is_file()} == before
    # The same request with another budget goes on there.
    text = (mine / "first.yaml").read_text()
    (mine / "first.yaml").write_text(text.replace("references: 6", "references: 7"))
    report.prepare(mine / "first.yaml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate: 0.05", "learning_rate: 0.0500001"),
        ("{name: mlp}", "{name: mlp, seed: 1}"),
        ("{name: mlp}", "{name: small_cnn}"),
        ("{name: mlp}", "{name: mlp, weights: w.safetensors}"),
    ],
)
@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_another_model_is_another_request(mine, old, new):
    case = report.prepare(mine / "first.yaml")
    save_file(case.scenario.new_model(0).state_dict(), mine / "w.safetensors")
    (mine / "first.yaml").write_text((mine / "first.yaml").read_text().replace(old, new))
    with pytest.raises(ForgetError, match="answer to another request"):
        report.opened(mine / "first.yaml")


NET = """from torch import nn
def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, {width}), nn.ReLU(), nn.Linear({width}, num_classes))
"""


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_models_whose_files_have_the_same_name_are_told_apart_and_the_first_answer_is_left(mine, monkeypatch):
    monkeypatch.setenv("FORGET_TRUST_CODE", "1")
    for place, width in (("prod", 8), ("lab", 64)):
        path = write_request(mine, name=f"{place}/r", forget="class:b")
        (path.parent / "net.py").write_text(NET.format(width=width))
        text = path.read_text().replace("{name: mlp}", '{name: "net.py:make"}')
        path.write_text(text.replace(f"{mine}/{place}/r", f"{mine}/out"))
    answer, content, path = answered(mine / "prod" / "r.yaml")
    assert report.read_report(path)["asked"] == answer.case.asked
    assert str(mine) not in json.dumps(content)
    before = path.read_bytes()
    with pytest.raises(ForgetError, match="answer to another request"):
        report.prepare(mine / "lab" / "r.yaml")
    assert path.read_bytes() == before
    report.prepare(mine / "prod" / "r.yaml")
    (mine / "prod" / "net.py").write_text(NET.format(width=16))
    with pytest.raises(ForgetError, match="answer to another request"):
        report.prepare(mine / "prod" / "r.yaml")


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_weights_that_were_given_are_the_model_however_they_were_trained(mine):
    path = mine / "first.yaml"
    save_file(report.prepare(path).scenario.new_model(0).state_dict(), mine / "w.safetensors")
    path.write_text(path.read_text().replace("{name: mlp}", "{name: mlp, weights: w.safetensors}"))
    first = cases.open_case(read_request(path)).asked
    path.write_text(path.read_text().replace("epochs: 8", "epochs: 9"))
    assert cases.open_case(read_request(path)).asked == first


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_requests_whose_folders_have_the_same_name_are_told_apart_in_one_ledger(mine):
    path = write_request(mine, name="bob/first", forget="class:b")
    text = path.read_text()
    path.write_text(re.sub("^write: .*$", f"write: {{folder: first, ledger: {mine}/ledger.jsonl}}", text, flags=re.M))
    answer, content, _ = answered(path)
    assert answer.case.folder == mine / "bob" / "first"
    assert content["returned_images"] == len(mine_forget(mine))
    assert [row["line"] for row in content["earlier_requests"]] == [1]
    entries = ledger.read_ledger(mine / "ledger.jsonl")
    assert [entry["folder"] for entry in entries] == ["first", "bob/first"]
    assert entries[0]["request"] != entries[1]["request"]
    again = answers.earlier_requests(answer.case)
    assert [entry["number"] for entry in again] == [1]


def test_text_of_others_is_escaped(page):
    _, names = page
    assert BAD_NAME in names["rows"].values()
    assert "<script>" not in pd.Series(names["rows"]).to_frame()._repr_html_()
    assert "Not enough" in names["lines"][0] or "Pass" in names["lines"][0]


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_a_browser_shows_the_reasons_and_the_text_of_others_as_they_are(page):
    content, text = page[1]["content"], as_read("\n".join(page[1]["lines"]))
    said = [*content["verdict"]["reasons"], *content["verdict"]["needed"]]
    assert said
    assert all(" ".join(each.split()) in text for each in said)
    hostile = f"{BAD_NAME} & &amp; &#43; `code` [a](b) ![i](j) <b>x</b> \\(x\\) ~~s~~ | # + - 1. * _e_"
    assert as_read(f"- {report.safe(hostile)}").strip() == hostile
    assert "<script" not in output_markdown2html(report.safe(hostile))
    assert "<b>" not in output_markdown2html(report.safe(hostile))


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_a_report_names_nobody_but_the_person_it_is_about(mine, capfd, monkeypatch):
    tried = pd.DataFrame(
        {"method": ["finetune", "random_label", "uniform_kl", "negative_gradient"], "fits": True, "score": 0}
    )
    monkeypatch.setattr(recommend, "recommend", lambda _case: tried)
    arrays = dict(np.load(mine / "data.npz"))
    np.savez(mine / "data.npz", **arrays | {"classes": np.array(["Anna Alm", "Berta Bo", "Clara Cox"])})
    trial = "budget: {references: 6, originals: 3, kept: 3, shares: 0, processes: 1, methods: 4, trials: 2}"
    path = write_request(mine, name="case7", forget="class:Berta Bo", method="auto")
    path.write_text(re.sub("^budget: .*$", trial, path.read_text(), flags=re.MULTILINE))
    names = page_of(path)
    content = names["content"]
    said = [names["path"].read_text(), *map(str, names["about"].values()), *names["sentences"], *names["lines"]]
    said += [*map(str, names["rows"].values()), *capfd.readouterr()]
    text = "\n".join(said)
    assert "Berta" in text
    assert "Anna" not in text
    assert "Clara" not in text
    assert content["earlier_requests"][0]["line"] == 1
    assert '"first"' not in text  # a file may be named after a person, too
