"""Names that try to break out of quoting: through the workflow's shell, into a notebook's cell, into a page."""

import json

import pytest
from papermill.translators import PythonTranslator

from tests.faults import workflow_copy as copy

ESCAPES = [
    *(
        "'; touch canary; '",
        '"; touch canary; "',
        "$(touch canary)",
        "`touch canary`",
        "a\ntouch canary\n",
        "| touch canary",
    ),
    *("& touch canary &", "> canary", "'\"'; touch canary #", "\\'; touch canary; \\'", "{input.notebook}", "{{x}}"),
    *("{PYTHON}", "$HOME", "%(x)s", "a b  c", "~", "*", "--page canary", "é ü 名", "!!", "${IFS}touch${IFS}canary"),
    *("')\nopen('canary', 'w')\n('", '"""\nopen("canary", "w")\n"""', "\\", "'''", "\x1b[2J", "\u2028import os"),
]


@pytest.mark.slow
@pytest.mark.fault("Names that break out into the shell")
def test_no_name_breaks_out_of_the_workflows_shell(tmp_path, record_property):
    scenarios = {
        f"s{n}": copy.scenario(parameters={"text": text, text: [text]}, shared_original=False)
        for n, text in enumerate(ESCAPES)
    }
    plain = [text for text in ESCAPES if text.isprintable()]
    names = {f"d{n}": copy.scenario(dataset=f"own:{text}", shared_original=False) for n, text in enumerate(plain)}
    root = copy.make(tmp_path / "p", copy.config_of(scenarios | names))
    copy.run(root)
    pages = {
        path.stem.split("-")[0]: json.loads(path.read_text())
        for path in root.glob("results/tiny/notebooks/03_one/*.ipynb")
    }
    for n, text in enumerate(ESCAPES):
        assert pages[f"s{n}"][text] == [text]
        assert pages[f"s{n}"]["text"] == text
    for n, text in enumerate(plain):
        assert pages[f"d{n}"]["dataset"] == f"own:{text}"
    assert not list(tmp_path.rglob("canary"))
    record_property("tried", 2 * len(ESCAPES) + len(plain))


@pytest.mark.fault("Names that break out into a cell")
@pytest.mark.parametrize("number", range(len(ESCAPES)))
def test_no_parameter_breaks_out_of_its_cell(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, names = ESCAPES[number], {}
    code = PythonTranslator.codify({"value": text, "nested": {text: [text]}})
    exec(compile(code, "cell", "exec"), {}, names)
    assert names == {"value": text, "nested": {text: [text]}}
    assert not list(tmp_path.iterdir())
