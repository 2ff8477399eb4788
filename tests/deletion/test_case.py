"""A request made concrete: whom and which files it is about, and what stands in held-out or test images."""

import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.own import load_own
from forget_lib.deletion import case as cases
from forget_lib.deletion.request import read_request
from tests.deletion.made import REQUEST, write_data, write_request


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_names_stand_in_a_list_as_well(tmp_path):
    write_data(tmp_path)
    path = write_request(tmp_path, forget='{class: [a, "b"]}')
    scenario = cases.open_case(read_request(path)).scenario
    assert scenario.parsed.members == ("a", "b")
    assert scenario.parsed.name == "class-a+b"
    assert scenario.forgotten == "a (index 0), b (index 1)"


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
