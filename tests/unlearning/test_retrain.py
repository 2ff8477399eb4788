"""retrain against its definition, on tiny nets and data."""

import torch

from forget_lib.models.train import train
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    close,
    tiny_net,
    tiny_task,
)


def test_retrain_is_a_new_model_trained_on_the_retain_set_alone():
    task, original = tiny_task(), tiny_net()
    expected = tiny_net(task.seed)
    train(expected, task.retain, task.recipe, task.seed)
    found = unlearn("retrain", original, task)
    assert close(found, expected, 0)
    shared = {id(p) for p in original.parameters()} & {id(p) for p in found.parameters()}
    assert not shared
    assert not any(torch.equal(a, b) for a, b in zip(found.parameters(), original.parameters(), strict=True))
