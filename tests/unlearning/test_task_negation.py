"""task_negation against its definition, on tiny nets and data."""

import copy

import torch

from forget_lib.unlearning import unlearn
from forget_lib.unlearning.parts import task_vectors
from tests.tiny_tasks import (
    by_hand,
    ce,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    weights,
    whole,
)


def test_task_negation_goes_back_along_what_fine_tuning_on_the_forget_set_did():
    task, original, tuned = tiny_task(), tiny_net(), tiny_net()
    by_hand(tuned, [ce(task.forget)] * 2, rate=0.01, decay=0)
    found = unlearn("task_negation", original, task, learning_rate=0.01, epochs=2, scale=0.7)
    for start, there, here in zip(*(map(weights, (original, tuned, found))), strict=True):
        assert torch.allclose(here, start - 0.7 * (there - start))


def test_the_scale_is_the_largest_that_keeps_the_accuracy_on_the_classes_that_stay():
    task, model = tiny_task(classes=(1,)), tiny_net()
    vector = {name: 5 * torch.randn(p.shape).double() for name, p in model.named_parameters()}
    images, labels = whole(task.validation)
    staying = labels != 1

    def accuracy(scale):
        moved = copy.deepcopy(model)
        task_vectors.move(moved, vector, scale)
        return float((moved(images[staying]).argmax(1) == labels[staying]).double().mean())

    good = [s for s in task_vectors.SCALES if accuracy(s) >= 0.95 * accuracy(0.0)] or [0.1]
    assert task_vectors.largest_scale(model, task, vector) == max(good)


def test_statistics_of_batch_norm_are_taken_anew_from_the_retain_set():
    model, samples = tiny_conv_net(), tiny_samples(11, 3, batch_size=50)
    task_vectors.renew_statistics(model, samples)
    images, _ = whole(samples)
    assert torch.allclose(model.body[1].running_mean, model.body[0](images).mean((0, 2, 3)))
    assert model.body[1].momentum == 0.1
