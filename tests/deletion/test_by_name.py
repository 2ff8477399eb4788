"""`forget_lib.unlearn` on plain tensors: the same as the registry's, with the caller's net given back."""

import pytest
import torch
from torch import nn

import forget_lib as fl
from forget_lib.attacks import list_attacks
from forget_lib.core.errors import ForgetError, NotApplicableError, UnknownNameError
from forget_lib.unlearning import list_methods
from tests.deletion.test_audit import FORGET, RETAIN, UNSEEN, net, trained

RECIPE = fl.Recipe(epochs=3, batch_size=50)


@pytest.fixture(scope="module")
def original() -> nn.Sequential:
    return trained(FORGET, RETAIN)


def test_the_callers_net_comes_back_changed_and_the_original_stays(original):
    before = {name: value.clone() for name, value in original.state_dict().items()}
    unlearned = fl.unlearn("negative_gradient", original, FORGET, RETAIN, learning_rate=0.01)
    assert type(unlearned) is type(original)
    assert unlearned.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
    assert not torch.equal(unlearned[0].weight, original[0].weight)
    assert not unlearned.training


def test_the_same_seed_gives_the_same_bits(original):
    first, second, other = (fl.unlearn("scrub", original, FORGET, RETAIN, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_retraining_takes_the_recipe_and_an_untrained_net(original):
    with pytest.raises(NotApplicableError, match="recipe"):
        fl.unlearn("retrain", original, FORGET, RETAIN)
    unlearned = fl.unlearn("retrain", original, FORGET, RETAIN, recipe={"epochs": 3, "batch_size": 50})
    assert not torch.equal(unlearned[0].weight, original[0].weight)


def test_fresh_makes_the_untrained_net(original):
    drawn = fl.unlearn("untrained", original, FORGET, RETAIN, fresh=net, seed=3)
    assert drawn.state_dict().keys() == original.state_dict().keys()


def test_a_whole_class_is_seen_as_one(original):
    gone, kept = RETAIN[1] == 2, RETAIN[1] != 2
    masked = fl.unlearn("mask_logit", original, (RETAIN[0][gone], RETAIN[1][gone]), (RETAIN[0][kept], RETAIN[1][kept]))
    assert (masked(RETAIN[0]).argmax(1) != 2).all()
    with pytest.raises(NotApplicableError, match="class request"):
        fl.unlearn("mask_logit", original, FORGET, RETAIN)


def test_a_method_that_needs_validation_asks_for_it(original):
    needing = [name for name in list_methods() if "validation" in fl.methods().set_index("name").loc[name, "needs"]]
    for name in needing:
        with pytest.raises(NotApplicableError, match="validation"):
            fl.unlearn(name, original, FORGET, RETAIN, recipe=RECIPE)
    fl.unlearn(needing[0], original, FORGET, RETAIN, validation=UNSEEN, recipe=RECIPE)


def test_images_are_given_as_the_study_gives_them():
    images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(60) % 2
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    unlearned = fl.unlearn("finetune", model, (images[:20], labels[:20]), (images[20:], labels[20:]), epochs=1)
    floats = (images.float() / 255 - 0.5) / 0.25
    again = fl.unlearn("finetune", model, (floats[:20], labels[:20]), (floats[20:], labels[20:]), epochs=1)
    assert torch.allclose(unlearned(floats), again(floats), atol=1e-4)


def test_wrong_input_is_told_at_once(original):
    with pytest.raises(UnknownNameError, match="scrub"):
        fl.unlearn("scrubb", original, FORGET, RETAIN)
    with pytest.raises(ForgetError) as caught:
        fl.unlearn("scrub", original, (FORGET[0], FORGET[1].float()), (RETAIN[0][:3], RETAIN[1]))
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(ForgetError, match="alpha"):
        fl.unlearn("scrub", original, FORGET, RETAIN, alpha=-1.0)


def test_the_tables_hold_all_that_is_registered():
    assert list(fl.methods()["name"]) == list_methods()
    assert list(fl.attacks()["name"]) == list_attacks()
    assert fl.methods()["idea"].str.len().min() > 10
