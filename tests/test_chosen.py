import pytest

from forget_lib import chosen
from forget_lib.errors import ForgetError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(chosen, "FOLDER", tmp_path)
    chosen._read.cache_clear()
    yield tmp_path
    chosen._read.cache_clear()


def test_given_settings_stand_above_chosen_ones(folder):
    (folder / "blobs-mlp-class.yaml").write_text("methods: {finetune: {epochs: 3, learning_rate: 0.2}}")
    settings = chosen.with_chosen("finetune", {"epochs": 1}, "blobs", "mlp", "class")
    assert settings == {"epochs": 1, "learning_rate": 0.2}


def test_where_nothing_was_chosen_the_defaults_stay(folder):
    assert chosen.with_chosen("finetune", {}, "blobs", "mlp", "random") == {}


def test_a_part_of_a_data_set_takes_the_settings_of_the_whole(folder):
    (folder / "cifar10-mlp-class.yaml").write_text("methods: {finetune: {epochs: 3}}")
    assert chosen.with_chosen("finetune", {}, "cifar10_part", "mlp", "class") == {"epochs": 3}


@pytest.mark.parametrize("text", ["methods: [1, 2]", "nothing: here", "methods: {finetune: [", ""])
def test_a_damaged_file_says_how_to_make_it_again(folder, text):
    (folder / "blobs-mlp-mislabelled.yaml").write_text(text)
    with pytest.raises(ForgetError, match=r"forget_lib\.tuning"):
        chosen.with_chosen("finetune", {}, "blobs", "mlp", "mislabelled")
