"""task_negation against its definition, on tiny nets and data."""

import copy

import torch

from forget_lib.unlearning import unlearn
from forget_lib.unlearning.parts import task_vectors
from tests.tiny_tasks import (
    batch_norm_modes,
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

    chosen, scales = task_vectors.largest_scale(model, task, vector), task_vectors.SCALES
    kept = [accuracy(scale) >= 0.95 * accuracy(0.0) for scale in scales]
    place = scales.index(chosen)
    assert chosen == scales[0] or kept[place]
    assert chosen == scales[-1] or not all(kept[place : place + 2])


def test_the_scale_may_be_larger_than_one_and_a_vector_of_nothing_is_never_too_long():
    assert max(task_vectors.SCALES) > 1
    task, model = tiny_task(), tiny_net()
    nothing = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert task_vectors.largest_scale(model, task, nothing) == max(task_vectors.SCALES)


def test_the_scale_is_chosen_on_the_model_that_is_returned_with_its_statistics_renewed():
    """Along a bias before batch norm only statistics matter: renewed, they undo the move, however long; as they were,
    the first step is too far."""
    task, model = tiny_task(net=tiny_conv_net), tiny_conv_net()
    task_vectors.renew_statistics(model, task.retain)
    vector = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    vector["body.0.bias"] = torch.full_like(vector["body.0.bias"], 1e3)
    assert task_vectors.largest_scale(model, task, vector) == max(task_vectors.SCALES)
    found = task_vectors.negated(copy.deepcopy(model), task, vector, 0.0)
    images, _ = whole(task.validation)
    assert torch.allclose(found(images), model(images), atol=1e-6)


def test_the_statistics_of_both_methods_come_from_the_retain_set():
    for name in ("task_negation", "negmerge"):
        task = tiny_task(net=tiny_conv_net)
        found = unlearn(name, tiny_conv_net(), task, scale=0.1)
        images, _ = whole(task.retain)
        assert torch.allclose(found.body[1].running_mean, found.body[0](images).mean((0, 2, 3))), name


def test_statistics_of_batch_norm_are_taken_anew_from_the_retain_set():
    model, samples = tiny_conv_net(), tiny_samples(11, 3, batch_size=50)
    task_vectors.renew_statistics(model, samples)
    images, _ = whole(samples)
    assert torch.allclose(model.body[1].running_mean, model.body[0](images).mean((0, 2, 3)))
    assert model.body[1].momentum == 0.1


def test_batch_norm_stays_while_the_forget_set_is_learned_better():
    with batch_norm_modes() as seen:
        unlearn("task_negation", tiny_conv_net(), tiny_task(net=tiny_conv_net), scale=0.1)
    assert set(seen) == {(7, False), (11, True)}
