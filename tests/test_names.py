import pytest

from forget_lib.errors import ForgetError
from forget_lib.names import public_name, short_name, split_options


def test_registered_names_stay_as_they_are():
    assert short_name("synthetic_faces32") == "synthetic_faces32"


def test_own_names_become_one_word_and_options_tell_them_apart():
    assert short_name("own:/home/me/my digits.csv") == "my_digits"
    assert short_name("torchvision.models:resnet18") == "resnet18"
    one, two = short_name("own:a/digits?size=28"), short_name("own:a/digits?size=32")
    assert one.startswith("digits_")
    assert one != two
    assert short_name("own:elsewhere/digits?size=28") == one


def test_folders_stay_private():
    assert public_name("/home/me/nets.py:make?weights=/home/me/w.pt&size=32") == "nets.py:make?weights=w.pt&size=32"
    assert public_name("own:/home/me/digits") == "own:digits"


def test_options_are_read_as_yaml():
    assert split_options("a:b?size=32&mean=[0.5, 0.5]&on=true") == ("a:b", {"size": 32, "mean": [0.5, 0.5], "on": True})
    with pytest.raises(ForgetError, match="not option=value"):
        split_options("a:b?size")
