"""The request file: what is read, and how each mistake names its line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forget_lib.core import settings as core_settings
from forget_lib.core.errors import ForgetError
from forget_lib.deletion import request as request_file
from forget_lib.deletion.request import read_request

GOOD = """version: 1
data:
  name: mnist
  start: sample
model:
  name: mlp
recipe: {epochs: 3, learning_rate: 0.02}
forget: class:5
"""


def written(tmp_path, text):
    path = tmp_path / "request.yaml"
    path.write_text(text)
    return path


def test_a_short_request_gets_the_defaults(tmp_path):
    request = read_request(written(tmp_path, GOOD))
    assert request["data.name"] == "mnist"
    assert request["margin"] == 0.2
    assert request["budget.references"] == 8
    assert request.name == "request"


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("forget: class:5", "forgot: class:5"), 8, "Did you mean 'forget'"),
        (("  start: sample", "  strat: sample"), 4, "Did you mean 'start'"),
        (("version: 1", "version: 2"), 1, "expected a whole number from 1 to 1 (of this schema; this program reads 1)"),
        (("version: 1", "version: yes"), 1, "expected a whole number"),
        (("forget: class:5", "forget: class:5\nmargin: 0.3"), 9, "expected a number above 0 and below 0.25"),
        (("forget: class:5", "forget: class:5\nmargin: .nan"), 9, "expected a number above 0 and below 0.25"),
        (("forget: class:5", "forget: random:0.1"), 8, "names what is to go"),
        (("forget: class:5", "forget: class:*2"), 8, "names what is to go"),
        (("forget: class:5", "forget: official:list"), 8, "names what is to go"),
        (("forget: class:5", "forget: klass:5"), 8, "Did you mean 'class'"),
        (("forget: class:5", "forget: {files: []}"), 8, "expected files"),
        (("forget: class:5", "forget: {class: [010]}"), 8, "in quotes"),
        (("forget: class:5", "forget: {random: [a]}"), 8, "Unknown kind of request with a list 'random'"),
        (("forget: class:5", "forget: class:5\nbudget: 3"), 9, "budget is 3; expected keys of its own"),
        (("forget: class:5", "forget: class:5\nbudget:\n  references: 1"), 10, "from 3 to 200"),
        (("forget: class:5", "forget: class:5\nforget: class:6"), 9, "given twice; the first is in line 8"),
        (("epochs: 3", "epochs: 0"), 7, "expected a whole number from 1"),
        (("0.02", "1e-3"), 7, "which is text (write 1.0e-3); expected a number above 0"),
        (("epochs: 3", "known: 'no'"), 7, "which is text (write false)"),
        (("forget: class:5", "forget: class:5\nmethod: finetun"), 9, "Did you mean 'finetune'"),
        (("forget: class:5", "forget: class:5\nmethod: scrub\nsettings: {learning_rate: 1e-3}"), 10, "write 1.0e-3"),
        (("epochs: 3", "epoch: 3"), 7, "Did you mean 'epochs'"),
        (("forget: class:5", "forget: [class:5"), 9, "not YAML"),
        (("forget: class:5", "forget: !!python/object/apply:os.system ['true']"), 8, "not YAML of plain values"),
        (("name: mnist", "name: &a mnist\n  start: *a"), 4, "aliases"),
        (("forget: class:5", "forget: class:5\nsettings: {epochs: 1}"), 9, "belong to a method"),
    ],
)
def test_a_mistake_names_its_line(tmp_path, change, line, words):
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(ForgetError, match=rf"request.yaml, line {line}: ") as caught:
        read_request(path)
    assert words in str(caught.value)


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_all_mistakes_of_a_recipe_are_named_each_with_its_line(tmp_path):
    recipe = "recipe:\n  epochs: 2.5\n  momentum: 1.5\n  learning_rate: 0.02"
    path = written(tmp_path, GOOD.replace("recipe: {epochs: 3, learning_rate: 0.02}", recipe))
    with pytest.raises(ForgetError, match=r"line 8: epochs of the recipe.*\n.*line 9: momentum of the recipe"):
        read_request(path)


@pytest.mark.parametrize("key", ["version", "recipe", "forget"])
def test_a_missing_key_is_named_with_its_meaning(tmp_path, key):
    path = written(tmp_path, "\n".join(line for line in GOOD.splitlines() if not line.startswith(key)))
    with pytest.raises(ForgetError, match=f"{key} is missing"):
        read_request(path)


def test_a_file_that_is_not_there_or_too_large_or_no_mapping_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ForgetError, match="cannot be read"):
        read_request(tmp_path / "none.yaml")
    with pytest.raises(ForgetError, match="key: value"):
        read_request(written(tmp_path, "- a\n- b\n"))
    monkeypatch.setattr(core_settings, "LARGEST", 10)
    with pytest.raises(ForgetError, match="at most 10"):
        read_request(written(tmp_path, GOOD))


def test_every_key_says_what_it_means_and_the_schema_is_one_of_json():
    schema = request_file.Asked.model_json_schema()
    parts = [schema, *(schema["$defs"][name] for name in ("Data", "Model", "HeldOut", "Budget", "Write"))]
    keys = [each for part in parts for each in part["properties"].values()]
    assert len(keys) > 25
    assert all(each.get("description") or "$ref" in each for each in keys)
    assert {"version", "data", "model", "recipe", "forget"} == set(schema["required"])


def test_all_mistakes_of_a_file_are_named_at_once_in_the_order_of_its_lines(tmp_path):
    wrong = (
        GOOD.replace("start: sample", "strat: sample")
        .replace("epochs: 3", "epochs: 0")
        .replace("class:5", "random:0.1")
    )
    with pytest.raises(ForgetError) as caught:
        read_request(written(tmp_path, wrong + "budget: {references: 1, kept: 2.5}\nmargin: 1\n"))
    lines = [int(number) for number in re.findall(r"^request.yaml, line (\d+): ", str(caught.value), re.MULTILINE)]
    assert lines == [4, 7, 8, 9, 9, 10]


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_the_report_names_what_was_asked_as_it_was_asked(tmp_path):
    def asked(forget):
        return request_file.as_written(read_request(written(tmp_path, GOOD.replace("class:5", forget))))["forget"]

    assert asked("person:A/B") == "person:A/B"
    assert asked("{person: [A/B]}") == {"person": ["A/B"]}
    assert asked("{files: [cat/1.png, /home/me/cat/2.png]}") == {"files": ["cat/1.png", "2.png"]}


def test_paths_in_the_report_lose_their_folders(tmp_path):
    text = GOOD.replace("  name: mlp", "  name: mlp\n  weights: /home/somebody/model.safetensors")
    public = request_file.as_written(read_request(written(tmp_path, text)))
    assert public["model"]["weights"] == "model.safetensors"


def test_a_title_is_told_as_it_was_written(tmp_path):
    text = GOOD + "title: Request 3/4 of A/B\n"
    assert request_file.as_written(read_request(written(tmp_path, text)))["title"] == "Request 3/4 of A/B"


@pytest.mark.fault("clean through links; paths from other folders")
def test_every_path_in_a_request_is_relative_to_its_file(tmp_path, monkeypatch):
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "gone.txt").write_text("1, 2\n5\n")
    monkeypatch.chdir("/")
    text = """version: 1
data: {name: "own:faces?size=8"}
model: {name: "net.py:make?weights=w.pt&mean=0", weights: given.pt}
recipe: {epochs: 1, function: "train.py:mine"}
forget: "indices:@gone.txt"
held_out: {indices: held.txt}
write: {folder: out, ledger: chain.jsonl}
"""
    request = read_request(written(folder, text))
    assert request["data.name"] == f"own:{folder}/faces?size=8"
    assert request["model.name"] == f"{folder}/net.py:make?weights={folder}/w.pt&mean=0"
    assert request["recipe"]["function"] == f"{folder}/train.py:mine"
    assert request["forget"] == f"indices:@{folder}/gone.txt"
    for key, name in (("model.weights", "given.pt"), ("held_out.indices", "held.txt")):
        assert request.located(key) == folder / name
    for key, name in (("write.folder", "out"), ("write.ledger", "chain.jsonl")):
        assert request.located(key) == folder / name
    # Names of what is registered, modules and absolute paths stay.
    for name in ("mnist", "own:/a/faces", "own:pack.age:make"):
        assert read_request(written(folder, GOOD.replace("name: mnist", f"name: '{name}'")))["data.name"] == name
    # The copy that is kept beside an answer leads to the same files.
    request_file.keep_copy(folder / "request.yaml", tmp_path / "answer" / "request.yaml")
    assert read_request(tmp_path / "answer" / "request.yaml").values == read_request(folder / "request.yaml").values


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_either_a_request_or_a_readable_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "request.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ForgetError):
        read_request(path)
