"""scrub_rewind against its definition, on tiny nets and data."""

import pytest
import torch

from forget_lib.core.errors import NotApplicableError
from forget_lib.unlearning import scrub_rewind, unlearn
from tests.tiny_tasks import (
    close,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


def test_scrub_rewind_goes_back_to_the_epoch_closest_to_the_reference():
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    settings = {"learning_rate": 0.4, "max_epochs": 5, "alpha": 0.1, "forget_batch_size": 2}

    def task():
        return tiny_task(forget=tiny_samples(7, 7, batch_size=50).with_labels(labels))

    def error(model, samples):
        return float((model(whole(samples)[0]).argmax(1) != samples.labels).double().mean())

    for seed in range(3):
        runs = [unlearn("scrub", tiny_net(seed), task(), epochs=e, **settings) for e in range(1, 6)]
        reference = error(runs[-1], task().validation)
        errors = [error(run, task().forget) for run in runs]
        best = min(range(5), key=lambda i: abs(errors[i] - reference))
        assert close(unlearn("scrub_rewind", tiny_net(seed), task(), epochs=5, **settings), runs[best], 1e-9)
    assert scrub_rewind.closest([0.9, 0.4, 0.5, 0.2], 0.45) == 1
    assert scrub_rewind.closest([0.0, 0.1, 0.8], 1.0) == 2


def test_scrub_rewind_says_when_no_validation_sample_is_of_the_forgotten_classes():
    validation = tiny_samples(9, 9)
    task = tiny_task(classes=(1,), validation=validation.with_labels(torch.zeros(9, dtype=torch.int64)))
    with pytest.raises(NotApplicableError, match="validation samples of the classes"):
        unlearn("scrub_rewind", tiny_net(), task)


@pytest.mark.parametrize("epochs", [1, 2, 4, 5, 7])
def test_at_least_five_checkpoints_are_kept_however_few_the_epochs(epochs, monkeypatch):
    kept = []
    monkeypatch.setattr(scrub_rewind, "closest", lambda errors, _reference: kept.append(len(errors)) or 0)
    retain = tiny_samples(30, 3, batch_size=3)
    unlearn("scrub_rewind", tiny_net(), tiny_task(retain=retain), epochs=epochs)
    assert kept[0] >= scrub_rewind.CHECKPOINTS
    assert kept[0] == epochs * -(-scrub_rewind.CHECKPOINTS // epochs)


def test_checkpoints_within_an_epoch_leave_the_last_one_as_scrub_leaves_it(monkeypatch):
    settings = {"epochs": 2, "learning_rate": 0.1, "max_epochs": 1, "alpha": 0.1, "forget_batch_size": 2}
    retain = {"retain": tiny_samples(30, 3, batch_size=3)}
    scrubbed = unlearn("scrub", tiny_net(), tiny_task(**retain), **settings)
    monkeypatch.setattr(scrub_rewind, "closest", lambda errors, _reference: len(errors) - 1)
    retain = {"retain": tiny_samples(30, 3, batch_size=3)}  # with a generator at its start
    assert close(unlearn("scrub_rewind", tiny_net(), tiny_task(**retain), **settings), scrubbed, 1e-9)


def test_the_reference_of_scrub_rewind_is_the_error_on_validation_samples_of_the_forgotten_classes(monkeypatch):
    seen, error = [], scrub_rewind._error
    monkeypatch.setattr(
        scrub_rewind, "_error", lambda m, samples: seen.append(samples.labels.tolist()) or error(m, samples)
    )
    unlearn("scrub_rewind", tiny_net(), tiny_task(classes=(1,)), epochs=5)
    assert seen[-1] == [1, 1, 1]
