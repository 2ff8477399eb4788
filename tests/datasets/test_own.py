"""A user's own data: every form gives an ImageData, and everything that is wrong is said at once, with row and file."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from forget_lib.core.errors import DataError, ForgetError, UnknownNameError
from forget_lib.core.names import public_name, short_name
from forget_lib.datasets import load, own
from forget_lib.datasets.own import OwnDataError, load_own
from forget_lib.datasets.requests import draw_sets, parse_request
from forget_lib.demo.images import read_picture, to_tensor
from forget_lib.study.scenario import describe, make_scenario


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(own, "CACHE_FROM", 1)


def save(path: Path, seed: int = 0, size: int = 6, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size, size) if mode == "L" else (size, size, {"RGB": 3, "RGBA": 4}[mode])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    for index in range(20):
        save(tmp_path / "digits" / str(index % 2) / f"{index:02}.png", index)
    return tmp_path / "digits"


@pytest.fixture
def table(tmp_path) -> Path:
    """Eight people, two a family, with three images each, of both classes."""
    lines = ["path,label,person,family"]
    for index in range(24):
        save(tmp_path / "faces" / f"{index}.png", index, mode="RGB")
        person = index // 3
        lines.append(f"{index}.png,{'old' if index % 2 else 'young'},p{person},f{person // 2}")
    (tmp_path / "faces" / "table.csv").write_text("\n".join(lines))
    return tmp_path / "faces" / "table.csv"


def problems(source, **options) -> list[str]:
    with pytest.raises(OwnDataError) as caught:
        load_own(source, **options)
    return caught.value.problems


def test_a_folder_of_classes_is_read_pixel_by_pixel(folder):
    data = load_own(folder)
    assert data.classes == ("0", "1")
    assert data.images.shape == (16, 1, 6, 6)
    assert len(data.test_labels) == 4
    assert data.folder == str(folder)
    for image, label, file in zip(data.images, data.labels, data.files, strict=True):
        assert Path(file).parent.name == data.classes[label]
        assert np.array_equal(image[0].numpy(), np.asarray(Image.open(folder / file)))


def test_it_is_a_data_set_by_name_and_can_be_asked_to_forget(folder):
    data = load(f"own:{folder}", "sample")
    assert data.name == data.title == short_name(f"own:{folder}")
    sets = draw_sets(data, parse_request("class:1"))
    assert data.labels[sets.forget].eq(1).all()


@pytest.mark.fault("Two data sets or nets of one name")
def test_a_folder_that_was_moved_keeps_its_sets_and_one_of_its_name_is_another_data_set(folder, tmp_path):
    before = load(f"own:{folder}")
    folder.rename(folder.with_name("elsewhere"))
    (tmp_path / "other").mkdir()
    moved = (tmp_path / "elsewhere").rename(tmp_path / "other" / "digits")
    after = load(f"own:{moved}")
    assert after.name != before.name
    assert after.checksum == before.checksum
    request = parse_request("random:0.3")
    assert torch.equal(draw_sets(after, request).forget, draw_sets(before, request).forget)


def test_few_images_leave_no_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "CACHE_FROM", 21)
    load_own(folder)
    assert not (tmp_path / "cache").exists()


def test_train_and_test_folders_are_kept_apart(tmp_path):
    for part, count in (("train", 6), ("test", 4)):
        for index in range(count):
            save(tmp_path / "d" / part / "ab"[index % 2] / f"{index}.png", index)
    data = load_own(tmp_path / "d")
    assert (len(data.labels), len(data.test_labels)) == (6, 4)


def test_class_numbers_are_sorted_as_numbers(tmp_path):
    for name in ("2", "10", "1"):
        for index in range(2):
            save(tmp_path / "d" / name / f"{index}.png")
    assert load_own(tmp_path / "d").classes == ("1", "2", "10")


def test_a_table_gives_people_and_families_and_tests_on_other_people(table):
    data = load_own(table)
    assert data.person_names[data.people[0]].startswith("p")
    assert not set(data.people.tolist()) & set(data.test_people.tolist())
    assert len(draw_sets(data, parse_request("person:*1")).forget) == 3


def test_where_the_people_are_the_classes_each_is_tested(tmp_path):
    lines = ["path,label,person"]
    for index in range(12):
        save(tmp_path / f"{index}.png", index)
        lines.append(f"{index}.png,{'abc'[index % 3]},{'abc'[index % 3]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = load_own(tmp_path / "t.csv")
    assert set(data.test_people.tolist()) == {0, 1, 2}


def test_arrays_in_any_layout_give_the_same_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), np.uint8)
    labels = np.arange(12) % 3
    np.savez(tmp_path / "last.npz", images=images, labels=labels, classes=["a", "b", "c"])
    np.savez(tmp_path / "first.npz", images=images.transpose(0, 3, 1, 2), labels=labels)
    last, first = (load_own(tmp_path / f"{name}.npz", name="same") for name in ("last", "first"))
    assert last.classes == ("a", "b", "c")
    assert torch.equal(last.images, first.images)
    assert last.images.shape[1:] == (3, 5, 4)


class Listed(torch.utils.data.Dataset):
    """The folder's images, as PIL images or as tensors between 0 and 1."""

    classes = ("0", "1")

    def __init__(self, folder: Path, tensors: bool) -> None:
        self.files, self.tensors = sorted(folder.glob("*/*.png"), key=lambda file: file.parts[-2:]), tensors

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple:
        image, label = Image.open(self.files[index]), int(self.files[index].parent.name)
        return (
            (torch.from_numpy(np.asarray(image) / 255)[None], torch.tensor(label)) if self.tensors else (image, label)
        )


def test_a_torch_dataset_of_images_or_tensors(folder):
    files = load_own(folder)
    for tensors in (False, True):
        data = load_own(Listed(folder, tensors), name="digits")
        assert torch.equal(data.images, files.images)
        assert torch.equal(data.labels, files.labels)
        assert data.classes == ("0", "1")


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_labels_that_are_numbers_are_positions_even_where_the_names_are_numbers_too():
    class Counted(list):
        classes = ("1", "0")

    images = [np.full((4, 4), 40 * index, np.uint8) for index in range(6)]
    data = load_own(Counted((image, index % 2) for index, image in enumerate(images)), name="items")
    first = data.images[(data.labels == 0), 0, 0, 0]
    assert data.classes == ("1", "0")
    assert set(first.tolist()) <= {0, 80, 160}


def test_the_second_reading_comes_from_the_cache(folder, monkeypatch):
    first = load_own(folder)
    monkeypatch.setattr(Image, "open", None)
    second = load_own(folder)
    assert second.checksum == first.checksum
    monkeypatch.undo()


def test_a_changed_file_is_read_again(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path / "cache"))
    first = load_own(folder)
    save(folder / "0" / "00.png", 99)
    assert load_own(folder).checksum != first.checksum


def test_a_damaged_cache_is_made_again(folder, tmp_path, capsys):
    first = load_own(folder)
    cache = next((tmp_path / "cache").rglob("*.safetensors"))
    cache.write_bytes(cache.read_bytes()[:-9])
    assert load_own(folder).checksum == first.checksum
    assert "read again" in capsys.readouterr().out


# --- folders and tables as people publish them ------------------------------------------------------------------------


def save_parts(folder: Path, *parts: str) -> Path:
    for number, part in enumerate(parts):
        for index in range(6):
            save(folder / part / "ab"[index % 2] / f"{index}.png", 10 * number + index)
    return folder


@pytest.mark.fault("Folders and tables as people publish them")
@pytest.mark.parametrize("parts", [("train", "test"), ("training", "testing"), ("Train", "Test")])
def test_files_beside_train_and_test_are_left_out_and_named(tmp_path, capsys, parts):
    (save_parts(tmp_path / "d", *parts) / "README.md").touch()
    (tmp_path / "d" / "labels.csv").touch()
    data = load_own(tmp_path / "d")
    assert (len(data.labels), len(data.test_labels), data.classes) == (6, 6, ("a", "b"))
    assert f"left out beside {parts[0]} and {parts[1]}: README.md, labels.csv" in capsys.readouterr().out


@pytest.mark.fault("Folders and tables as people publish them")
def test_a_folder_that_is_neither_class_nor_part_is_one_problem_and_not_one_a_class(tmp_path):
    (found,) = problems(save_parts(tmp_path / "d", "train", "test", "extra"))
    assert found.startswith("extra: a folder beside train and test")
    (found,) = problems(save_parts(tmp_path / "v", "train", "val"))
    assert found.startswith("train, val: holds folders and no images")
    save_parts(tmp_path / "w", "pets")
    assert "give the path of the folder of classes" in problems(tmp_path / "w")[0]


@pytest.mark.fault("Folders and tables as people publish them")
def test_classes_may_be_called_train_and_test(tmp_path):
    for index in range(6):
        save(tmp_path / "d" / ("train", "test", "bus")[index % 3] / f"{index}.png", index)
    assert load_own(tmp_path / "d").classes == ("bus", "test", "train")


@pytest.mark.fault("Folders and tables as people publish them")
def test_an_empty_test_part_is_refused_and_nothing_is_drawn_in_its_place(tmp_path):
    (save_parts(tmp_path / "d", "train") / "test").mkdir()
    assert "no image is in the test set" in problems(tmp_path / "d")[0]


@pytest.mark.fault("Folders and tables as people publish them")
def test_an_empty_class_folder_is_named(folder):
    (folder / "2").mkdir()
    assert problems(folder) == ["2: is an empty folder; put images of this class there, or remove it"]


@pytest.mark.fault("Folders and tables as people publish them")
@pytest.mark.parametrize("column", ["file", "filepath", "filename", "Path", " image "])
def test_the_path_of_a_table_may_be_called_otherwise(table, column):
    table.write_text(table.read_text().replace("path,label", f"{column},Label", 1))
    assert len(load_own(table).files) == 18


@pytest.mark.fault("Folders and tables as people publish them")
def test_columns_that_could_both_be_the_path_or_stand_twice_are_refused(table):
    text = table.read_text()
    table.write_text(text.replace("path,label,person", "file,label,image", 1))
    with pytest.raises(DataError, match="no column path; it has: file, label, image"):
        load_own(table)
    table.write_text(text.replace("path,label,person", "path,label,Label", 1))
    with pytest.raises(DataError, match="label stands twice"):
        load_own(table)


@pytest.mark.fault("Folders and tables as people publish them")
def test_a_table_of_one_person_is_refused_since_nobody_is_left_to_test_on(table):
    lines = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([*line[:2], "person" if line[0] == "path" else "p0"]) for line in lines))
    assert "all images are of one person" in problems(table)[0]


@pytest.mark.fault("Folders and tables as people publish them")
@pytest.mark.parametrize("place", ["16:9/digits", "digits:old", "old.py:digits"])
def test_a_folder_with_a_colon_is_a_folder_and_no_code(folder, place):
    (folder.parent / place).parent.mkdir(exist_ok=True)
    folder.rename(folder.parent / place)
    data = load(f"own:{folder.parent / place}?size=4")
    assert (len(data.labels), data.images.shape[2]) == (16, 4)
    assert public_name(f"own:{folder.parent / place}?size=4") == f"own:{Path(place).name}?size=4"


@pytest.mark.fault("Folders and tables as people publish them")
def test_classes_that_stand_twice_are_refused(folder):
    assert problems(folder, classes=("0", "1", "0")) == ["classes: 0 stands there twice"]


@pytest.mark.fault("Folders and tables as people publish them")
def test_copies_in_training_and_test_are_told_and_noted_and_so_are_copies_within_and_with_two_labels(tmp_path, capsys):
    save_parts(tmp_path / "d", "train", "test")
    assert load_own(tmp_path / "d").notes == ()
    save(tmp_path / "d" / "test" / "a" / "0.png", 2)  # as train/a/2.png
    save(tmp_path / "d" / "train" / "b" / "1.png", 4)  # as train/a/4.png
    assert load_own(tmp_path / "d").notes == (
        "exact copies of training images in the test set, which the model saw: 1",
        "exact copies within the training images, of which one may be held out while the other is trained on: 1",
        "exact copies of an image under two classes: 1",
    )
    assert "such as test/a/0.png and train/a/2.png" in capsys.readouterr().out


@pytest.mark.fault("Folders and tables as people publish them")
def test_a_class_without_test_images_is_noted(tmp_path):
    shutil.rmtree(save_parts(tmp_path / "d", "train", "test") / "test" / "b")
    assert load_own(tmp_path / "d").notes == ("no test image is of b",)


@pytest.mark.fault("Folders and tables as people publish them")
def test_what_is_noted_of_the_data_stands_in_records(folder, tmp_path):
    save(folder / "1" / "01.png", 3)
    scenario = make_scenario(tmp_path, dataset=f"own:{folder}", model="mlp", request="random:0.5")
    assert describe(scenario)["data_notes"] == list(scenario.data.notes) != []


# --- pixels as people save them ---------------------------------------------------------------------------------------

RAMP = np.linspace(0, 1, 32)[None, :].repeat(32, 0)  # dark left, bright right
EIGHT = (RAMP * 255).round().astype(np.uint8)


def saved(folder: Path, image: Image.Image, suffix: str, options: str, **how) -> torch.Tensor:
    """The first image of two classes of copies of one picture, as they are read back."""
    for index in range(4):
        path = folder / "d" / "ab"[index % 2] / f"{index}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **how)
    return load_own(f"own:{folder / 'd'}{options}").images[0]


@pytest.mark.fault("Pixels as people save them")
@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        ((RAMP * 65535).astype(np.uint16), ".png"),
        ((RAMP * 65535).astype(np.uint16), ".tif"),
        ((RAMP * 65535).astype(np.int32), ".tif"),
        (RAMP.astype(np.float32), ".tif"),
    ],
)
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_deep_images_keep_their_levels(tmp_path, values, suffix, mode):
    found = saved(tmp_path, Image.fromarray(values), suffix, f"?mode={mode}")
    assert found.shape == ({"grey": 1, "rgb": 3}[mode], 32, 32)
    assert (found.int() - torch.from_numpy(EIGHT).int()).abs().max() <= 1


@pytest.mark.fault("Pixels as people save them")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((RAMP * 4095).astype(np.uint16), "no value is above 4,095"),
        ((RAMP * 255).astype(np.float32), "float values from 0 to 255; expected 0 to 1"),
        ((RAMP * 70000).astype(np.int32), "whole values from 0 to 70000"),
        (np.full((32, 32), np.nan, np.float32), "nan"),
    ],
)
def test_deep_images_of_an_unknown_range_are_refused(tmp_path, values, words):
    with pytest.raises(OwnDataError, match=words):
        saved(tmp_path, Image.fromarray(values), ".tif", "?mode=grey")


@pytest.mark.fault("Pixels as people save them")
def test_images_are_turned_as_their_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(EIGHT[:, :24])
    found = saved(tmp_path, image, ".jpg", "", exif=exif, quality=95)
    assert found.shape == (1, 24, 32)
    assert (found[0].int() - torch.from_numpy(np.rot90(EIGHT[:, :24], -1).copy()).int()).abs().max() <= 3


FIGURE = np.zeros((32, 32, 4), np.uint8)
FIGURE[8:24, 8:24] = (200, 30, 30, 255)


def transparent(kind: str) -> tuple[Image.Image, dict]:
    """A red square on a transparent ground whose hidden colour is black, or green."""
    if kind == "palette":
        image = Image.fromarray((FIGURE[..., 3] > 0).astype(np.uint8)).convert("P")
        image.putpalette([0, 255, 0, 200, 30, 30] + [0] * 750)
        return image, {"transparency": 0}
    if kind == "RGB":
        green = np.where(FIGURE[..., 3:] > 0, FIGURE[..., :3], np.uint8([0, 255, 0]))
        return Image.fromarray(green), {"transparency": (0, 255, 0)}
    return Image.fromarray(FIGURE), {}


@pytest.mark.fault("Pixels as people save them")
@pytest.mark.parametrize("kind", ["RGBA", "palette", "RGB"])
def test_transparent_parts_are_white(tmp_path, kind):
    image, how = transparent(kind)
    found = saved(tmp_path, image, ".png", "?mode=rgb", **how)
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert found[:, 16, 16].tolist() == [200, 30, 30]


@pytest.mark.fault("Pixels as people save them")
@pytest.mark.parametrize("kind", ["RGBA", "palette", "RGB", "deep"])
def test_the_demo_reads_the_same_pixels(tmp_path, kind):
    image, how = (Image.fromarray((RAMP * 65535).astype(np.uint16)), {}) if kind == "deep" else transparent(kind)
    found = saved(tmp_path, image, ".png", "?mode=rgb", **how)
    content = next((tmp_path / "d" / "a").iterdir()).read_bytes()
    assert torch.equal(to_tensor(read_picture(content), (3, 32, 32)), found)


@pytest.mark.fault("Pixels as people save them")
def test_a_file_of_several_pictures_is_refused(tmp_path):
    pages = [Image.fromarray(EIGHT), Image.fromarray(255 - EIGHT)]
    with pytest.raises(OwnDataError, match=r"a/0.tif: holds several pictures"):
        saved(tmp_path, pages[0], ".tif", "", save_all=True, append_images=pages[1:])


@pytest.mark.fault("Pixels as people save them")
@pytest.mark.parametrize(
    "image",
    [EIGHT.astype(np.int64), EIGHT[None], torch.from_numpy(EIGHT.astype(np.int32)), EIGHT.astype(np.uint16) * 257],
)
def test_items_of_any_whole_numbers_keep_their_levels(image):
    data = load_own([(image, index % 2) for index in range(6)], name="items", mode="grey")
    assert torch.equal(data.images[0, 0], torch.from_numpy(EIGHT))


@pytest.mark.fault("Pixels as people save them")
@pytest.mark.parametrize(
    ("item", "words"),
    [
        ((EIGHT.astype(np.int64) * 3, 0), "int64 values from 0 to 765; expected 0 to 255"),
        ((EIGHT, torch.tensor([0.0, 1.0])), "label has 2 values; expected one number"),
        ((EIGHT, [0, 1]), "label has 2 values"),
    ],
)
def test_items_of_another_kind_are_refused(item, words):
    with pytest.raises(OwnDataError, match=words):
        load_own([item] * 6, name="items")


# --- bad input --------------------------------------------------------------------------------------------------------


def test_all_problems_come_at_once_with_their_files(folder):
    (folder / "0" / "00.png").write_bytes(b"no image")
    save(folder / "1" / "01.png", size=9)
    save(folder / "1" / "03.png", mode="RGBA")
    (folder / "notes.txt").touch()
    save(folder / "lonely" / "x.png")
    found = "\n".join(problems(folder))
    for part in ("0/00.png: is no image", "1/01.png: 9 × 9", "1/03.png: 6 × 6 pixels, mode RGBA", "notes.txt"):
        assert part in found
    assert "class 'lonely' has 1 image" in found
    assert "?size=32" in found


def test_mixed_sizes_and_modes_are_mended_by_options(folder):
    save(folder / "1" / "01.png", size=9)
    save(folder / "1" / "03.png", mode="RGBA")
    data = load(f"own:{folder}?size=4&mode=grey")
    assert data.images.shape[1:] == (1, 4, 4)
    assert data.title == short_name(f"own:{folder}?size=4&mode=grey")


def test_one_unreadable_image_among_many_is_named(folder):
    (folder / "1" / "07.png").write_bytes((folder / "1" / "07.png").read_bytes()[:60])
    (line,) = problems(folder)
    assert line.startswith("1/07.png: cannot be read as an image")


def test_missing_columns_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("file;label\n")
    with pytest.raises(DataError, match=r"no column path.*semicolons"):
        load_own(tmp_path / "t.csv")


def test_faults_of_a_table_are_listed_by_row(table):
    lines = table.read_text().splitlines()
    lines += ["0.png,old,p0,f0", "none.png,old,p0,f0", "1.png,,p0,f0", ",old,p0,f0", "2.png,old,p0,f9"]
    table.write_text("\n".join(lines))
    found = problems(table)
    for row, words in ((26, "same file stands in row 2"), (27, "no such file"), (28, "label is empty")):
        assert any(line.startswith(f"row {row}") and words in line for line in found), words
    assert any("row 29" in line and "path is empty" in line for line in found)
    assert any("row 30" in line and "family" in line for line in found)


def test_labels_beyond_the_classes_are_named(tmp_path):
    images = np.full((6, 4, 4), 200, np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 0, 1, 1, 2, -1], classes=["cat", "dog"])
    found = problems(tmp_path / "a.npz")
    assert [line.split(" is")[0] for line in found] == ["row 4: label '2'", "row 5: label '-1'"]


def test_pickles_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{}], dtype=object), labels=[0])
    with pytest.raises(DataError, match="can execute code"):
        load_own(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((4, 4, 4)), "labels": [0, 0, 1, 1]}, "float64"),
        ({"images": np.zeros((4, 2, 4, 4, 4), np.uint8), "labels": [0, 0, 1, 1]}, "shape"),
        ({"images": np.zeros((4, 4, 4), np.uint8), "labels": [0, 0, 1]}, "4 images and 3 labels"),
        ({"images": np.zeros((4, 4, 4), np.uint8), "labels": [0, 0, 0, 0]}, "1 class"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    assert words in "\n".join(problems(tmp_path / "a.npz"))


def test_a_dataset_that_changes_between_two_reads_is_refused():
    class Restless:
        def __len__(self):
            return 8

        def __getitem__(self, index):
            self.reads = getattr(self, "reads", 0) + 1
            return torch.full((1, 3, 3), self.reads, dtype=torch.uint8), index % 2

    assert "another one when it is read again" in problems(Restless())[0]


def test_files_that_change_while_they_are_read_are_told(folder, monkeypatch):
    real = Image.open

    def writing(path, **options):
        os.utime(path, (0, 0))
        return real(path, **options)

    monkeypatch.setattr(Image, "open", writing)
    with pytest.raises(DataError, match="changed while they were read"):
        load_own(folder)


def test_normalised_tensors_are_refused():
    items = [(torch.randn(1, 3, 3), index % 2) for index in range(6)]
    assert "before they are normalised" in problems(items)[0]


@pytest.mark.parametrize("option", ["size=0", "size=true", "mode=blue", "test=2", "test=1e-1", "sise=4", "size"])
def test_a_wrong_option_is_refused(folder, option):
    with pytest.raises(ForgetError):
        load(f"own:{folder}?{option}")


def test_a_path_that_is_not_there_says_where_it_was_looked_for():
    with pytest.raises(DataError, match="no nowhere"):
        load("own:nowhere")
    with pytest.raises(UnknownNameError):
        load("nowhere")


# --- names in two spellings -------------------------------------------------------------------------------------------

SPELLINGS = [unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD")]


@pytest.mark.fault("Names in two spellings of Unicode")
def test_a_name_in_two_spellings_of_unicode_is_one_person_and_one_family(tmp_path):
    lines = ["path,label,person,family"]
    for index in range(24):
        save(tmp_path / f"{index}.png", index)
        name = SPELLINGS[index % 2] if index < 8 else f"p{index // 4}"
        lines.append(f"{index}.png,{index % 2},{name},{name}")
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    data = load_own(tmp_path / "t.csv")
    ids = torch.cat([data.people, data.test_people])
    assert int((ids == data.person_names.index(SPELLINGS[0])).sum()) == 8
    assert data.family_names == data.person_names
    assert len(data.person_names) == 5


@pytest.mark.fault("Names in two spellings of Unicode")
def test_a_class_in_two_spellings_of_unicode_is_one_class_in_every_form(tmp_path):
    labels = [SPELLINGS[index % 2] if index < 6 else "x" for index in range(12)]
    images = [np.random.default_rng(index).integers(0, 256, (6, 6), np.uint8) for index in range(12)]
    for index, label in enumerate(labels):
        save(tmp_path / "d" / label / f"{index}.png", index)
    np.savez(tmp_path / "a.npz", images=np.stack(images), labels=labels, people=labels, test_people=[])
    items = list(zip(images, labels, strict=True))
    of_options = load_own(tmp_path / "a.npz", classes=("x", SPELLINGS[1]))
    assert of_options.classes == ("x", SPELLINGS[0])
    for data in (load_own(tmp_path / "d"), load_own(tmp_path / "a.npz"), load_own(items, name="items")):
        assert sorted(data.classes) == sorted([SPELLINGS[0], "x"])
    assert sorted(load_own(tmp_path / "a.npz").person_names) == sorted([SPELLINGS[0], "x"])


# --- pictures that would be black -------------------------------------------------------------------------------------

BITS = (RAMP > 0.5).astype(np.uint8)
BLACK = "would be nearly black"


@pytest.mark.fault("Pixels as people save them")
def test_pictures_of_zeros_and_ones_are_refused_in_every_form(tmp_path):
    with pytest.raises(OwnDataError, match=BLACK):
        saved(tmp_path, Image.fromarray(BITS), ".png", "")
    np.savez(tmp_path / "a.npz", images=np.stack([BITS] * 6), labels=[0, 1] * 3)
    assert any(BLACK in line for line in problems(tmp_path / "a.npz"))
    for items in (BITS, BITS.astype(np.int64), torch.from_numpy(BITS)):
        assert any(BLACK in line for line in problems([(items, index % 2) for index in range(6)], name="items"))
    assert load_own([(BITS * 255, index % 2) for index in range(6)], name="items").images.max() == 255
    assert load_own([(BITS > 0, index % 2) for index in range(6)], name="items").images.max() == 255


@pytest.mark.fault("Pixels as people save them")
def test_dark_floats_are_refused_as_dark_whole_numbers_are(tmp_path):
    with pytest.raises(OwnDataError, match=r"float values, but none is above 0\.1: all would be dark"):
        saved(tmp_path, Image.fromarray((RAMP * 0.1).astype(np.float32)), ".tif", "?mode=grey")


@pytest.mark.fault("Pixels as people save them")
def test_dark_pictures_of_eight_bits_are_taken_and_that_is_said(capsys):
    data = load_own([((RAMP * 16).astype(np.uint8), index % 2) for index in range(6)], name="items")
    assert data.images.max() == 16
    assert any("no value of any image is above 16 of 255" in note for note in data.notes)
    assert "above 16 of 255" in capsys.readouterr().out


@pytest.mark.fault("Pixels as people save them")
def test_transparent_parts_of_deep_grey_are_white(tmp_path):
    values = (RAMP * 60000).astype(np.uint16)
    values[:8] = 12345
    found = saved(tmp_path, Image.fromarray(values), ".png", "?mode=grey", transparency=12345)
    assert found[0, :8].unique().tolist() == [255]
    assert found[0, 8, 31] == round(60000 * 255 / 65535)
    deep = next((tmp_path / "d" / "a").iterdir()).read_bytes()
    assert torch.equal(to_tensor(read_picture(deep), (1, 32, 32)), found)


@pytest.mark.parametrize(
    "option", ["classes=null", "classes=3.5", "classes=true", "classes=[no, yes]", "classes={a: b}"]
)
@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_classes_that_are_no_names_are_refused(folder, option):
    with pytest.raises(ForgetError, match=r"classes is .*names"):
        load_own(f"own:{folder}?{option}")
