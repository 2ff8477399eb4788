"""The request file: what is read, and how each mistake names its line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forget_lib.deletion import case as cases
from forget_lib.deletion import request_file
from forget_lib.deletion.request_file import RequestError, read_request
from forget_lib.errors import ForgetError
from tests.test_deletion import write_data, write_request

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
    assert request["available"] == ["forget", "retain"]
    assert request.name == "request"


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("forget: class:5", "forgot: class:5"), 8, "Did you mean 'forget'"),
        (("  start: sample", "  strat: sample"), 4, "Did you mean 'start'"),
        (("version: 1", "version: 2"), 1, "this program reads 1"),
        (("version: 1", "version: yes"), 1, "expected int"),
        (("forget: class:5", "forget: class:5\nmargin: 0.3"), 9, "from 0 to 0.25"),
        (("forget: class:5", "forget: class:5\nmargin: .nan"), 9, "from 0 to 0.25"),
        (("forget: class:5", "forget: random:0.1"), 8, "names what is to go"),
        (("forget: class:5", "forget: class:*2"), 8, "names what is to go"),
        (("forget: class:5", "forget: official:list"), 8, "names what is to go"),
        (("forget: class:5", "forget: klass:5"), 8, "Did you mean 'class'"),
        (("forget: class:5", "forget: {files: []}"), 8, "expected files"),
        (("forget: class:5", "forget: class:5\nbudget: 3"), 9, "holds keys of its own"),
        (("forget: class:5", "forget: class:5\nbudget:\n  references: 1"), 10, "from 3 to 200"),
        (("forget: class:5", "forget: class:5\nforget: class:6"), 9, "given twice; the first is in line 8"),
        (("epochs: 3", "epochs: 0"), 7, "epochs >= 1"),
        (("epochs: 3", "epoch: 3"), 7, "Did you mean 'epochs'"),
        (("forget: class:5", "forget: [class:5"), 9, "not YAML"),
        (("forget: class:5", "forget: !!python/object/apply:os.system ['true']"), 8, "expected text"),
        (("name: mnist", "name: &a mnist\n  start: *a"), 4, "aliases"),
        (("forget: class:5", "forget: class:5\nsettings: {epochs: 1}"), 9, "belong to a method"),
        (("forget: class:5", "forget: class:5\navailable: [retained]"), 9, "some of forget, retain"),
    ],
)
def test_a_mistake_names_its_line(tmp_path, change, line, words):
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(RequestError, match=rf"request.yaml, line {line}: ") as caught:
        read_request(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("key", ["version", "recipe", "forget"])
def test_a_missing_key_is_named_with_its_meaning(tmp_path, key):
    path = written(tmp_path, "\n".join(line for line in GOOD.splitlines() if not line.startswith(key)))
    with pytest.raises(RequestError, match=f"{key} is missing"):
        read_request(path)


def test_a_file_that_is_not_there_or_too_large_or_no_mapping_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="cannot be read"):
        read_request(tmp_path / "none.yaml")
    with pytest.raises(RequestError, match="key: value"):
        read_request(written(tmp_path, "- a\n- b\n"))
    monkeypatch.setattr(request_file, "LARGEST", 10)
    with pytest.raises(RequestError, match="at most 10"):
        read_request(written(tmp_path, GOOD))


def test_the_schema_as_a_table_has_every_key_and_its_default():
    table = request_file.describe_schema().set_index("key")
    assert table.loc["forget", "default"] == "needed"
    assert table.loc["budget.references", "default"] == "8"


def test_paths_in_the_report_lose_their_folders(tmp_path):
    text = GOOD.replace("  name: mlp", "  name: mlp\n  weights: /home/somebody/model.safetensors")
    public = request_file.as_written(read_request(written(tmp_path, text)))
    assert public["model"]["weights"] == "model.safetensors"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_either_a_request_or_a_readable_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "request.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ForgetError):
        read_request(path)


def test_a_person_who_also_stands_in_held_out_or_test_images_is_refused_or_dropped(tmp_path):
    write_data(tmp_path)
    (tmp_path / "held.txt").write_text("\n".join(map(str, range(0, 180, 7))))
    path = write_request(tmp_path, forget="person:p0-1", extra="held_out: {indices: held.txt}\n")
    with pytest.raises(RequestError, match="also stands in"):
        cases.open_case(read_request(path))
    text = path.read_text().replace("held.txt", "held.txt, drop_requested: true")
    path.write_text(text)
    case = cases.open_case(read_request(path))
    data, sets = case.scenario.data, case.scenario.sets
    gone = data.person_names.index("p0-1")
    for part in (sets.retain, sets.validation, sets.unseen):
        assert not (data.people[part] == gone).any()
    assert (data.people[sets.forget] == gone).all()
    assert len(sets.forget) > 0
    assert "left out" in case.notes[0]
