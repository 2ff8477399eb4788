"""rum against its definition, on tiny nets and data."""

import pytest
import torch
from torch.nn.functional import softmax

from forget_lib.core.errors import ForgetError, UnknownNameError
from forget_lib.unlearning import rum, unlearn
from tests.tiny_tasks import (
    tiny_net,
    tiny_task,
    whole,
)


def test_rum_unlearns_from_the_least_to_the_most_memorised_with_the_whole_forget_set_out_of_retain(monkeypatch):
    scores = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.8, 0.6, 0.0])
    task, seen = tiny_task(memorisation=scores), []
    images = task.forget.images

    def spy(name, model, part, **settings):
        positions = [next(i for i in range(7) if torch.equal(images[i], x)) for x in part.forget.images]
        seen.append((name, positions, len(part.retain), settings))
        return model

    monkeypatch.setattr(rum, "unlearn", spy)
    unlearn("rum", tiny_net(), task, low="ssd", middle="finetune", high="salun", retain_share=1.0)
    once = {"epochs": 1}
    assert seen == [("ssd", [1, 3, 6], 11, {}), ("finetune", [2, 5], 11, once), ("salun", [0, 4], 11, once)]
    seen.clear()
    unlearn("rum", tiny_net(), task, retain_share=0.5)
    assert [part[2] for part in seen] == [6, 6]


def test_rum_says_where_its_scores_are_from_and_refuses_itself():
    model, task = tiny_net(), tiny_task()
    images, labels = whole(task.forget)
    scores, source = rum.memorisation_of(model, task)
    assert source == "confidence"
    assert torch.allclose(scores, 1 - softmax(model(images), 1)[torch.arange(7), labels].detach())
    with pytest.raises(ForgetError, match="rum cannot be a part of itself"):
        unlearn("rum", model, task, low="rum")
    with pytest.raises(UnknownNameError, match="finetune"):
        unlearn("rum", model, task, low="finetun")
    with pytest.raises(ForgetError, match="memorisation scores"):
        unlearn("rum", model, tiny_task(memorisation=torch.ones(3)))


def test_the_log_scores_what_training_was_least_sure_of_as_most_memorised():
    class Log:
        def confidence_of(self, samples):
            return torch.linspace(0.9, 0.3, len(samples))

    scores, source = rum.memorisation_of(tiny_net(), tiny_task(training_log=Log()))
    assert source == "training log"
    assert torch.allclose(scores, 1 - torch.linspace(0.9, 0.3, 7))
