"""amnesiac against its definition, on tiny nets and data."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.datasets.samples import Samples
from forget_lib.models.log import logged_training
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import tiny_samples, tiny_task

RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=0.1)


def net(seed: int = 0) -> nn.Module:
    return build("small_cnn", (1, 8, 8), 3, seed)


def data(size: int = 24) -> Samples:
    return tiny_samples(size, 5, kind=Samples, side=8)


def state(model: nn.Module) -> list[bytes]:
    return [value.numpy().tobytes() for value in model.state_dict().values()]


def test_logged_training_is_training_bit_for_bit():
    plain, logged = net(), net()
    train(plain, data(), RECIPE, 3)
    log = logged_training(logged, data(), RECIPE, 3, torch.tensor([1, 5]))
    assert state(plain) == state(logged)
    assert (log.batches, log.expected) == (18, 18)
    assert 3 <= log.touched <= 6
    assert log.confidence.shape == (2,)
    assert bool(((log.confidence > 0) & (log.confidence < 1)).all())


@pytest.mark.parametrize("size", [24, 25, 26])
def test_a_log_counts_batches_as_training_does(size):
    log = logged_training(net(), data(size), RECIPE, 3, torch.tensor([0]))
    assert log.batches == log.expected


def task_of(model: nn.Module, watched: Tensor, log: object) -> object:
    gone = torch.zeros(24, dtype=torch.bool)
    gone[watched] = True
    return tiny_task(forget=data().subset(gone), retain=data().subset(~gone), net=net, training_log=log)


def test_subtracting_restores_the_weights_exactly_when_every_batch_was_watched():
    model, start = net(), net()
    log = logged_training(model, data(), RECIPE, 3, torch.arange(23))  # one of 24 is not watched, and no batch is alone
    assert log.touched == log.batches
    found = unlearn("amnesiac", model, task_of(model, torch.arange(23), log), epochs=0)
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, start.get_parameter(name)), name


def test_subtracting_takes_back_only_what_the_touched_batches_did():
    recipe = dataclasses.replace(RECIPE, epochs=1)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    last, before = order[-1:], net()
    log = logged_training(model := net(), data(), recipe, 3, last)
    assert log.touched == 1
    found = unlearn("amnesiac", model, task_of(model, last, log), epochs=0)

    # By hand: all batches but the last one, which held the watched sample.
    class Cut(Samples):
        def batches(self, *arguments, **options):
            for number, batch in enumerate(super().batches(*arguments, **options)):
                if number < 5:
                    yield batch

    fields = {f.name: getattr(data(), f.name) for f in dataclasses.fields(Samples)}
    train(before, Cut(**fields), recipe, 3)
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, before.get_parameter(name)), name


def test_amnesiac_refuses_a_log_that_is_missing_cut_short_or_of_something_else(tmp_path):
    model, watched = net(), torch.tensor([1, 5])
    log = logged_training(model, data(), RECIPE, 3, watched)
    with pytest.raises(NotApplicableError, match="training log"):
        unlearn("amnesiac", model, task_of(model, watched, None))
    with pytest.raises(ForgetError, match="cut short: 17 of 18"):
        unlearn("amnesiac", model, task_of(model, watched, dataclasses.replace(log, batches=17)))
    with pytest.raises(ForgetError, match="another model"):
        unlearn("amnesiac", net(9), task_of(model, watched, log))
    with pytest.raises(ForgetError, match="not the 3 to forget"):
        unlearn("amnesiac", model, task_of(model, torch.tensor([1, 5, 6]), log))
    with pytest.raises(ForgetError, match="no sample to watch"):
        logged_training(net(), data(), RECIPE, 3, torch.zeros(24, dtype=torch.bool))


def test_a_log_tells_the_confidence_of_what_it_watched_and_of_nothing_else():
    log = logged_training(net(), data(), RECIPE, 3, torch.tensor([1, 5]))
    assert torch.equal(log.confidence_of(data().subset(torch.tensor([5, 1]))), log.confidence[[1, 0]])
    with pytest.raises(ForgetError, match="did not watch"):
        log.confidence_of(data())
