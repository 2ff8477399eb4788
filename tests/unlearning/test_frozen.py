"""Every method on a net of which a part is frozen, and on one with a head that no output depends on."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.models.log import logged_training
from forget_lib.models.nets import Classifier
from forget_lib.models.own import OwnClassifier, Spec
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import UnlearningTask, get_method, list_methods, salun, unlearn, why_not_applicable
from forget_lib.unlearning.parts import dampening as dampening_module
from forget_lib.unlearning.parts import importance
from forget_lib.unlearning.parts import layers as layers_module
from tests.tiny_tasks import CLASSES, changed_tensors, tiny_samples, tiny_task

pytestmark = pytest.mark.fault("Frozen and unused weights, nets that view their input")

FROZEN = ("body.0", "body.1")


def partly_frozen_net(seed: int = 0) -> Classifier:
    """Two convolutions with batch norm and a head; the first convolution and its batch norm are frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lower = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
        upper = [nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        net = Classifier(nn.Sequential(*lower, *upper), 20, CLASSES)
        net.body[1].running_mean.normal_()
        for name in FROZEN:
            net.get_submodule(name).requires_grad_(False)
        return net


class TwoHeads(Classifier):
    """Its second head, and a convolution before it, are for another task: no logit depends on them."""

    def __init__(self) -> None:
        body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        super().__init__(body, 16, CLASSES)
        self.other = nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(8, 7))


def net_with_an_unused_head(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TwoHeads()


def task_of(fresh: Callable[[int], nn.Module], kind: str) -> tuple[nn.Module, UnlearningTask]:
    """A trained net, and a task of several batches in each set with all that a method may ask for."""
    sizes = {"forget": 12, "retain": 24, "validation": 9}
    parts = {name: tiny_samples(n, n, kind=Samples, side=8, batch_size=8) for name, n in sizes.items()}
    if kind == "class":
        parts["forget"] = parts["forget"].with_labels(torch.ones(12, dtype=torch.int64))
        parts["retain"] = parts["retain"].with_labels(torch.arange(24) % 2 * 2)
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.01)
    task = tiny_task(classes=(1,) if kind == "class" else (), net=fresh, recipe=recipe, **parts)
    images, labels = (torch.cat([getattr(parts[n], f) for n in ("forget", "retain")]) for f in ("images", "labels"))
    original = fresh(0)
    log = logged_training(original, Samples(images, labels, 8), recipe, 0, torch.arange(12))
    return original.eval(), dataclasses.replace(task, training_log=log)


def plain(key: str) -> str:
    """A tensor's name without the place of its net in an ensemble."""
    return key.split(".", 2)[-1] if key.startswith("members.") else key


def frozen_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Weights and statistics of the frozen modules, of each member of an ensemble."""
    prefixes = tuple(f"{part}." for part in FROZEN)
    return [(plain(key), value) for key, value in model.state_dict().items() if plain(key).startswith(prefixes)]


def trained_names(model: nn.Module) -> set[str]:
    return {plain(key) for key, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", ["class", "subset"])
@pytest.mark.parametrize("name", list_methods())
def test_frozen_weights_and_statistics_keep_their_bits_in_every_method(name, kind):
    original, task = task_of(partly_frozen_net, kind)
    reason = why_not_applicable(name, original, task)
    if reason is not None:
        assert kind == "subset" or "no running statistics" in reason
        return
    found = unlearn(name, original, task)
    before, after = dict(frozen_tensors(original)), frozen_tensors(found)
    assert len(before) == 7
    assert {key for key, _ in after} == set(before)
    assert all(torch.equal(value, before[key]) for key, value in after)
    assert trained_names(found) == trained_names(original)
    if name != "do_nothing":
        assert name == "sisa" or changed_tensors(original, found)


@pytest.mark.parametrize("name", list_methods())
def test_every_method_runs_on_a_net_with_a_head_that_no_output_depends_on(name):
    original, task = task_of(net_with_an_unused_head, "class")
    if get_method(name).family == "certified":
        assert "no running statistics" in str(why_not_applicable(name, original, task))
        return
    found = unlearn(name, original, task)
    assert trained_names(found) == trained_names(original)
    images = task.retain.images[:2].float()
    assert torch.equal(found(images), original(images)) == (name in ("do_nothing", "lfssd"))


def test_what_methods_rank_are_the_trained_weights_alone():
    original, task = task_of(partly_frozen_net, "class")
    names = trained_names(original)
    assert set(salun.forget_gradient(original, task)) == names
    for part in dampening_module.importances(original, task, importance.sample_cross_entropy, 2, "batch", 8):
        assert set(part) == names
    for part in dampening_module.importances(original, task, importance.sample_cross_entropy, 2, "sample", 8):
        assert set(part) == names


def test_layers_that_are_frozen_or_that_no_logit_depends_on_are_none_of_the_last():
    assert layers_module.last_layers(*task_of(net_with_an_unused_head, "class"), 1) == ["head"]
    assert layers_module.last_layers(*task_of(partly_frozen_net, "class"), 2) == ["body.3", "body.4", "head"]
    with pytest.raises(ForgetError, match="trains 2 convolutions"):
        layers_module.last_layers(*task_of(partly_frozen_net, "class"), 3)


@pytest.mark.parametrize(("frozen", "name"), [("head", "mask_logit"), ("head", "certified_removal"), ("body", "msg")])
def test_a_method_that_moves_what_is_frozen_does_not_apply(frozen, name):
    def fresh(seed: int) -> Classifier:
        net = partly_frozen_net(seed).requires_grad_(True)
        net.get_submodule(frozen).requires_grad_(False)
        return net

    with pytest.raises(NotApplicableError, match=r"needs: .*trained (linear head|convolution)"):
        unlearn(name, *task_of(fresh, "class"))


@pytest.mark.parametrize(("part", "name"), [("head", "certified_removal"), ("body.0", "attack_and_reset")])
def test_a_weight_that_the_net_computes_cannot_be_put_in_its_place(part, name):
    """Spectral norm makes it anew in each pass: a method that writes into it would do nothing."""
    net = Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), 144, CLASSES)
    nn.utils.parametrizations.spectral_norm(net.get_submodule(part))
    reason = why_not_applicable(name, net, tiny_task(classes=(1,)))
    assert reason == f"{name} needs: trained {'linear head' if part == 'head' else 'convolution'}"


def test_a_net_that_is_frozen_as_a_whole_is_refused():
    original, task = task_of(partly_frozen_net, "class")
    with pytest.raises(ForgetError, match="Every weight of the net is frozen"):
        unlearn("finetune", original.requires_grad_(False), task)


def test_training_leaves_the_statistics_of_frozen_batch_norm():
    net = partly_frozen_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train(net, tiny_samples(16, 1, kind=Samples, side=8), Recipe(epochs=2, batch_size=8), 0)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert "body.4.running_mean" in moved
    assert not {name for name in moved if name.startswith(FROZEN)}


def test_fisher_knows_the_head_of_a_net_of_ones_own_whatever_it_is_called():
    """For a class request the rows of the class are drawn anew, N(0, 1e-3); a tiny α hardly moves the others."""

    def fresh(seed: int) -> OwnClassifier:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
        return OwnClassifier(net, Spec("mine"), "1")

    original, task = task_of(fresh, "class")
    with torch.no_grad():
        original.head.weight += 10
    found = unlearn("fisher", original, task, alpha=1e-12)
    assert found.head.weight[1].abs().max() < 0.2
    assert torch.allclose(found.head.weight[[0, 2]], original.head.weight[[0, 2]], atol=1e-3)
