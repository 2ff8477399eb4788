"""`forget_lib.audit` on a tiny net: what it may say with no, one and many retrained models, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import forget_lib as fl
from forget_lib.attacks.one_model import FEWEST
from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion import audit as module

RECIPE = fl.Recipe(epochs=12, learning_rate=0.1, batch_size=50)


def samples(rows: slice, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of 12 numbers whose class is that of the largest of three, wrong in a third of the cases."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(440, 12, generator=generator)
    wrong = torch.rand(440, generator=generator) < 0.35
    return x[rows], torch.where(wrong, torch.randint(0, 3, (440,), generator=generator), x[:, :3].argmax(1))[rows]


FORGET, RETAIN, UNSEEN = samples(slice(40)), samples(slice(40, 240)), samples(slice(240, 440))


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 3))


def trained(*sets: tuple[torch.Tensor, torch.Tensor], seed: int = 0) -> nn.Sequential:
    x, y = (torch.cat(part) for part in zip(*sets, strict=True))
    torch.manual_seed(seed)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    for _ in range(40):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def original() -> nn.Sequential:
    return trained(FORGET, RETAIN)


@pytest.fixture(scope="module")
def clean() -> nn.Sequential:
    return trained(RETAIN, seed=1)


@pytest.fixture(scope="module")
def alone(original):
    return fl.audit(original, FORGET, RETAIN, UNSEEN)


def area(audit: module.Audit, attack: str) -> float:
    return audit.to_frame().set_index(["measure", "of"]).loc[("auc", attack), "value"]


def test_a_model_alone_gets_no_verdict_and_no_share_left(alone):
    assert alone.verdict == "cannot be told here"
    assert alone.share_left is None
    assert "Share left: not measured" in repr(alone)
    assert any("retrained=Recipe" in each for each in alone.needed)


def test_every_attack_has_an_interval_and_the_usual_one_sees_the_original(alone):
    table = alone.to_frame()
    areas = table[table["measure"] == "auc"]
    assert set(areas["of"]) == {*module.ALONE, "one_model"}
    assert ((areas["low"] < areas["value"]) & (areas["value"] < areas["high"])).all()
    assert area(alone, "loss_regression") > 0.6
    assert "The loss attack distinguishes" in repr(alone)


def test_the_table_is_a_copy_and_the_page_holds_what_the_cell_shows(alone, tmp_path):
    copy = alone.to_frame()
    copy.loc[:, "value"] = 0.0
    assert alone.table["value"].abs().sum() > 0
    page = alone.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert alone._repr_html_() in page
    assert "http" not in page


def test_one_retrained_model_shows_gaps_and_never_equality(original, clean):
    same = fl.audit(clean, FORGET, RETAIN, UNSEEN, retrained=clean)
    assert same.verdict == "too few runs"
    assert (same.to_frame()["gap"] == 0).all()
    differing = fl.audit(original, FORGET, RETAIN, UNSEEN, retrained=clean)
    assert differing.verdict == "too few runs"
    assert differing.share_left is None
    table = differing.to_frame().set_index(["measure", "of"])
    assert table.loc[("accuracy", "forget"), "gap"] > 0.2
    assert table.loc[("auc", "loss_regression"), "retrained"] == pytest.approx(area(same, "loss_regression"))


def test_references_give_the_share_left_and_the_verdict(original):
    judged = fl.audit(original, FORGET, RETAIN, UNSEEN, retrained=RECIPE)
    assert judged.verdict in ("still knows it", "undecided")  # trained longer than the recipe says
    assert judged.share_left.value > 0.5
    assert judged.share_left.low < judged.share_left.value < judged.share_left.high
    assert area(judged, "lira_offline") > 0.6


def test_a_retrained_model_has_no_share_left_beside_references():
    start = module.given.in_form(net().eval(), module.given.read_sets({"forget": FORGET})[0]["forget"])
    model = module.given.fresh_like(start)(7)
    sets, _ = module.given.read_sets({"retain": RETAIN})
    module.train(model, sets["retain"], RECIPE, 7)
    judged = fl.audit(model.eval(), FORGET, RETAIN, UNSEEN, retrained={"epochs": 12, "batch_size": 50})
    assert abs(judged.share_left.value) < 0.25
    assert judged.verdict in ("as retrained", "undecided")


def test_what_one_model_needs_is_what_stands_aside():
    assert module.ASIDE == FEWEST


def test_few_unseen_samples_leave_one_model_out(original):
    few = fl.audit(original, FORGET, RETAIN, (UNSEEN[0][:60], UNSEEN[1][:60]))
    assert "100 unseen samples" in few.left_out["one_model"]
    assert "Left out: one_model" in repr(few)


class Embedded(nn.Module):
    """A net with a weight of its own, which no `reset_parameters` draws."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.body = nn.Parameter(torch.ones(12)), net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x * self.scale)


def test_a_net_that_cannot_be_drawn_anew_asks_for_fresh():
    model = Embedded().eval()
    assert "fresh=" in fl.audit(model, FORGET, RETAIN, UNSEEN).left_out["one_model"]
    with pytest.raises(ForgetError, match="Embedded cannot be drawn anew"):
        fl.audit(model, FORGET, RETAIN, UNSEEN, retrained=RECIPE)
    assert "one_model" not in fl.audit(model, FORGET, RETAIN, UNSEEN, fresh=Embedded).left_out


def test_beside_references_a_net_must_end_in_a_linear_layer():
    model = nn.Sequential(net(), nn.LogSoftmax(dim=1)).eval()
    with pytest.raises(ForgetError, match=r"nn\.Linear"):
        fl.audit(model, FORGET, RETAIN, UNSEEN, retrained=RECIPE)


def test_arrays_and_datasets_give_what_tensors_give(original, alone):
    arrays = [tuple(np.asarray(part) for part in each) for each in (FORGET, RETAIN, UNSEEN)]
    assert fl.audit(original, *arrays).table.equals(alone.table)
    datasets = [torch.utils.data.TensorDataset(*each) for each in (FORGET, RETAIN, UNSEEN)]
    assert fl.audit(original, *datasets).table.equals(alone.table)


def test_the_model_is_left_as_it_was(original):
    before = {name: value.clone() for name, value in original.state_dict().items()}
    fl.audit(original, FORGET, RETAIN, UNSEEN)
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
    assert not original._forward_hooks
    assert not original.training


LIGHT = """
import sys, time
import torch, numpy
start = time.process_time()
import forget_lib as fl
fl.audit, fl.unlearn, fl.methods, fl.attacks, fl.Recipe
print(time.process_time() - start)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
WORKFLOW = {"snakemake", "papermill", "jupyter", "jupyter_core", "nbformat", "nbconvert", "IPython", "ipywidgets"}
WORKFLOW |= {"matplotlib", "seaborn", "voila", "workflow"}


def test_the_import_loads_nothing_of_the_workflow():
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    _, loaded = done.stdout.splitlines()
    assert not WORKFLOW & set(loaded.split())


def test_the_root_alone_loads_nothing():
    code = "import sys, forget_lib; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(AttributeError, match="audit"):
        _ = fl.audits
    assert {"audit", "unlearn", "methods", "attacks", "Recipe"} <= set(dir(fl))
