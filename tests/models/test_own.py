"""A user's own model: any net that gives logits works like a built-in one; others are refused with the reason."""

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from forget_lib.core import user_code
from forget_lib.core.errors import ForgetError
from forget_lib.datasets import load
from forget_lib.datasets.samples import Samples
from forget_lib.models import nets
from forget_lib.models.own import OwnModel, parse_spec
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.study import pools, run
from forget_lib.unlearning import list_methods
from forget_lib.unlearning.amun import nearest_wrong

SHAPE = (1, 8, 8)
TORCHVISION = [
    "resnet18?channels=3",
    "vit_b_16?image_size=16&size=16&channels=3",
    "mobilenet_v3_small?channels=3",
    "efficientnet_b0?size=32&channels=3",
]


def plain(num_classes: int, input_shape: tuple) -> nn.Module:
    """No batch norm, with dropout."""
    inputs = input_shape[0] * input_shape[1] * input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, num_classes))


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.out = nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(images.flatten(1)).relu()).relu())


class NoHead(nn.Module):
    """Logits without a linear layer: fully convolutional."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, num_classes, 3), nn.AdaptiveAvgPool2d(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images).flatten(1)


class Viewing(nn.Module):
    """`x.view(...)` of the input and behind a convolution, as in most tutorials, and a change of the input in place."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(9 * 8 * 8, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images -= images.mean()
        seen = self.first(images).relu()
        return self.second(torch.cat([seen.view(len(seen), -1), images.view(len(images), -1)], 1))


def scripted(num_classes: int) -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)))


def compiled(num_classes: int) -> nn.Module:
    return torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)))


class Pair(nn.Module):
    """Logits and features, as many research models return."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> tuple:
        return self.out(images.flatten(1)), images


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    module = types.ModuleType("nets_of_a_test")
    vars(module).update({each.__name__: each for each in (plain, Tied, NoHead, Viewing, Pair, scripted, compiled)})
    module.narrow = lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes - 1))
    module.words = lambda: "a model"
    monkeypatch.setitem(sys.modules, "nets_of_a_test", module)


def build(name: str, classes: int = 4) -> OwnModel:
    return nets.build(f"nets_of_a_test:{name}", SHAPE, classes)


def trained(path) -> nn.Module:
    """A net trained on the blobs as the study gives them, whose weights are left at `path`."""
    net, data = plain(4, SHAPE), load("blobs")
    train(net, Samples(data.images, data.labels), Recipe(epochs=4, batch_size=16, learning_rate=0.05), 0)
    torch.save(net.state_dict(), path)
    return net


def given_to(name: str, path) -> str:
    return f"nets_of_a_test:{name}?weights={path}&mean=0.5&std=0.25"


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_models_work_with_no_code(name):
    model = nets.build(f"torchvision.models:{name}", (1, 16, 16), 4, seed=1).eval()
    images = torch.randn(2, 1, 16, 16)
    features = model.features(images)
    assert torch.allclose(model.head(features), model(images), atol=1e-5)
    assert model.head.out_features == 4


@pytest.mark.parametrize("name", ["plain", "Tied"])
def test_the_head_is_found_and_the_seed_decides_the_weights(name):
    model, same = build(name).eval(), build(name)
    images = torch.randn(3, *SHAPE)
    assert torch.allclose(model.head(model.features(images)), model(images))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_a_net_without_a_linear_head_has_no_features():
    assert not hasattr(build("NoHead"), "features")


SOME = ["finetune", "ssd", "scrub", "salun", "mask_logit", "certified_removal", "amnesiac", "sisa", "unsir", "fisher"]


@pytest.mark.parametrize(
    ("name", "methods"),
    [("Tied", SOME), ("NoHead", SOME), pytest.param("plain", list_methods(), marks=pytest.mark.slow)],
)
def test_every_method_runs_or_says_why_not(blobs, tmp_path, name, methods):
    recipe = {"epochs": 1, "batch_size": 32, "learning_rate": 0.05}
    own = run.make_scenario(tmp_path, recipe, (), dataset="blobs", model=f"nets_of_a_test:{name}", request="class:c1")
    table = run.run_methods(own, {method: {} for method in methods})
    rows = table.drop_duplicates("method").set_index("method")
    refused = rows[rows["status"] != "done"]["reason"]
    assert (rows.loc[refused.index, "status"] == "not applicable").all(), refused.to_dict()
    headless = {"mask_logit", "certified_removal", "fisher"} if name == "NoHead" else set()
    assert headless == set(refused.index) - {"attack_and_reset", "msg", "cfw", "convolution_transpose"}


def test_dropout_gives_the_same_model_from_the_same_seed(blobs, tmp_path):
    keys = {"dataset": "blobs", "model": "nets_of_a_test:plain?channels=3", "request": "class:c1"}
    recipe = {"epochs": 2, "batch_size": 16}
    one, two = (run.original(run.make_scenario(tmp_path / part, recipe, **keys)) for part in "ab")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_preprocessing_is_that_of_the_net():
    spec = parse_spec("nets:make?channels=3&size=4&mean=0.5,0.4,0.3&std=0.2")
    model = OwnModel(nn.Identity(), spec)
    pixels = torch.full((1, 1, 8, 8), 0.7)
    seen = model((pixels - 0.5) / 0.25)
    assert seen.shape == (1, 3, 4, 4)
    assert torch.allclose(seen[0, :, 0, 0], torch.tensor([1.0, 1.5, 2.0]))


def test_given_weights_are_the_original_and_are_not_trained(blobs, tmp_path):
    net = trained(tmp_path / "w.pt")
    keys = {"dataset": "blobs", "model": given_to("plain", tmp_path / "w.pt"), "request": "class:c1"}
    given = run.make_scenario(tmp_path, {"epochs": 1}, **keys)
    table = run.run_methods(given, {"finetune": {}, "amnesiac": {}})
    assert all(torch.equal(a, b) for a, b in zip(run.original(given).net.parameters(), net.parameters(), strict=True))
    assert table[table["method"] == "amnesiac"]["status"].eq("not applicable").all()
    assert not table["dataset"].str.contains("/").any()


def test_without_a_recipe_nothing_is_retrained_and_that_is_said(blobs, tmp_path):
    trained(tmp_path / "w.pt")
    keys = {"dataset": "blobs", "request": "class:c1"}
    own = "nets_of_a_test:plain"
    with pytest.raises(ForgetError, match=r"give .*weights"):
        run.make_scenario(tmp_path, {"known": False}, model=own, **keys)
    given = run.make_scenario(tmp_path, {"known": False}, model=given_to("plain", tmp_path / "w.pt"), **keys)
    table = run.run_methods(given, {"finetune": {}, "sisa": {}, "eu_k": {}}).drop_duplicates("method")
    status = table.set_index("method")["status"]
    assert status.to_dict() == {
        **dict.fromkeys(("retrain", "second_retrain", "sisa", "eu_k"), "not applicable"),
        **dict.fromkeys(("original", "finetune"), "done"),
    }
    assert "recipe" in table.set_index("method")["reason"]["retrain"]


def test_a_recipe_of_ones_own_trains_original_and_retrained_model(blobs, tmp_path):
    (tmp_path / "recipe.py").write_text(
        "import torch\n"
        "def train(model, samples, recipe, seed):\n"
        "    for images, labels in samples.batches(recipe.epochs):\n"
        "        loss = torch.nn.functional.cross_entropy(model(images), labels)\n"
        "        for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):\n"
        "            p.data -= 0.1 * g\n"
    )
    recipe = {"function": f"{tmp_path}/recipe.py:train", "epochs": 8, "batch_size": 16}
    own = run.make_scenario(tmp_path, recipe, dataset="blobs", model="mlp", request="class:c1")
    table = run.run_methods(own, {}).set_index(["method", "metric"])["value"]
    assert table["original", "forget_accuracy"] > 0.9
    assert table["retrain", "forget_accuracy"] == 0
    (tmp_path / "recipe.py").write_text("def train(model, samples, recipe, seed):\n    1 / 0\n")
    with pytest.raises(ForgetError, match="ZeroDivisionError"):
        run.original(own)


# --- modules beside a file --------------------------------------------------------------------------------------------

NET = """import math
from torch import nn
from {imported} import body
def make(num_classes):
    return nn.Sequential(nn.Flatten(), body(), nn.Linear(12, num_classes))
"""
BODY = """from torch import nn
from {inner} import activation
def body():
    return nn.Sequential(nn.Linear(64, 12), activation())
"""
INNER = "from torch import nn\n\ndef activation():\n    return nn.{name}()\n"


def write_net(folder, activation: str, package: str = "") -> str:
    """A net in three files, of which the last has the activation; the name of its function."""
    inside = folder / package
    inside.mkdir(parents=True, exist_ok=True)
    prefix = f"{package}." if package else ""
    (folder / "my_net.py").write_text(NET.format(imported=f"{prefix}blocks"))
    (inside / "blocks.py").write_text(BODY.format(inner=".acts" if package else "acts"))
    (inside / "acts.py").write_text(INNER.format(name=activation))
    return f"{folder}/my_net.py:make"


def activation_of(model: OwnModel) -> str:
    return type(model.net[1][1]).__name__


@pytest.mark.fault("Changed modules and cells of the user")
@pytest.mark.parametrize("package", ["", "parts"])
def test_modules_beside_a_file_are_found_and_records_are_made_again_when_they_change(blobs, tmp_path, package):
    fields = {"dataset": "blobs", "model": write_net(tmp_path / "code", "ReLU", package), "request": "class:c1"}
    scenario = run.make_scenario(tmp_path, {"epochs": 1, "batch_size": 16}, (), **fields)
    first = run.run_method(scenario, "original", {})
    assert run.run_method(scenario, "original", {})["written"] == first["written"]
    assert activation_of(run.original(scenario)) == "ReLU"
    write_net(tmp_path / "code", "Sigmoid", package)
    assert run.run_method(scenario, "original", {})["key"] != first["key"]
    assert activation_of(run.original(scenario)) == "Sigmoid"
    assert not list((tmp_path / "code").rglob("__pycache__"))


@pytest.mark.fault("Changed modules and cells of the user")
def test_modules_of_one_name_beside_two_files_are_not_mixed_up(tmp_path):
    names = {name: write_net(tmp_path / name, name) for name in ("ReLU", "Tanh")}
    found = [activation_of(nets.build(names[name], SHAPE, 4)) for name in ("ReLU", "Tanh", "ReLU")]
    assert found == ["ReLU", "Tanh", "ReLU"]


LATER = {
    "import": "    from blocks import activation\n",
    "importlib": "    activation = __import__('importlib').import_module('blocks').activation\n",
    "forward": "",
}
LATE = """from torch import nn
class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 4)
    def forward(self, images):
        from blocks import activation
        return activation()(self.out(images.flatten(1)))
def make(num_classes):
"""


@pytest.mark.parametrize("way", LATER)
@pytest.mark.fault("Changed modules and cells of the user")
def test_a_function_that_imports_when_it_is_called_gets_the_module_beside_its_file(tmp_path, way):
    net = "    return Late()\n" if way == "forward" else "    return nn.Sequential(Late(), activation())\n"
    for name in ("ReLU", "Tanh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my_net.py").write_text(LATE + LATER[way] + net)
        (tmp_path / name / "blocks.py").write_text(f"from torch.nn import {name} as activation\n")
    path, images = list(sys.path), torch.full((1, *SHAPE), 100.0)
    made = {name: nets.build(f"{tmp_path / name}/my_net.py:make", SHAPE, 4, seed=1) for name in ("ReLU", "Tanh")}
    assert made["ReLU"](images).max() > 1
    assert made["Tanh"](images).max() <= 1
    assert sys.path == path
    assert "blocks" not in sys.modules
    before = user_code.source_hash(f"{tmp_path}/ReLU/my_net.py:make")
    (tmp_path / "ReLU" / "blocks.py").write_text("from torch.nn import Sigmoid as activation\n")
    assert user_code.source_hash(f"{tmp_path}/ReLU/my_net.py:make") != before
    assert (nets.build(f"{tmp_path}/ReLU/my_net.py:make", SHAPE, 4, seed=1)(0 * images) > 0).all()


@pytest.mark.fault("Changed modules and cells of the user")
def test_files_of_one_folder_share_its_modules_also_when_one_calls_the_other(tmp_path):
    (tmp_path / "shared.py").write_text("class Each: pass\n")
    ask = "def ask(call=None):\n    from shared import Each\n    return [Each, *(call() if call else ())]\n"
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(ask)
    one, two = (user_code.load_function(f"{tmp_path}/{name}.py:ask", "a test") for name in ("one", "two"))
    assert len({*two(), *one(two), *one(), *one(lambda: one(two))}) == 1
    assert "shared" not in sys.modules


@pytest.mark.fault("Changed modules and cells of the user")
def test_a_module_of_the_caller_s_is_neither_used_nor_lost(tmp_path, monkeypatch):
    write_net(tmp_path, "Tanh")
    other = types.ModuleType("blocks")
    other.__file__ = "/elsewhere/blocks.py"
    monkeypatch.setitem(sys.modules, "blocks", other)
    assert activation_of(nets.build(f"{tmp_path}/my_net.py:make", SHAPE, 4)) == "Tanh"
    assert sys.modules["blocks"] is other


@pytest.mark.parametrize("indent", ["", "    "])
@pytest.mark.fault("Changed modules and cells of the user")
def test_a_module_that_no_key_can_see_is_refused_with_both_files(tmp_path, indent):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "deep_blocks.py").write_text("from torch import nn\n")
    lines = (f"import sys; sys.path.insert(0, {str(tmp_path / 'deep')!r})", "from deep_blocks import nn")
    imports = "".join(f"{indent}{line}\n" for line in lines)
    make = "def make(num_classes):\n"
    rest = "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    (tmp_path / "my_net.py").write_text(make + imports + rest if indent else imports + make + rest)
    for _ in range(2):
        with pytest.raises(ForgetError, match=r"my_net\.py.*deep_blocks\.py.*PYTHONPATH"):
            nets.build(f"{tmp_path}/my_net.py:make", SHAPE, 4)


@pytest.mark.fault("Changed modules and cells of the user")
def test_modules_on_the_path_count_too_and_installed_ones_do_not(tmp_path, monkeypatch):
    write_net(tmp_path / "library", "ReLU", "parts_elsewhere")
    (tmp_path / "my_net.py").write_text(NET.format(imported="parts_elsewhere.blocks"))
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    files = user_code.own_files(tmp_path / "my_net.py")
    assert {file.name: name for file, name in files.items()} == {
        "my_net.py": "", "blocks.py": "parts_elsewhere.blocks", "acts.py": "parts_elsewhere.acts",
    }  # fmt: skip
    before = user_code.source_hash("my_net_of_a_test:make"), user_code.source_hash("parts_elsewhere.blocks:body")
    write_net(tmp_path / "library", "Tanh", "parts_elsewhere")
    assert before[0] == ""
    assert user_code.source_hash("parts_elsewhere.blocks:body") != before[1]
    assert len(user_code.own_files(Path(torch.__file__))) == 1


@pytest.mark.fault("Changed modules and cells of the user")
def test_pools_and_plugins_go_by_the_modules_beside_a_file_too(tmp_path, monkeypatch):
    name = write_net(tmp_path, "ReLU")
    plan = pools.PoolPlan(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4), [0, 1], 4, model=name)
    before = plan.key, user_code.source_hash(user_code.load_file(tmp_path / "my_net.py").__name__)
    write_net(tmp_path, "Tanh")
    assert plan.key != before[0]
    assert user_code.source_hash(user_code.load_file(tmp_path / "my_net.py").__name__) != before[1]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_code_runs_only_if_trusted_and_the_message_says_why(monkeypatch):
    monkeypatch.delenv(user_code.VARIABLE)
    with pytest.raises(user_code.NotTrustedError, match=r"is code.*rights.*--trust-code"):
        build("plain")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Pair", "returns a tuple"),
        ("narrow", r"gives \[2, 3\].*4 classes"),
        ("words", "must return an nn.Module"),
        ("scripted", "compiled net.*Leave out"),
        ("compiled", "compiled net.*Leave out"),
        ("nothing", "has no function nothing.*plain"),
        ("plain?width=3", "made no model"),
        ("plain?size=x", "whole number"),
        ("plain?size=true", "whole number"),
        ("plain?dropout=1e-1", r"dropout is '1e-1', which is text \(write 1\.0e-1\)"),
        ("NoHead?channels=3", "cannot take images of 3"),
        ("NoHead?mean=1,2", "mean and std do not fit"),
        ("plain?std=0", "larger than 0"),
        ("plain?mean=nan", "mean holds nan; expected .*finite numbers"),
        ("plain?std=inf", "std holds inf; expected .*finite numbers"),
        ("plain?size=8&size=9", "size is given twice"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(name, words):
    with pytest.raises(ForgetError, match=words):
        build(name)


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_batches_of_one_are_refused_at_the_door_where_the_net_has_batch_norm(blobs, tmp_path):
    fields = {"dataset": "blobs", "model": "small_cnn", "request": "class:c1"}
    with pytest.raises(ForgetError, match="batch norm"):
        run.make_scenario(tmp_path, {"batch_size": 1}, **fields)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ForgetError, match="no_such_module"):
        nets.build("no_such_module:make", SHAPE, 4)


@pytest.mark.fault("Frozen and unused weights, nets that view their input")
def test_a_net_gets_batches_of_colour_images_that_it_can_view_and_change():
    net = nets.build("nets_of_a_test:Viewing", (3, 8, 8), 4)
    samples = Samples(torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), torch.arange(6) % 4, 6)
    images, labels = next(samples.batches(shuffle=False))
    assert images.is_contiguous(memory_format=torch.channels_last)
    before = images.clone()
    for mode in (True, False):
        nn.functional.cross_entropy(net.train(mode)(images), labels).backward()
    assert torch.equal(images, before)
    assert net.features(images).shape == (6, 9 * 8 * 8)
    moved = nearest_wrong(net, images, labels, 2)[0]
    assert moved.shape == images.shape


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_the_study_s_own_nets_go_on_with_channels_last(shape):
    net = nets.build("small_cnn", shape, 4)
    kernels = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels[1:]) == (shape[0] == 3)
