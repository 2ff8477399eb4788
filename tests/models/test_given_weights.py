"""A user's weights: what is read, what is asked for, and what the training images say about them."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from forget_lib.core import user_code
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.deletion import case as cases
from forget_lib.deletion.request import read_request
from forget_lib.models import nets
from forget_lib.models.given_weights import check_given, put_weights, read_weights
from forget_lib.study import run

SIDE, NUMBER = 6, 12
CODE = f"""from torch import nn
def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear({3 * SIDE * SIDE}, num_classes))
def soft(num_classes):
    return nn.Sequential(*make(num_classes), nn.Softmax(1))
class SoftWhereItIsUsed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.net = make(num_classes)
    def forward(self, images):
        return self.net(images) if self.training else self.net(images).softmax(1)
"""
AS_TEXT = "0,1,10,11,2,3,4,5,6,7,8,9"
UNIT = "mean=0&std=1"


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A folder of classes 0 to 11, and a net trained on it (0 to 1) in the order of ImageFolder."""
    root = tmp_path_factory.mktemp("numbered")
    generator = np.random.default_rng(0)
    centres = generator.uniform(40, 210, (NUMBER, SIDE, SIDE, 3))
    titles, images, labels = sorted(map(str, range(NUMBER))), [], []
    for label, title in enumerate(titles):
        (root / "d" / title).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(centres[label] + generator.normal(0, 25, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "d" / title / f"{number}.png")
            images.append(pixels)
            labels.append(label)
    inputs = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    targets = torch.tensor(labels)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, NUMBER))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    assert (net(inputs).argmax(1) == targets).all()
    torch.save(net.state_dict(), root / "w.pt")
    (root / "m.py").write_text(CODE)
    return root


def scenario_of(root, results, *, classes="", how=UNIT):
    model = f"{root}/m.py:make?" + "&".join(filter(None, [f"weights={root}/w.pt", how]))
    dataset = f"own:{root}/d" + (f"?classes={classes}" if classes else "")
    recipe = {"epochs": 1, "batch_size": 16}
    return run.make_scenario(results, recipe, (), dataset=dataset, model=model, request="class:10")


# --- what no file of weights says -------------------------------------------------------------------------------------


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_the_order_of_the_classes_is_asked_for_where_numbers_and_text_differ(numbered, tmp_path):
    by_number = ",".join(map(str, range(NUMBER)))
    with pytest.raises(DataError, match="Which output of the weights is which class") as caught:
        scenario_of(numbered, tmp_path)
    assert f"?classes={AS_TEXT} as torchvision" in str(caught.value)
    assert f"?classes={by_number} (as numbers)" in str(caught.value)


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_weights_in_the_order_of_torchvision_are_right_on_all_images_once_it_is_said(numbered, tmp_path, capsys):
    record = run.run_method(scenario_of(numbered, tmp_path, classes=AS_TEXT), "original", {})
    found = {each["metric"]: each["value"] for each in record["measurements"]}
    assert found["retain_accuracy"] == found["forget_accuracy"] == 1
    assert "right on 100.0% of the" in capsys.readouterr().out


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_a_wrong_order_is_refused_with_the_one_that_the_images_show(numbered, tmp_path, capsys):
    wrong = scenario_of(numbered, tmp_path, classes=",".join(map(str, range(NUMBER))))
    with pytest.raises(DataError, match=rf"another order of the classes.*add it to the name: classes={AS_TEXT}\."):
        run.original(wrong)
    assert "right on 16.7% of the" in capsys.readouterr().out
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
@pytest.mark.parametrize("how", ["", "mean=0", "std=1"])
def test_mean_and_std_are_asked_for_with_the_words_to_write(numbered, tmp_path, how):
    with pytest.raises(DataError, match=r"How were the images normalised.*&mean=0&std=1 for pixels from 0 to 1"):
        scenario_of(numbered, tmp_path, classes=AS_TEXT, how=how)


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_all_that_is_missing_is_asked_for_at_once(numbered, tmp_path):
    with pytest.raises(DataError, match=r"normalised.*which class"):
        scenario_of(numbered, tmp_path, how="")


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_a_deletion_request_asks_in_the_line_of_the_model(numbered, tmp_path):
    path = tmp_path / "request.yaml"
    text = (
        f"version: 1\ndata: {{name: 'own:{numbered}/d'}}\nmodel:\n  name: '{numbered}/m.py:make'\n"
        f"  weights: {numbered}/w.pt\nrecipe: {{epochs: 1, batch_size: 16}}\nforget: class:10\n"
    )
    path.write_text(text)
    with pytest.raises(ForgetError, match=r"line 4: .*normalised.*which class"):
        cases.open_case(read_request(path))
    path.write_text(text.replace("/d'", f"/d?classes={AS_TEXT}'").replace(":make'", f":make?{UNIT}'"))
    case = cases.open_case(read_request(path))
    assert run.evaluate(case.scenario, run.original(case.scenario), ("forget",), ())[0][0].value == 1
    path.write_text(path.read_text().replace("w.pt", "m.py"))
    with pytest.raises(ForgetError, match=r"line 5: m\.py holds pickled objects"):
        cases.open_case(read_request(path))


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_a_registered_model_and_folders_in_one_order_need_no_word(blobs, tmp_path):
    fields = {"dataset": "blobs", "model": "mlp", "request": "class:c1"}
    trained = run.make_scenario(tmp_path, {"epochs": 4, "batch_size": 16, "learning_rate": 0.05}, (), **fields)
    check_given(run.original(trained), trained.samples["trained"], blobs.classes)


class Says(nn.Module):
    """Gives for each image the logits in a table, found by the value of its pixels."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float32))

    def forward(self, images):
        return self.table[((images[:, 0, 0, 0] * 0.25 + 0.5) * 255).round().long()]


def said(table, labels):
    pixels = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1)
    check_given(Says(table), Samples(pixels, torch.tensor(labels)), [f"c{index}" for index in range(len(table[0]))])


def one_hot(outputs, number):
    return (2 * np.eye(number)[outputs] - 0.5).tolist()


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_two_exchanged_classes_of_many_are_found():
    labels = np.repeat(np.arange(6), 10)
    outputs = np.array([0, 1, 2, 4, 3, 5])[labels]
    with pytest.raises(DataError, match=r"right on 66\.7%.*weights is c0,c1,c2,c4,c3,c5"):
        said(one_hot(outputs, 6), labels.tolist())


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_a_net_that_forgot_one_class_is_taken_as_it_is():
    labels = np.repeat(np.arange(6), [40, 10, 10, 10, 10, 10])
    said(one_hot(np.where(labels == 0, 3, labels), 6), labels.tolist())


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
@pytest.mark.parametrize("outputs", [[1] * 240, np.random.default_rng(0).integers(0, 3, 240)])
def test_guessing_is_refused(outputs):
    with pytest.raises(DataError, match="no better than guessing"):
        said(one_hot(outputs, 3), [0] * 160 + [1] * 40 + [2] * 40)


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_probabilities_of_trained_weights_are_refused():
    labels = [0, 1, 2] * 10
    with pytest.raises(DataError, match="expected logits"):
        said((np.eye(3)[labels] * 0.9 + 0.05).tolist(), labels)


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
@pytest.mark.parametrize("name", ["soft", "SoftWhereItIsUsed"])
def test_a_net_that_ends_in_softmax_is_refused_before_anything_is_trained(numbered, name):
    with pytest.raises(ForgetError, match=r"gives probabilities in (train|eval) mode.*Leave out the softmax"):
        nets.build(f"{numbered}/m.py:{name}", (3, SIDE, SIDE), 4)


# --- files ------------------------------------------------------------------------------------------------------------


def net() -> nn.Module:
    """No batch norm, with dropout."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 4))


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


FORMS = {
    "torch": lambda state: state,
    "model": lambda state: {"model": state},
    "net": lambda state: {"net": state, "acc": 93.2, "epoch": 200},
    "training": lambda state: {
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
    },
    "lightning": lambda state: {
        "epoch": 1,
        "state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(4)},
        "optimizer_states": [{"state": {}}],
        "hyper_parameters": {"lr": 0.1},
    },
    "parallel": lambda state: prefixed("module.", state),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "both": lambda state: {"state_dict": prefixed("module._orig_mod.", state)},
}


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
@pytest.mark.parametrize("form", ["safetensors", *FORMS])
def test_weights_are_read_and_put_in_as_people_save_them(tmp_path, form):
    model, path = net(), tmp_path / "weights"
    state = {name: value + 1 for name, value in model.state_dict().items()}
    save_file(state, path) if form == "safetensors" else torch.save(FORMS[form](state), path)
    put_weights(model, path, "net")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda state: {"model": state, "model_ema": state}, "several state dicts: model, model_ema"),
        (lambda state: prefixed("model.", state) | prefixed("ema.", state), r"several nets: model\., ema\."),
        (lambda state: {"epoch": 3}, "is not a state dict"),
        (lambda state: {}, "is not a state dict"),
    ],
)
def test_a_checkpoint_with_two_nets_or_none_is_refused_by_name(tmp_path, form, words):
    torch.save(form(net().state_dict()), tmp_path / "w.pt")
    with pytest.raises(DataError, match=words):
        put_weights(net(), tmp_path / "w.pt", "net")


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_a_folder_is_refused_with_the_files_in_it(tmp_path):
    torch.save(net().state_dict(), tmp_path / "last.pt")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"is a folder; .*In it: last\.pt\."):
        read_weights(tmp_path)


def test_weights_that_do_not_fit_name_their_keys(tmp_path):
    model = net()
    state = model.state_dict()
    state["extra"] = state.pop("1.bias")
    state["4.bias"] = torch.zeros(9)
    torch.save(state, tmp_path / "w.pt")
    words = r"w\.pt does not fit mine; missing: 1\.bias; not in the model: extra; of another shape: 4\.bias \(\[9\]"
    with pytest.raises(DataError, match=words):
        put_weights(model, tmp_path / "w.pt", "mine")


def test_weights_that_are_not_finite_name_their_keys(tmp_path):
    model = net()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state["4.bias"][0] = float("nan")
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"not finite: 4\.bias"):
        put_weights(model, tmp_path / "w.pt", "mine")


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_a_mask_of_minus_infinity_is_no_diverged_weight(tmp_path):
    model = net()
    model.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))
    state = {key: value + 1 if value.is_floating_point() else value for key, value in model.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    put_weights(model, tmp_path / "w.pt", "mine")
    assert torch.equal(model.state_dict()["4.bias"], state["4.bias"])


@pytest.mark.fault("Given weights: order of classes, scale, probabilities, checkpoints")
def test_complex_and_whole_numbers_are_no_weights_of_a_net_of_decimals(tmp_path):
    model = net()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state |= {"4.bias": state["4.bias"] * 1j, "1.bias": state["1.bias"].to(torch.int8)}
    torch.save(state, tmp_path / "w.pt")
    words = r"of another type: 1\.bias \(int8 in the file, float32 in the model\), 4\.bias \(complex64 "
    with pytest.raises(DataError, match=words):
        put_weights(model, tmp_path / "w.pt", "mine")
    torch.save({key: value.double() for key, value in model.state_dict().items()}, tmp_path / "w.pt")
    put_weights(model, tmp_path / "w.pt", "mine")


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_with_code_are_refused_and_not_run(tmp_path):
    torch.save({"a": Harmful(tmp_path / "was_here")}, tmp_path / "w.pt")
    with pytest.raises(DataError, match="can execute code"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "was_here").exists()


def test_whole_models_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"can execute code.*state_dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "w.pt"))
    with pytest.raises(DataError, match="a TorchScript program"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.slow
def test_exported_programs_are_refused(tmp_path):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "w.pt2")
    with pytest.raises(DataError, match=r"a torch\.export program"):
        read_weights(tmp_path / "w.pt2")


@pytest.mark.parametrize("content", [b"", b"hello there, no weights", b"\x08\0\0\0\0\0\0\0{", b"PK\x03\x04 broken"])
def test_damaged_files_are_one_clear_message(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(DataError, match=r"^w "):
        read_weights(tmp_path / "w")
