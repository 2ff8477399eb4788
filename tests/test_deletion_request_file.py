"""The request file: what is read, and how each mistake names its line."""

import re
import shutil
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from forget_lib.core import settings as core_settings
from forget_lib.core.errors import ForgetError
from forget_lib.datasets.own import load_own
from forget_lib.deletion import case as cases
from forget_lib.deletion import request as request_file
from forget_lib.deletion.request import read_request
from tests.test_deletion import REQUEST, write_data, write_request

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
        (("forget: class:5", "forget: class:5\navailable: [retained]"), 9, "some of forget, retain"),
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
def test_names_stand_in_a_list_as_well(tmp_path):
    write_data(tmp_path)
    path = write_request(tmp_path, forget='{class: [a, "b"]}')
    scenario = cases.open_case(read_request(path)).scenario
    assert scenario.parsed.members == ("a", "b")
    assert scenario.parsed.name == "class-a+b"
    assert scenario.forgotten == "a (index 0), b (index 1)"


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


def test_a_person_who_also_stands_in_held_out_or_test_images_is_refused_or_dropped(tmp_path):
    write_data(tmp_path)
    (tmp_path / "held.txt").write_text("\n".join(map(str, range(0, 180, 7))))
    path = write_request(tmp_path, forget="person:p0-1", extra="held_out: {indices: held.txt}\n")
    with pytest.raises(ForgetError, match="also stands in"):
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


# --- files, by path ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path):
    """Three classes whose files have the same names, but for one; the last file of each is a test image."""
    folder = tmp_path / "pets"
    for part, numbers in (("train", range(10)), ("test", range(10, 12))):
        for index in numbers:
            for label, title in enumerate(("cat", "dog", "owl")):
                image = np.random.default_rng(3 * index + label).integers(0, 256, (6, 6), np.uint8)
                (folder / part / title).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / part / title / f"{index:03}.png")
    (folder / "train" / "dog" / "003.png").rename(folder / "train" / "dog" / "only.png")
    return folder


def case_of(path, forget, extra=""):
    text = REQUEST.format(folder=path, name="answer", title="t", method="retrain", forget=forget) + extra
    request = path.parent / "request.yaml"
    request.write_text(text.replace("/data.npz", ""))
    return cases.open_case(read_request(request))


def files_of(path, forget):
    """The files that a request with this `forget` takes out of the training set."""
    case = case_of(path, forget)
    return [case.scenario.data.files[index] for index in case.scenario.sets.forget.tolist()]


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_a_file_is_found_by_its_path_and_never_by_another_file_of_its_name(pets):
    (pets.parent / "link").symlink_to(pets)
    for name in ("train/cat/005.png", "./train//cat/005.png", f"{pets}/train/cat/005.png", "pets/train/cat/005.png"):
        assert files_of(pets, f"{{files: [{name}]}}") == ["train/cat/005.png"], name
    assert files_of(pets, f"{{files: [{pets.parent}/link/train/owl/005.png]}}") == ["train/owl/005.png"]
    both = ["train/cat/005.png", "train/dog/005.png"]
    assert files_of(pets, f"{{files: [{', '.join(both)}]}}") == both
    assert files_of(pets, "{files: [only.png]}") == ["train/dog/only.png"]


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_all_names_that_fit_no_file_or_several_are_refused_at_once(pets):
    names = "005.png, nothing/here/005.png, train/cat/3.png, train/cat/"
    with pytest.raises(ForgetError) as caught:
        files_of(pets, f"{{files: [{names}]}}")
    message = str(caught.value)
    assert "line 6: " in message
    assert "'005.png' is the name of 3 files: train/cat/005.png, train/dog/005.png, train/owl/005.png" in message
    assert "no file 'nothing/here/005.png' (near: train/cat/005.png, train/dog" in message
    assert "no file 'train/cat/3.png' (near: train/cat/00" in message
    assert "no file 'train/cat'" in message


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_many_unknown_files_are_counted_and_not_listed(pets):
    with pytest.raises(ForgetError) as caught:
        files_of(pets, f"{{files: [{', '.join(f'x{index}' for index in range(400))}]}}")
    assert len(str(caught.value)) < 2000
    assert "… and 390 more" in str(caught.value)


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_a_requested_file_of_the_test_set_is_said_to_lie_there_or_dropped(pets):
    names = "{files: [train/cat/005.png, test/owl/010.png]}"
    with pytest.raises(ForgetError, match=r"1 of the files lie in the test set.*: test/owl/010.png"):
        case_of(pets, names)
    scenario = case_of(pets, names, "held_out: {drop_requested: true}\n").scenario
    assert len(scenario.samples["test"]) == len(scenario.data.test_labels) - 1
    gone = scenario.data.test_images[scenario.data.test_files.index("test/owl/010.png")]
    assert not any(image.equal(gone) for image in scenario.samples["test"].images)
    assert len(scenario.sets.forget) == 1
    with pytest.raises(ForgetError, match="nothing to forget"):
        case_of(pets, "{files: [test/owl/010.png]}", "held_out: {drop_requested: true}\n")


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_a_table_names_its_files_as_it_writes_them(pets):
    rows = [f"train/{title}/00{i}.png,{title}" for title in ("cat", "owl") for i in range(8)]
    (pets / "t.csv").write_text("\n".join(["path,label", *rows, "../pets/train/cat/008.png,cat"]))
    data = load_own(pets / "t.csv")
    asked = [data.files[3], f"{pets}/{data.files[0]}", data.test_files[1]]
    assert cases.find_files(data, asked, pets.parent) == ([3, 0], [1])


@pytest.mark.fault("Names in two spellings of Unicode")
def test_a_file_is_found_in_either_spelling_of_unicode(pets):
    composed, decomposed = (unicodedata.normalize(form, "Zoë.png") for form in ("NFC", "NFD"))
    (pets / "train" / "cat" / "005.png").rename(pets / "train" / "cat" / decomposed)
    for name in (composed, f"train/cat/{composed}", f"{pets}/train/cat/{composed}", f"train/cat/{decomposed}"):
        assert files_of(pets, f"{{files: ['{name}']}}") == [f"train/cat/{decomposed}"], name
    (pets / "train" / "cat" / "006.png").rename(pets / "train" / "cat" / composed)
    assert files_of(pets, f"{{files: [train/cat/{composed}]}}") == [f"train/cat/{composed}"]
    with pytest.raises(ForgetError, match="is the name of 2 files"):
        files_of(pets, f"{{files: ['{composed}']}}")


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_a_path_that_fits_a_file_of_the_data_and_another_beside_the_request_is_refused_with_both(pets):
    inner = pets / "inner"
    (inner / "cat").mkdir(parents=True)
    rows = ["path,label", *(f"../train/{title}/{i:03}.png,{title}" for title in ("cat", "owl") for i in range(8))]
    for index in range(4):
        shutil.copy(pets / "train" / "dog" / f"00{index + 4}.png", inner / "cat" / f"00{index}.png")
        rows.append(f"cat/00{index}.png,cat")
    (inner / "t.csv").write_text("\n".join(rows))
    data = load_own(inner / "t.csv")
    names = (*data.files, *data.test_files)
    with pytest.raises(ForgetError, match=r"cat/000.png' fits 2 files: .*train/cat/000.png.*; write the whole path"):
        cases.find_files(data, ["cat/000.png"], pets / "train")
    pool, test = cases.find_files(data, [f"{inner}/cat/000.png"], pets / "train")
    assert [*(data.files[i] for i in pool), *(data.test_files[i] for i in test)] == ["cat/000.png"]
    assert "../train/cat/000.png" in names
    (inner / "link").symlink_to(inner / "cat")
    assert cases.find_files(data, ["cat/000.png"], inner) == (pool, test)
    assert cases.find_files(data, [f"{inner}/link/000.png"], inner) == (pool, test)
