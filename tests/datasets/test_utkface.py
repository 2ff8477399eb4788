"""UTKFace on made-up files: what names say, what is left out and counted, and what is refused."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from forget_lib.core.errors import DataError
from forget_lib.datasets import load
from forget_lib.datasets.utkface import ARCHIVE, ETHNIC_GROUPS, SEXES, Named, read_name
from forget_lib.show import figures

TIME = "20170109142408075.jpg.chip.jpg"


def write(folder: Path, name: str, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.fixture
def files(data) -> Path:
    """Ten ages from 0 to 81, twice each."""
    folder = data / "utkface" / "UTKFace"
    for number, age in enumerate((0, 6, 7, 13, 20, 31, 46, 67, 80, 81)):
        for sex in (0, 1):
            write(folder, f"{age}_{sex}_{number % 5}_{TIME}", 2 * number + sex)
    return folder


def test_age_sex_and_ethnic_group_come_from_the_name(files):
    data = load("utkface")
    assert (len(data.labels), len(data.test_labels)) == (14, 4)
    assert data.images.shape[1:] == (3, 64, 64)
    labels = torch.cat([data.labels, data.test_labels])
    assert labels.bincount(minlength=8).tolist() == [4, 2, 2, 2, 2, 2, 0, 4]
    assert set(data.traits) == {"sex", "ethnic group"}
    sex, group = data.traits.values()
    assert (sex.names, group.names) == (SEXES, ETHNIC_GROUPS)
    assert torch.cat([sex.pool, sex.test]).bincount().tolist() == [9, 9]
    assert (len(group.pool), len(group.test)) == (14, 4)
    assert data.notes == ("0 identical files left out", "2 over 80 years left out")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"116_1_4_{TIME}", Named(116, 1, 4)),
        ("55_0_0_20170116232725357jpg.chip.jpg", Named(55, 0, 0)),
        (f"117_0_0_{TIME}", None),
        (f"39_1_{TIME}", None),
        (f"20_2_0_{TIME}", None),
        (f"20_0_5_{TIME}", None),
        (f"_0_0_{TIME}", None),
        (f"-1_0_0_{TIME}", None),
        (f"²_0_0_{TIME}", None),
        ("portrait.jpg", None),
    ],
)
def test_a_name_is_read_or_refused(name, found):
    assert read_name(name) == found


def test_bad_names_and_identical_files_are_left_out_counted_and_named(files, capsys):
    write(files, f"39_1_{TIME}", 90)
    write(files, f"117_0_0_{TIME}", 91)
    shutil.copy(files / f"7_0_2_{TIME}", files / f"8_0_2_{TIME}")
    data = load("utkface")
    assert len(data.labels) + len(data.test_labels) == 18
    assert data.notes[0] == "1 identical files left out"
    assert data.notes[2].startswith("2 files left out")
    said = capsys.readouterr().out
    assert f"39_1_{TIME}" in said
    assert "non-commercial" in said


def test_pointers_instead_of_images_are_refused_by_name(files):
    (files / f"5_0_0_{TIME}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9000\n")
    with pytest.raises(DataError, match=rf"1 of 21 files are Git LFS pointers and no images \(5_0_0_{TIME}\).*git lfs"):
        load("utkface")


def test_a_truncated_image_is_named(files):
    path = files / f"7_0_2_{TIME}"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=rf"7_0_2_{TIME}.* is truncated or damaged"):
        load("utkface")


def test_without_the_files_the_steps_by_hand_are_named(data):
    with pytest.raises(DataError, match=r"no images in .*data/README\.md"):
        load("utkface")


def test_the_archive_is_unpacked_where_it_lies(files, data):
    with tarfile.open(data / "utkface" / ARCHIVE, "w:gz") as archive:
        archive.add(files, "UTKFace")
    shutil.rmtree(files)
    assert len(load("utkface").labels) == 14


def test_no_face_is_shown_on_a_page(files, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    monkeypatch.setattr(figures, "show", lambda *_: pytest.fail("a real face was shown"))
    data = load("utkface")
    figures.show_images(data, {"a": data.images[:2]}, "faces")
    assert "never put on a page" in shown[0].data
