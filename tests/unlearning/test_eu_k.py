"""eu_k against its definition, on tiny nets and data."""

import copy

import torch

from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    changed_tensors,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
)

LAST_TWO = {"body.3.weight", "body.4.weight", "body.4.bias", "head.weight", "head.bias"}


LAST_TWO_STATISTICS = {"body.4.running_mean", "body.4.running_var", "body.4.num_batches_tracked"}


def test_eu_k_starts_the_last_k_layers_from_a_fresh_model_and_keeps_the_others():
    seen = {}
    task = tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.update({e: copy.deepcopy(m.state_dict())}))
    original, fresh = tiny_conv_net(1), tiny_conv_net(task.seed).state_dict()
    found = unlearn("eu_k", original, task, k=2)
    for name, value in seen[0].items():
        reset = name in LAST_TWO | LAST_TWO_STATISTICS
        assert torch.equal(value, fresh[name] if reset else original.state_dict()[name]), name
    assert changed_tensors(original, found) == LAST_TWO | LAST_TWO_STATISTICS
    assert max(seen) == task.recipe.epochs
    assert max(seen) == 2
    unlearn("eu_k", original, tiny_task(net=tiny_conv_net, on_epoch=lambda e, m: seen.update({e: None})), epochs=5)
    assert max(seen) == 5


def test_eu_k_of_all_layers_trains_as_the_recipe_does():
    task = tiny_task(recipe=Recipe(epochs=3, batch_size=50, learning_rate=0.05))
    expected = tiny_net(task.seed)
    train(expected, task.retain, task.recipe, task.seed)
    assert close(unlearn("eu_k", tiny_net(), task, k=2), expected, 1e-8)


def test_eu_k_smooths_labels_as_the_recipe_does():
    task = tiny_task(recipe=Recipe(epochs=2, batch_size=50, learning_rate=0.05, label_smoothing=0.2))
    expected = tiny_net(task.seed)
    train(expected, task.retain, task.recipe, task.seed)
    assert close(unlearn("eu_k", tiny_net(), task, k=2), expected, 1e-8)
