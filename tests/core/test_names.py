import re

import pytest

from forget_lib.core import paths
from forget_lib.core.errors import ForgetError
from forget_lib.core.names import public_name, short_name, split_options


def test_registered_names_stay_as_they_are():
    assert short_name("synthetic_faces32") == "synthetic_faces32"


@pytest.mark.fault("Two data sets or nets of one name")
def test_own_names_become_one_word_with_digits_of_their_place_and_options():
    assert re.fullmatch("my_digits_[0-9a-f]{6}", short_name("own:/home/me/my digits.csv"))
    assert re.fullmatch("resnet18_[0-9a-f]{6}", short_name("torchvision.models:resnet18"))
    assert short_name("own:a/digits?size=28&mode=grey") == short_name("own:a/digits?mode=grey&size=28")
    assert len(short_name("own:" + "a" * 10_000)) < 60


ALIKE = [
    *("own:/a/images", "own:/b/images", "own:/b/images?size=28", "own:/b/images?size=32"),
    *("own:/x/日本", "own:/x/中国", "own:/x/é", "own:/x/données 1", "own:/x/données_1", "own:/a/faces.v1"),
    *("own:/a/faces.v2", "own:/a/t.csv", "own:/a/t.npz", "own:/a/im.2023", "own:/a/im.2024", "own:/a/mnist"),
    *("own:/a/orl.csv", "own:/a/set.py:make", "own:/b/set.py:make", "own:a.set:make", "own:b.set:make", "mnist", "orl"),
    *("/a/nets.py:mlp", "/b/nets.py:mlp", "a.nets:mlp", "b.nets:mlp", "mlp", "own:/a/..", "own:/a/."),
    *("/a/nets.py:mlp?weights=/a/w.pt", "/a/nets.py:mlp?weights=/b/w.pt"),
]


@pytest.mark.fault("Two data sets or nets of one name")
def test_what_lies_in_two_places_has_two_names_though_it_is_called_the_same():
    names = [short_name(text) for text in ALIKE]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.]*", name) for name in names)


@pytest.mark.fault("Two data sets or nets of one name")
def test_one_place_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "home" / "faces").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (tmp_path / "people").symlink_to(tmp_path / "home" / "faces")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    written = [f"own:{tmp_path}/home/faces", "own:~/faces", "own:faces", "own:./faces", f"own:{tmp_path}/link/faces"]
    written += [f"own:{tmp_path}/people", "own:../people"]
    assert len({short_name(text) for text in written}) == 1
    (tmp_path / "home" / "faces").rmdir()
    assert len({short_name(text) for text in written[:2]}) == 1  # as after the data were deleted


@pytest.mark.fault("Two data sets or nets of one name")
def test_a_place_within_the_repository_has_the_same_name_in_each_copy_of_it(tmp_path, monkeypatch):
    found = []
    for copy in ("one", "two"):
        (tmp_path / copy / "data" / "digits").mkdir(parents=True)
        monkeypatch.setattr(paths, "REPOSITORY", tmp_path / copy)
        found += [short_name("own:data/digits"), short_name(f"own:{tmp_path}/{copy}/data/digits")]
    assert len(set(found)) == 1


def test_folders_stay_private():
    assert public_name("/home/me/nets.py:make?weights=/home/me/w.pt&size=32") == "nets.py:make?weights=w.pt&size=32"
    assert public_name("own:/home/me/digits") == "own:digits"
    assert public_name("a.b:make?config=/home/me/c.yaml&start=~/d/e") == "a.b:make?config=c.yaml&start=e"


def test_what_is_no_path_in_an_option_is_recorded_whole():
    assert public_name("own:/home/ann/f?classes=a/b,c") == "own:f?classes=a/b,c"
    assert public_name("own:f.py:make?classes=a/b,c") == "own:f.py:make?classes=a/b,c"
    assert public_name("/home/me/n.py:make?variant=large/16") == "n.py:make?variant=large/16"


def test_options_are_read_as_yaml():
    assert split_options("a:b?size=32&mean=[0.5, 0.5]&on=true") == ("a:b", {"size": 32, "mean": [0.5, 0.5], "on": True})
    with pytest.raises(ForgetError, match="not option=value"):
        split_options("a:b?size")


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_an_option_that_is_given_twice_is_refused():
    with pytest.raises(ForgetError, match="weights is given twice"):
        split_options("a:b?weights=a&weights=b")
