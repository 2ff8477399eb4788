"""The first page of an answer: what a person who must decide reads, and nothing about anybody else."""

import re

import pytest

from forget_lib.deletion import purge
from forget_lib.deletion.verdict import FAIL, PASS, UNDECIDED
from tests.deletion.made import BAD_NAME
from workflow.pages.first_page import NEXT, WORDS, checks_of, first_page, subject_of


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def with_outcome(content, outcome, needed=()):
    return content | {"verdict": content["verdict"] | {"outcome": outcome, "needed": list(needed)}}


@pytest.mark.parametrize(("outcome", "needed"), [(PASS, ()), (FAIL, ()), (UNDECIDED, ("more images",))])
def test_verdict_and_next_step_stand_before_the_evidence(shared, outcome, needed):
    folder, _, content, _ = shared
    text = text_of(first_page(with_outcome(content, outcome, needed), purge.artefacts(folder / "first")))
    assert text.index(WORDS[outcome][0]) < text.index("Next step") < text.index("What was checked")
    assert " ".join(NEXT[outcome].split())[:40] in text
    assert all(each in text for each in needed)


def test_subject_date_model_and_who_to_ask_are_named(shared):
    folder, _, content, _ = shared
    content = content | {"request": content["request"] | {"contact": "privacy@example.org"}}
    text = text_of(first_page(content, purge.artefacts(folder / "first")))
    for each in ("class a", content["times"]["written"][:10], "mlp", "privacy@example.org", "Share left", "Margin"):
        assert each in text, each


def test_text_of_others_stays_text(shared):
    folder, _, content, _ = shared
    assert content["request"]["title"] == BAD_NAME
    html = first_page(content, purge.artefacts(folder / "first"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_the_four_checks_are_the_reports_numbers(shared):
    _, _, content, _ = shared
    answers, inside, controls, noticed = checks_of(content)
    found = content["verdict"]["findings"]
    for line, name in ((answers, "outputs"), (inside, "embedding")):
        each = found[name]
        for key in ("value", "low", "high"):
            assert f"{100 * each[key]:.0f} %" in line, (name, key)
        value, low, high = (f"{100 * each[key]:.0f} %" for key in ("value", "low", "high"))
        assert f"share left {value} (90 % interval {low} to {high})" in line
    assert f"original: {content['controls']['original']['outcome']}" in controls
    assert "notice" in noticed


def test_what_remains_names_the_derived_data(shared):
    folder, _, content, _ = shared
    text = text_of(first_page(content, purge.artefacts(folder / "first")))
    assert re.search(r"run_all.sh purge: [\w, ]*references", text)
    assert "By hand: data.npz, the data themselves" in text
    assert "every copy and backup" in text


def test_files_are_counted_not_listed(shared):
    _, _, content, _ = shared
    asked = content["request"] | {"forget": {"files": ["a.png", "b.png"]}}
    assert subject_of(content | {"request": asked}) == "2 files named in the request"
