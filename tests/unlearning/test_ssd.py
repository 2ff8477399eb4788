"""ssd against its definition, on tiny nets and data."""

import pytest
import torch
from torch import nn

from forget_lib.unlearning import get_method, unlearn
from forget_lib.unlearning.parts import dampening as dampening_module
from forget_lib.unlearning.parts import importance
from tests.tiny_tasks import (
    close,
    one_by_one,
    tiny_net,
    tiny_task,
)


def test_dampening_by_hand():
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 4.0]]))
    forget = {"weight": torch.tensor([[20.0, 40.0, 9.0, 5.0]])}
    everything = {"weight": torch.tensor([[1.0, 1.0, 1.0, 0.0]])}
    # Ratios 20, 40, 9 and infinite; above α = 10: first, second and fourth; factors λ / ratio.
    assert dampening_module.dampen(model, forget, everything, alpha=10.0, strength=2.0) == 3
    assert torch.allclose(model.weight, torch.tensor([[1 * 2 / 20, -2 * 2 / 40, 3.0, 0.0]]))
    dampening_module.dampen(model, forget, everything, alpha=10.0, strength=100.0)  # never grows a weight
    assert torch.allclose(model.weight, torch.tensor([[0.1, -0.1, 3.0, 0.0]]))


@pytest.mark.parametrize("convention", ["sample", "batch", "batch by class"])
@pytest.mark.parametrize(
    ("name", "losses", "power"),
    [("ssd", importance.sample_cross_entropy, 2), ("lfssd", importance.sample_output_norm, 1)],
)
def test_ssd_dampens_by_forget_against_all_training_data(name, losses, power, convention):
    task, expected = tiny_task(classes=(1,)), tiny_net()

    def mean_power(batches):
        sums = [torch.zeros_like(p) for p in expected.parameters()]
        for images, labels in batches:
            gradients = torch.autograd.grad(losses(expected(images), labels).mean(), list(expected.parameters()))
            sums = [s + g.abs() ** power / len(batches) for s, g in zip(sums, gradients, strict=True)]
        return sums

    forget, retain = (one_by_one(samples) for samples in (task.forget, task.retain))
    everything = forget + retain
    if convention != "sample":
        forget, everything = ([tuple(map(torch.cat, zip(*part, strict=True)))] for part in (forget, everything))
    chosen = 0
    for parameter, f, d in zip(expected.parameters(), mean_power(forget), mean_power(everything), strict=True):
        with torch.no_grad():
            chosen += int((f > 1.2 * d).sum())
            parameter.copy_(torch.where(f > 1.2 * d, parameter * (0.9 * d / f).clamp(max=1), parameter))
    found = unlearn(name, tiny_net(), task, alpha=1.2, strength=0.9, importance=convention)
    assert 0 < chosen < 43
    assert close(found, expected, 1e-7)


def test_ssd_by_sample_has_ratios_of_at_most_all_over_forget():
    task = tiny_task(classes=(1,))
    original = tiny_net()
    assert close(unlearn("ssd", original, task, importance="sample", alpha=18 / 7 + 1e-9), original, 0)
    assert not close(unlearn("ssd", original, task, importance="sample", alpha=1.0), original, 0)


def test_batches_by_class_are_the_kept_classes_in_turn_and_then_the_forget_set():
    task, seen = tiny_task(classes=(1,)), []

    def losses(logits, labels):
        seen.append(labels.tolist())
        return importance.sample_cross_entropy(logits, labels)

    dampening_module.importances(tiny_net(), task, losses, 2, "batch by class", 3)
    forget, kept = [[1, 1, 1], [1, 1, 1, 1]], sorted(task.retain.labels.tolist())
    ordered = kept + [1] * 7
    assert seen == [*forget, *(ordered[start : start + 3] for start in range(0, 18, 3))]


def test_batches_of_one_class_have_larger_importances_than_shuffled_ones():
    task, found = tiny_task(classes=(1,)), {}
    for per in ("batch", "batch by class"):
        _, everything = dampening_module.importances(tiny_net(), task, importance.sample_cross_entropy, 2, per, 4)
        found[per] = float(sum(tensor.sum() for tensor in everything.values()))
    assert found["batch by class"] > 1.1 * found["batch"]


@pytest.mark.parametrize("name", ["ssd", "lfssd", "adaptive_ssd"])
def test_the_order_of_the_authors_is_the_default(name):
    task, given = tiny_task(classes=(1,)), {} if name == "adaptive_ssd" else {"alpha": 1.2}
    assert get_method(name).settings["importance"] == "batch by class"
    found, same = (unlearn(name, tiny_net(), task, **given, **more) for more in ({}, {"importance": "batch by class"}))
    assert close(found, same, 0)


def test_for_a_subset_the_kept_samples_come_in_random_order_and_the_others_last():
    task, seen = tiny_task(), []

    def losses(logits, labels):
        seen.append(labels.tolist())
        return importance.sample_cross_entropy(logits, labels)

    dampening_module.importances(tiny_net(), task, losses, 2, "batch by class", 18)
    assert seen[1][11:] == task.forget.labels.tolist()
    assert sorted(seen[1][:11]) == sorted(task.retain.labels.tolist()) != seen[1][:11]
