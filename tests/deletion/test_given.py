"""What a caller may get wrong from Python: each mistake has its message, and all are told at once."""

import numpy as np
import pytest
import torch
from torch import nn

import forget_lib as fl
from forget_lib.core.errors import ForgetError
from tests.deletion.test_audit import FORGET, RETAIN, UNSEEN, net

X, Y = FORGET


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net(x), x


class Nan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 1, torch.nan, self.net(x))


def message(model: object = None, forget: object = FORGET, retain: object = RETAIN, unseen: object = UNSEEN) -> str:
    with pytest.raises(ForgetError) as caught:
        fl.audit(net().eval() if model is None else model, forget, retain, unseen)
    return str(caught.value)


SETS = {
    "5 samples": ((X[:5], Y[:5]), "forget holds 5 samples; expected at least 10"),
    "overlap": (
        (torch.cat([X, UNSEEN[0][3:6]]), torch.cat([Y, UNSEEN[1][3:6]])),
        "3 samples are in both forget and unseen (row 40 of forget is row 3 of unseen)",
    ),
    "still trained on": ((RETAIN[0][:20], RETAIN[1][:20]), "20 samples are in both forget and retain"),
    "float labels": ((X, Y.float()), r"labels are torch.float32 of shape [40]; expected whole numbers"),
    "one-hot labels": ((X, nn.functional.one_hot(Y)), "labels are torch.int64 of shape [40, 3]"),
    "truth values": ((X, Y > 1), "labels are torch.bool"),
    "a label short": ((X, Y[:-1]), "x has shape [40, 12] and there are 39 labels"),
    "negative label": ((X, Y - 1), "the smallest label is -1"),
    "label too high": ((X, Y + 1), "forget has the label 3, and the model has 3 classes"),
    "class not unseen": ((X, Y + 1), "unseen has no sample of the classes [3]"),
    "whole numbers": (((10 * X).int(), Y), "x is torch.int32; expected floats"),
    "flat uint8": ((X.to(torch.uint8), Y), "expected images [N, C, H, W]"),
    "infinite": ((X / 0, Y), "x holds NaN or infinite values"),
    "empty": ((X[:0], Y[:0]), "the set is empty"),
    "text": (("images", Y), "forget cannot be read"),
    "nothing": (None, "forget cannot be read"),
    "pictures": ([("face.png", 1)], "forget cannot be read"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_wrong_set_is_refused_by_name(name):
    forget, expected = SETS[name]
    assert expected in message(forget=forget)


MODELS = {
    "train mode": (net().train(), "The model is in train mode"),
    "another device": (net().to("meta").eval(), "The model is on meta and forget on cpu; expected one device"),
    "a tuple": (Pair().eval(), "The model returns a tuple; expected one tensor of logits [B, C]"),
    "NaN": (Nan().eval(), "samples of forget. Its training or unlearning diverged"),
    "probabilities": (nn.Sequential(net(), nn.Softmax(dim=1)).eval(), "gives probabilities; expected logits"),
    "other inputs": (nn.Linear(7, 3).eval(), "The model fails on a batch of samples"),
    "one output": (nn.Linear(12, 1).eval(), "gives [8, 1] for 8 samples; expected logits"),
    "a function": (len, "The model is a builtin_function_or_method; expected a torch.nn.Module"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_model_is_refused_by_name(name):
    model, expected = MODELS[name]
    assert expected in message(model)


def test_the_retrained_model_is_checked_too():
    with pytest.raises(ForgetError, match="The retrained is in train mode"):
        fl.audit(net().eval(), FORGET, RETAIN, UNSEEN, retrained=net().train())


def test_a_wrong_recipe_names_every_setting():
    with pytest.raises(ForgetError, match="epochs of the recipe is 0"):
        fl.audit(net().eval(), FORGET, RETAIN, UNSEEN, retrained={"epochs": 0})


def test_all_mistakes_are_told_at_once():
    text = message(net().train(), (X[:5], Y[:5]), (RETAIN[0], RETAIN[1].float()), (UNSEEN[0].numpy(), np.zeros(3)))
    for expected in ("train mode", "5 samples", "retain: labels are torch.float32", "unseen: labels are torch.float64"):
        assert expected in text
    assert len(text.splitlines()) == 4


def test_train_mode_leaves_the_statistics_of_the_net_alone():
    model = nn.Sequential(nn.BatchNorm1d(12), net()).train()
    message(model)
    assert int(model[0].num_batches_tracked) == 0
