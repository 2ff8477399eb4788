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
