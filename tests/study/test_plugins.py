"""Plugins stand beside what is built in; a broken one is named and does not stop the rest."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from forget_lib.attacks import AttackInput, Side, get_attack
from forget_lib.core import user_code as trust
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets import load as load_data
from forget_lib.study import plugins
from forget_lib.study import run as study
from forget_lib.unlearning import get_method

TEMPLATES = sorted((REPOSITORY / "workflow" / "templates").glob("*.py"))
HEAD = """
    import torch
    from forget_lib.unlearning import method
    def plain(name):
        return method(name, title=name, paper="", uses="forget", family="mine")
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    """Registries and loaded plugins are as before after a test; code is trusted in it."""
    monkeypatch.setenv(trust.VARIABLE, "1")
    kept = {kind: dict(registry) for kind, registry in plugins.REGISTRIES.items()}
    monkeypatch.setattr(plugins, "LOADED", {})
    yield
    for kind, registry in plugins.REGISTRIES.items():
        built_in = getattr(registry, "files", ())  # they may have been read meanwhile, and are read once
        for name in set(registry) - set(kept[kind]) - set(built_in):
            del registry[name]


def write(folder: Path, name: str, text: str, head: str = HEAD) -> Path:
    (folder / f"{name}.py").write_text(textwrap.dedent(head) + textwrap.dedent(text))
    return folder / f"{name}.py"


def printed_templates() -> dict[str, str]:
    """The templates as docs/own.md shows them, by file name."""
    text = (REPOSITORY / "docs" / "own.md").read_text(encoding="utf-8")
    part = text.split("<!-- templates:")[1].split("<!-- end of templates")[0]
    blocks = part.split("`my_")[1:]
    return {"my_" + block.split("`")[0]: block.split("```python\n")[1].split("```")[0] for block in blocks}


# --- templates --------------------------------------------------------------------------------------------------------


def test_each_template_is_short_and_printed_in_the_docs():
    assert set(printed_templates()) == {path.name for path in TEMPLATES} >= {"my_method.py", "my_attack.py"}
    assert all(len(text.splitlines()) <= 30 for text in printed_templates().values())


FIRST_TEMPLATES = Path(__file__).resolve().parent.parent / "first_templates"
"""The templates as they were first published: plugins that people wrote from them go on working."""


@pytest.mark.parametrize("which", ["printed", "first"])
def test_the_templates_run_as_they_are_printed(tmp_path, monkeypatch, which):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path / "data"))
    first = {file.name: file.read_text(encoding="utf-8") for file in FIRST_TEMPLATES.glob("my_*.py")}
    for name, text in (first if which == "first" else printed_templates()).items():
        (tmp_path / name).write_text(text)
    loaded = plugins.load(sorted(tmp_path.glob("my_*.py")))
    assert not any(plugin.faults for plugin in loaded)
    keys = {"dataset": "my_data", "model": "my_model", "request": "random:0.2"}
    recipe = {"epochs": 3, "batch_size": 32, "learning_rate": 0.05}
    own = study.make_scenario(tmp_path, recipe, ["loss_regression", "my_attack"], **keys)
    table = study.run_methods(own, {"my_method": {}, "finetune": {}})
    assert table["status"].eq("done").all()
    assert {"my_method", "finetune"} <= set(table["method"])
    mine = table[table["attack"] == "my_attack"]
    assert set(mine["method"]) == set(table["method"])
    accuracy = table[(table["method"] == "original") & (table["metric"] == "test_accuracy")]["value"].item()
    assert accuracy > 0.9


def test_a_changed_plugin_is_run_again(blobs, tmp_path):
    body = "@plain('mine')\ndef mine(model, task):\n    {}\n    return model\n"
    recipe = {"epochs": 1, "batch_size": 32}
    scenario = study.make_scenario(tmp_path, recipe, (), dataset="blobs", model="mlp", request="class:c1")
    plugins.load([write(tmp_path, "mine", body.format("pass"))])
    first = study.run_method(scenario, "mine")
    assert study.run_method(scenario, "mine")["written"] == first["written"]
    plugins.LOADED.clear()
    plugins.METHODS.pop("mine")
    plugins.load([write(tmp_path, "mine", body.format("next(model.parameters()).data.mul_(0.5)"))])
    assert study.run_method(scenario, "mine")["key"] != first["key"]


# --- trust ------------------------------------------------------------------------------------------------------------


def test_plugins_run_only_if_trusted(tmp_path, monkeypatch):
    monkeypatch.delenv(trust.VARIABLE)
    path = write(tmp_path, "mine", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(trust.NotTrustedError, match=r"mine\.py is code.*--trust-code"):
        plugins.load([path])
    assert not (tmp_path / "ran").exists()


def test_the_environment_names_plugins(tmp_path, monkeypatch):
    path = write(tmp_path, "mine", "@plain('mine')\ndef mine(model, task):\n    return model\n")
    monkeypatch.setenv(plugins.VARIABLE, json.dumps([str(path)]))
    (plugin,) = plugins.load_from_environment()
    assert plugin.names["method"] == ("mine",)
    assert get_method("mine").settings == {}


# --- broken at loading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("x = 1\n1 / 0\n", r"ZeroDivisionError: .*\(broken\.py, line 7\)"),
        ("x = 1\n", "registers nothing"),
        ("@plain('mine')\ndef mine(model):\n    return model\n", r"signature \(model\); expected \(model, task"),
        ("@plain('mine')\ndef mine(model, task, rate):\n    return model\n", "signature"),
        ("@plain('mine')\ndef mine(model, task, *, rate):\n    return model\n", "setting=default"),
        ("@plain('finetune')\ndef mine(model, task):\n    return model\n", "exists already"),
    ],
)
def test_a_broken_file_is_named_and_the_next_one_is_loaded(tmp_path, capsys, text, words):
    good = write(tmp_path, "good", "@plain('good')\ndef good(model, task):\n    return model\n")
    builtin = get_method("finetune")
    broken, fine = plugins.load([write(tmp_path, "broken", text), good])
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("".join(broken.faults))
    assert "plugin broken.py: not used" in capsys.readouterr().out
    assert not fine.faults
    assert get_method("good")
    assert get_method("finetune") is builtin
    assert "mine" not in plugins.METHODS


def test_a_file_that_is_not_there_is_named():
    assert "no nowhere.py" in plugins.load(["nowhere.py"])[0].faults[0]


# --- broken when used -------------------------------------------------------------------------------------------------

BODIES = {
    "nothing": ("pass", "returned NoneType"),
    "raises": ("raise KeyError('oh')", r"KeyError: .*, line 8\)"),
    "greedy": ("task.retain.images.zero_(); return model", "changed the retain data"),
    "sly": ("task.forget.labels.numpy()[:] = 0; return model", "changed the forget data"),
    "nan": ("next(model.parameters()).data.fill_(float('nan')); return model", "not finite"),
    "other": ("return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7))", r"outputs \[7\]"),
}


def test_broken_methods_are_named_in_the_record_and_the_rest_goes_on(blobs, tmp_path):
    paths = [
        write(tmp_path, name, f"@plain('{name}')\ndef {name}(model, task):\n    {body}\n")
        for name, (body, _) in BODIES.items()
    ]
    assert not any(plugin.faults for plugin in plugins.load(paths))
    recipe = {"epochs": 1, "batch_size": 32}
    scenario = study.make_scenario(tmp_path, recipe, (), dataset="blobs", model="mlp", request="class:c1")
    before = scenario.data.images.clone()
    table = study.run_methods(scenario, {name: {} for name in (*BODIES, "finetune")}).drop_duplicates("method")
    rows = table.set_index("method")
    for name, (_, words) in BODIES.items():
        assert rows.loc[name, "status"] == "failed", name
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(rows.loc[name, "reason"])
        assert name in rows.loc[name, "reason"]
    assert rows.loc["finetune", "status"] == "done"
    assert scenario.data.images.equal(before)


def test_a_broken_attack_or_data_set_or_model_is_named(blobs, tmp_path):
    head = """
        import numpy as np
        from torch import nn
        from forget_lib.attacks import attack
        from forget_lib.datasets import dataset
        from forget_lib.models.nets import model
    """
    text = """
        @attack("bad_attack", title="t", paper="", null="0.5")
        def bad_attack(inputs) -> np.ndarray:
            return inputs.nothing
        @dataset("bad_data")
        def bad_data(start):
            return 3
        @model("bad_model")
        def bad_model(input_shape, number_of_classes):
            return nn.Flatten()
    """
    (plugin,) = plugins.load([write(tmp_path, "bad", text, head)])
    assert not plugin.faults
    with pytest.raises(DataError, match=r"bad_data \(bad\.py\) returned int"):
        load_data("bad_data")
    with pytest.raises(ForgetError, match="without parameters"):
        study.make_scenario(tmp_path, {}, (), dataset="blobs", model="bad_model", request="class:c1")
    recipe = {"epochs": 1, "batch_size": 32}
    keys = {"dataset": "blobs", "model": "mlp", "request": "random:0.3"}
    scenario = study.make_scenario(tmp_path, recipe, ["bad_attack"], **keys)
    assert study.run_method(scenario, "finetune")["status"] == "done"
    inputs = AttackInput(Side(np.zeros((2, 2)), np.zeros(2, int)), Side(np.ones((2, 2)), np.zeros(2, int)))
    with pytest.raises(ForgetError, match=r"bad_attack \(bad\.py\) failed: AttributeError: .* \(bad\.py, line \d+\)"):
        get_attack("bad_attack")(inputs)


# --- as people name them ----------------------------------------------------------------------------------------------


@pytest.mark.fault("Plugins that would be left out in silence")
@pytest.mark.parametrize("write_down", [str, lambda path: json.dumps([str(path)]), lambda path: f"{path}:{path}:"])
def test_the_environment_takes_plugins_as_path_has_them_or_as_json(tmp_path, monkeypatch, write_down):
    path = write(tmp_path, "mine", "@plain('mine')\ndef mine(model, task):\n    return model\n")
    monkeypatch.setenv(plugins.VARIABLE, write_down(path))
    assert plugins.load_from_environment()[0].names["method"] == ("mine",)


@pytest.mark.fault("Plugins that would be left out in silence")
def test_what_begins_as_a_json_list_and_is_none_is_refused_with_what_to_write(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "[mine.py]")
    with pytest.raises(ForgetError, match=r"FORGET_PLUGINS is no JSON list .*write FORGET_PLUGINS=my_method\.py"):
        plugins.load_from_environment()


@pytest.mark.fault("Plugins that would be left out in silence")
@pytest.mark.parametrize("given", ['["x.py", 3]', "[null]", "[[]]"])
def test_a_list_of_other_things_than_paths_is_refused(monkeypatch, given):
    monkeypatch.setenv(plugins.VARIABLE, given)
    with pytest.raises(ForgetError, match=r"FORGET_PLUGINS is no JSON list of paths"):
        plugins.load_from_environment()


SCORES = """
    @attack("open", title="t", paper="", null="0.5")
    def loud(inputs) -> np.ndarray:
        return inputs.labels * 1.0
"""
ATTACK = """
    import numpy as np
    from forget_lib.attacks import attack
    from forget_lib.statistics.measurement import Measurement
"""


@pytest.mark.fault("Plugins that would be left out in silence")
def test_an_attack_that_does_not_say_what_it_returns_is_refused_by_name(tmp_path):
    (plugin,) = plugins.load([write(tmp_path, "silent", SCORES.replace(" -> np.ndarray", ""), ATTACK)])
    assert "'open' does not say what it returns: write -> np.ndarray" in plugin.faults[0]


@pytest.mark.fault("Plugins that would be left out in silence")
@pytest.mark.parametrize("said", ["np.ndarray", "'np.ndarray'", "np.typing.NDArray[np.float64]"])
def test_an_attack_that_says_that_it_gives_scores_ranks_samples(tmp_path, said):
    (plugin,) = plugins.load([write(tmp_path, "loud", SCORES.replace("np.ndarray", said), ATTACK)])
    assert not plugin.faults
    assert get_attack("open").score is not None


@pytest.mark.fault("Plugins that would be left out in silence")
def test_a_page_has_the_methods_and_attacks_of_its_plugins_parameter(tmp_path):
    method = write(tmp_path, "mine", "@plain('mine')\ndef mine(model, task):\n    return model\n")
    attack = write(tmp_path, "loud", SCORES, ATTACK)
    joined = study.with_plugins([method, attack], {"finetune": {"epochs": 1}}, ["loss_regression"])
    assert joined == ({"mine": {}, "finetune": {"epochs": 1}}, ["loss_regression", "open"])
    assert study.with_plugins([], {"finetune": {}}, []) == ({"finetune": {}}, [])


CELL = """
import torch
from forget_lib.models.nets import Classifier; from forget_lib.models.nets import model
from forget_lib.unlearning import method

@model("cell_net")
def cell_net(input_shape, number_of_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, number_of_classes))

@method("of_a_cell", title="t", paper="", uses="forget", family="mine")
def of_a_cell(model, task, *, factor=0.5):
    next(model.parameters()).data.mul_(factor * {more})
    return model
"""


@pytest.mark.fault("Changed modules and cells of the user")
def test_a_method_and_a_net_of_a_notebook_s_cell_run_and_a_changed_cell_runs_again(blobs, tmp_path):
    def run(more: int) -> dict:
        exec(CELL.format(more=more), {"__name__": "__main__"})
        fields = {"dataset": "blobs", "model": "cell_net", "request": "class:c1"}
        scenario = study.make_scenario(tmp_path, {"epochs": 1, "batch_size": 32}, (), **fields)
        return study.run_method(scenario, "of_a_cell")

    first = run(1)
    assert first["status"] == "done"
    assert run(1)["written"] == first["written"]
    assert run(2)["key"] != first["key"]
