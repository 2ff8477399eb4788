import pytest
import yaml

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets.requests import parse_request
from forget_lib.show.catalogue import settings_sentence
from forget_lib.study import chosen
from forget_lib.unlearning import get_method, registry

FIRST = (
    *("finetune", "negative_gradient", "negative_gradient_plus", "random_label", "uniform_kl", "bad_teacher", "scrub"),
    *("scrub_rewind", "unsir", "cf_k", "eu_k", "l1_sparse", "salun", "ssd", "lfssd", "adaptive_ssd"),
    *("delete_distillation", "boundary_shrink"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(chosen, "FOLDER", tmp_path)
    chosen.read_settings.cache_clear()
    yield tmp_path
    chosen.read_settings.cache_clear()


def test_given_settings_stand_above_chosen_ones(folder):
    (folder / "blobs-mlp-class.yaml").write_text("methods: {finetune: {epochs: 3, learning_rate: 0.2}}")
    settings = chosen.with_chosen("finetune", {"epochs": 1}, "blobs", "mlp", "class")
    assert settings == {"epochs": 1, "learning_rate": 0.2}


def test_where_nothing_was_chosen_the_defaults_stay(folder):
    assert chosen.with_chosen("finetune", {}, "blobs", "mlp", "random") == {}


def test_a_part_of_a_data_set_takes_the_settings_of_the_whole(folder):
    (folder / "cifar10-mlp-class.yaml").write_text("methods: {finetune: {epochs: 3}}")
    assert chosen.with_chosen("finetune", {}, "cifar10_part", "mlp", "class") == {"epochs": 3}


def test_settings_tuned_on_exactly_these_data_go_before_those_of_another_version(folder):
    (folder / "blobs-mlp-class.yaml").write_text("{checksum: aaaa, methods: {finetune: {epochs: 3}}}")
    new = chosen.file_to_write("blobs", "mlp", "class", "0123456789ab")
    assert new.name == "blobs-mlp-class-01234567.yaml"
    assert chosen.file_to_write("blobs", "mlp", "class", "aaaa").name == "blobs-mlp-class.yaml"
    assert chosen.with_chosen("finetune", {}, "blobs", "mlp", "class", "0123456789ab") == {"epochs": 3}
    new.write_text("{checksum: 0123456789ab, methods: {finetune: {epochs: 1}}}")
    assert chosen.with_chosen("finetune", {}, "blobs", "mlp", "class", "0123456789ab") == {"epochs": 1}
    assert chosen.with_chosen("finetune", {}, "blobs", "mlp", "class", "aaaa") == {"epochs": 3}
    assert chosen.file_to_write("blobs", "mlp", "class", "0123456789ab") == new


@pytest.mark.fault("Two data sets or nets of one name")
def test_own_data_have_the_settings_of_exactly_these_data_and_never_those_of_a_name(folder):
    (folder / "blobs-mlp-class.yaml").write_text("{checksum: aaaa, methods: {finetune: {epochs: 3}}}")
    (folder / "blobs-mlp-class-01234567.yaml").write_text("{checksum: 0123456789ab, methods: {finetune: {epochs: 2}}}")
    for name in ("own:/a/blobs", "own:/a/blobs.csv", "own:/a/set.py:blobs"):
        for checksum in ("", "aaaa", "0123456789ab"):
            assert chosen.with_chosen("finetune", {}, name, "mlp", "class", checksum) == {}
            assert chosen.with_chosen("finetune", {}, "blobs", "/a/nets.py:mlp", "class", checksum) == {}
    new = chosen.file_to_write("own:/a/blobs", "mlp", "class", "0123456789ab")
    new.write_text("{checksum: 0123456789ab, methods: {finetune: {epochs: 1}}}")
    chosen.read_settings.cache_clear()
    moved = chosen.with_chosen("finetune", {}, "own:/b/blobs", "mlp", "class", "0123456789ab")
    assert moved == {"epochs": 1}
    assert chosen.with_chosen("finetune", {}, "own:/b/blobs", "mlp", "class", "ba9876543210") == {}


def test_settings_of_other_data_are_said_to_be_a_transfer(folder):
    text = "{dataset: blobs, tuned_on: 'class:6', source: embedded sample, checksum: abc, methods: {finetune: {}}}"
    (folder / "blobs-mlp-class.yaml").write_text(text)
    same = settings_sentence("blobs", "mlp", "class", "abc")
    assert "request class:6" in same
    assert "not on" not in same
    assert "not on the data of this page" in settings_sentence("blobs", "mlp", "class", "def")
    assert "defaults" in settings_sentence("blobs", "mlp", "random", "abc")


def test_defaults_stay_within_a_fifth_of_a_short_training():
    assert registry.default_settings("scrub", 100) == get_method("scrub").settings
    assert registry.default_settings("scrub", 8)["epochs"] == 1
    assert registry.default_settings("scrub_rewind", 10)["epochs"] == 2
    assert registry.default_settings("eu_k", 20)["epochs"] == 4  # 0 stands for the whole recipe
    assert registry.default_settings("delete_distillation", 4) == get_method("delete_distillation").settings
    assert registry.default_settings("ssd", 1) == get_method("ssd").settings
    assert registry.default_settings("over_forget", 5) == get_method("over_forget").settings


@pytest.mark.parametrize("profile", ["quick"])
def test_the_first_methods_are_tuned_wherever_digits_and_objects_are_reported(profile):
    """Each method of the first part, unless it does not apply; what a trial may cost is tested with the trials."""
    config = yaml.safe_load((REPOSITORY / "workflow" / "config" / f"{profile}.yaml").read_text())
    tuned = {"mnist", "cifar10", "cifar10_part", "cifar16"}
    for name, scenario in config["scenarios"].items():
        if scenario["dataset"] not in tuned or (scenario["dataset"], scenario["model"]) == ("cifar16", "small_cnn"):
            continue
        # A pool names no request of the study: by default its evaluation samples are random ones.
        for request in map(parse_request, scenario.get("requests", ["random:0.1"])):
            file = chosen.settings_file(scenario["dataset"], scenario["model"], request.kind)
            found = chosen.read_settings(file)["methods"]
            wanted = {method for method in FIRST if method in scenario["methods"]}
            if request.kind != "class":
                wanted = {method for method in wanted if "class request" not in get_method(method).needs}
            assert wanted <= set(found), f"{name}, {request.name}: {sorted(wanted - set(found))}"


@pytest.mark.parametrize("text", ["methods: [1, 2]", "nothing: here", "methods: {finetune: [", ""])
def test_a_damaged_file_says_how_to_make_it_again(folder, text):
    (folder / "blobs-mlp-mislabelled.yaml").write_text(text)
    with pytest.raises(ForgetError, match=r"workflow\.tuning"):
        chosen.with_chosen("finetune", {}, "blobs", "mlp", "mislabelled")
    assert chosen.file_to_write("blobs", "mlp", "mislabelled", "abc").name == "blobs-mlp-mislabelled.yaml"
