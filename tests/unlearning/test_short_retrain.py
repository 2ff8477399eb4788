"""short_retrain against its definition: the recipe with fewer epochs, on the retain set alone."""

import dataclasses

import pytest
import torch

from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import get_method, unlearn
from forget_lib.unlearning.short_retrain import shortened
from tests.tiny_tasks import close, tiny_net, tiny_samples, tiny_task

RECIPE = Recipe(epochs=10, batch_size=4, learning_rate=0.05, schedule="cosine")


@pytest.mark.parametrize(("share", "epochs"), [(0.02, 1), (0.15, 2), (0.2, 2), (0.25, 3), (0.5, 5), (1.0, 10)])
def test_the_schedule_is_shortened_to_whole_epochs(share, epochs):
    assert shortened(RECIPE, share) == dataclasses.replace(RECIPE, epochs=epochs)


@pytest.mark.parametrize(("share", "epochs"), [(0.2, 2), (1.0, 10)])
def test_it_is_the_shortened_recipe_on_the_retain_set(share, epochs):
    task = tiny_task(recipe=RECIPE)
    expected = tiny_net(task.seed)
    train(expected, task.retain, dataclasses.replace(RECIPE, epochs=epochs), task.seed)
    assert close(unlearn("short_retrain", tiny_net(), task, share=share), expected, 0)
    assert task.meter.passes == 3 * epochs * len(task.retain)
    if share == 1:
        assert close(unlearn("retrain", tiny_net(), tiny_task(recipe=RECIPE)), expected, 0)


def test_it_never_sees_the_forget_set_nor_the_original():
    task = tiny_task(recipe=RECIPE)
    others = tiny_samples(7, 99, batch_size=50)
    found = unlearn("short_retrain", tiny_net(), task)
    assert close(unlearn("short_retrain", tiny_net(5), tiny_task(recipe=RECIPE, forget=others)), found, 0)
    changed = tiny_task(recipe=RECIPE, retain=dataclasses.replace(task.retain, labels=task.retain.labels.roll(1)))
    assert not close(unlearn("short_retrain", tiny_net(), changed), found)
    assert get_method("short_retrain").control
    assert torch.is_grad_enabled()
