import gzip
import json
import warnings

import pytest
import yaml

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets.requests import parse_request
from forget_lib.show.catalogue import settings_sentence
from forget_lib.study import chosen
from forget_lib.unlearning import get_method, list_methods, registry

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
    text = "dataset: blobs, tuned_on: 'class:6', source: embedded sample, checksum: abc, methods: {finetune: {}}"
    (folder / "blobs-mlp-class.yaml").write_text(f"{{{text}}}")
    assert "by an older rule" in settings_sentence("blobs", "mlp", "class", "abc")
    chosen.read_settings.cache_clear()
    (folder / "blobs-mlp-class.yaml").write_text(
        f"{{rule: {chosen.RULE}, {text}, no_acceptable_setting: {{ssd: {{}}}}}}"
    )
    assert "No setting was acceptable for ssd" in settings_sentence("blobs", "mlp", "class", "abc")
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
            about = chosen.read_settings(file)
            found = {*about["methods"], *about.get("no_acceptable_setting", {})}
            wanted = {method for method in FIRST if method in scenario["methods"]}
            if request.kind != "class":
                wanted = {method for method in wanted if "class request" not in get_method(method).needs}
            assert wanted <= found, f"{name}, {request.name}: {sorted(wanted - found)}"


TUNED = """
rule: {rule}
kind: class
source: embedded sample
checksum: aaaa
methods: {{finetune: {{epochs: 3}}}}
no_acceptable_setting: {{scrub: {{settings: null, reason: it loses 9.0 points, runs_with: {{epochs: 1}}}}}}
"""


def choice_of(method="finetune", given=None, kind="class", checksum="aaaa"):
    return chosen.choice(method, given or {}, "blobs", "mlp", kind, checksum)


def test_what_is_tuned_on_exactly_these_data_is_told_from_all_else(folder):
    (folder / "blobs-mlp-class.yaml").write_text(TUNED.format(rule=chosen.RULE))
    assert choice_of() == chosen.Choice({"epochs": 3}, "tuned")
    assert choice_of("scrub") == chosen.Choice({"epochs": 1}, "no acceptable setting", "it loses 9.0 points")
    assert choice_of("ssd") == chosen.Choice({}, "not tuned", "its defaults")
    assert choice_of(checksum="bbbb").tuned == "not tuned"
    assert "settings of other data (embedded sample, class)" in choice_of(checksum="bbbb").why
    assert choice_of(given={"epochs": 3}).tuned == "tuned"
    assert choice_of(given={"epochs": 2}) == chosen.Choice({"epochs": 2}, "not tuned", "settings given by hand")
    assert choice_of(kind="random").why == "its defaults"
    (folder / "blobs-mlp-person.yaml").write_text(TUNED.format(rule=chosen.RULE).replace("kind: class", "kind: person"))
    assert choice_of(kind="person").tuned == "tuned"
    assert choice_of(kind="family").tuned == "not tuned", "a family takes a person's settings, and is not tuned"
    for name in chosen.NOTHING_TO_TUNE:
        assert choice_of(name) == chosen.Choice({}, "")


def test_settings_of_an_older_rule_are_used_and_count_as_not_tuned(folder):
    (folder / "blobs-mlp-class.yaml").write_text(TUNED.format(rule=1))
    assert choice_of() == chosen.Choice({"epochs": 3}, "not tuned", "settings chosen by an older rule")


def test_what_has_nothing_to_tune_are_the_controls_and_what_is_exact():
    free = {name for name in list_methods() if get_method(name).control or get_method(name).exact}
    assert free <= chosen.NOTHING_TO_TUNE
    assert chosen.NOTHING_TO_TUNE - free <= {"original", "second_retrain", "short_retrain"}


def test_a_fall_back_is_said_once(folder, capsys):
    chosen.say_once.cache_clear()
    for _ in range(2):
        chosen.with_chosen("ssd", {}, "blobs", "mlp", "class", "aaaa")
    assert capsys.readouterr().out == "ssd on blobs, mlp, class: not tuned (its defaults).\n"


def test_the_digest_changes_with_the_settings_and_a_record_made_with_others_is_not_current(folder):
    where = ("blobs", "mlp", "class", "aaaa")
    record = {"method": "finetune", "dataset": "blobs", "model": "mlp", "request_text": "class:c1"}
    record |= {"data_checksum": "aaaa", "settings": {"epochs": 3, "learning_rate": 0.1}}
    (folder / "blobs-mlp-class.yaml").write_text(TUNED.format(rule=chosen.RULE))
    before, one, other = chosen.digest(*where), chosen.digest(*where, ["finetune"]), chosen.digest(*where, ["scrub"])
    assert chosen.is_current(record), "an older record, by its settings"
    assert chosen.is_current(record | {"settings_digest": one})
    (folder / "blobs-mlp-class.yaml").write_text(TUNED.format(rule=chosen.RULE).replace("epochs: 3", "epochs: 2"))
    chosen.read_settings.cache_clear()
    assert chosen.digest(*where) != before
    assert chosen.digest(*where, ["scrub"]) == other
    assert not chosen.is_current(record)
    assert not chosen.is_current(record | {"settings_digest": one})
    assert chosen.is_current(record | {"method": "do_nothing"})
    pool = {"method": "finetune", "dataset": "blobs", "model": "mlp", "drawn": "mislabelled", "settings": {}}
    assert chosen.is_current(pool)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "results" / "reference").glob("*/records.jsonl.gz")), ids=str)
def test_committed_records_that_call_themselves_tuned_have_the_settings_that_stand_in_the_repository(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        stale = [record for record in map(json.loads, lines) if not chosen.is_current(record)]
    names = sorted({f"{each['dataset']}-{each['model']} {each['request']} {each['method']}" for each in stale})
    if names:
        warnings.warn(f"{len(stale)} records have other settings: {', '.join(names)}", stacklevel=1)
    assert [each for each in stale if each.get("tuned") == chosen.TUNED] == []


@pytest.mark.parametrize("text", ["methods: [1, 2]", "nothing: here", "methods: {finetune: [", ""])
def test_a_damaged_file_says_how_to_make_it_again(folder, text):
    (folder / "blobs-mlp-mislabelled.yaml").write_text(text)
    with pytest.raises(ForgetError, match=r"workflow\.tuning"):
        chosen.with_chosen("finetune", {}, "blobs", "mlp", "mislabelled")
    assert chosen.file_to_write("blobs", "mlp", "mislabelled", "abc").name == "blobs-mlp-mislabelled.yaml"
