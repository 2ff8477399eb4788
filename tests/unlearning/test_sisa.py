"""sisa against its definition, on tiny nets and data."""

import dataclasses

import pytest
import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning import sisa, unlearn
from forget_lib.unlearning.parts.voting import Voting
from tests.tiny_tasks import tiny_samples, tiny_task

RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=0.1)


def net(seed: int = 0) -> nn.Module:
    return build("small_cnn", (1, 8, 8), 3, seed)


def data(size: int = 24) -> Samples:
    return tiny_samples(size, 5, kind=Samples, side=8)


def fresh(seed: int) -> nn.Module:
    return net(seed)


def test_epochs_of_slices_see_as_many_samples_as_training_without_slices():
    assert sisa.epochs_of_slices(10, 1) == [10]
    assert sisa.epochs_of_slices(6, 3) == [3, 3, 3]
    assert sum(e * (s + 1) / 4 for s, e in enumerate(sisa.epochs_of_slices(20, 4))) == 20


@pytest.mark.parametrize("gone", [[0], [3, 17], list(range(12))])
def test_sisa_equals_training_its_shards_without_the_points_bit_for_bit(gone):
    options = {"shards": 2, "slices": 3, "seed": 4}
    ensemble = sisa.Sisa(data(), fresh, RECIPE, **options)
    untouched = [[dict(s) for s in states] for states in ensemble.states]
    parts = [[part.clone() for part in shard] for shard in ensemble.parts]
    again = ensemble.forget(torch.tensor(gone))
    for shard in range(2):
        model = fresh(4 + shard)
        held = [torch.isin(part, torch.tensor(gone)) for part in parts[shard]]
        for slice_, epochs in enumerate(sisa.epochs_of_slices(3, 3)):
            rest = torch.cat([p[~h] for p, h in zip(parts[shard][: slice_ + 1], held[: slice_ + 1], strict=True)])
            if epochs and len(rest) > 1:
                recipe = dataclasses.replace(RECIPE, epochs=epochs)
                train(model, data().subset(rest), recipe, 1000 * (4 + shard) + slice_)
            kept = ensemble.states[shard][slice_]
            assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
        first = next((s for s, h in enumerate(held) if h.any()), None)
        assert (shard in again) == (first is not None)
        for slice_ in range(3 if first is None else first):  # what had not seen the points was not trained again
            old = untouched[shard][slice_]
            assert all(old[name] is value for name, value in ensemble.states[shard][slice_].items())


def test_sisa_refuses_what_its_shards_never_saw_and_too_many_slices():
    ensemble = sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=2)
    with pytest.raises(ForgetError, match="No shard ever saw 1 of the samples"):
        ensemble.forget(torch.tensor([1, 99]))
    assert sum(len(part) for parts in ensemble.parts for part in parts) == 24
    with pytest.raises(ForgetError, match="24 samples cannot fill 5 shards of 5 slices"):
        sisa.Sisa(data(), fresh, RECIPE, shards=5, slices=5)
    with pytest.raises(ForgetError, match="vote is 'mean'; expected one of softmax, argmax"):
        unlearn("sisa", net(), tiny_task(), vote="mean")


def test_a_shard_that_gets_no_sample_of_a_class_is_named_and_trained_all_the_same(capsys):
    labels = torch.tensor([0, 1, 2] + [0, 1] * 10 + [0])
    ensemble = sisa.Sisa(data().with_labels(labels), fresh, RECIPE, shards=2, slices=1)
    lonely = 1 - next(shard for shard, parts in enumerate(ensemble.parts) if 2 in parts[0])
    assert f"sisa: shard {lonely + 1} of 2 holds no sample of classes [2]" in capsys.readouterr().out
    assert len(ensemble.model().members) == 2
    sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=1)
    assert not capsys.readouterr().out


def test_a_shard_without_a_class_votes_and_an_empty_one_does_not():
    ensemble = sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=1, seed=0)
    first = ensemble.parts[0][0]
    ensemble.forget(first[data().labels[first] == 1])
    assert len(ensemble.model().members) == 2
    ensemble.forget(ensemble.parts[0][0])
    assert len(ensemble.model().members) == 1
    ensemble.forget(ensemble.parts[1][0])
    with pytest.raises(ForgetError, match="All shards are empty"):
        ensemble.model()


def test_votes_by_hand():
    class Fixed(nn.Module):
        def __init__(self, probabilities):
            super().__init__()
            self.logits = torch.tensor(probabilities).log()

        def forward(self, images):
            return self.logits.expand(len(images), -1)

    members = [Fixed([0.6, 0.3, 0.1]), Fixed([0.2, 0.5, 0.3]), Fixed([0.1, 0.5, 0.4])]
    x = torch.zeros(2, 1)
    assert torch.allclose(Voting(members)(x).exp(), torch.tensor([0.3, 1.3 / 3, 0.8 / 3]).expand(2, 3))
    votes = torch.tensor([1 + 1 / 3, 2 + 1 / 3, 1 / 3]) / 4
    assert torch.allclose(Voting(members, "argmax")(x).exp(), votes.expand(2, 3))


def test_sisa_counts_only_what_is_trained_again():
    def run(gone: int) -> int:
        mask = torch.arange(24) < gone
        parts = {"forget": data().subset(mask), "retain": data().subset(~mask)}
        task = tiny_task(net=net, recipe=RECIPE, **parts)
        unlearn("sisa", net(), task, shards=4, slices=1)
        return task.meter.passes

    assert run(1) == 3 * 3 * 5  # one of four shards of six, without the point
    assert run(12) > 3 * run(1) / 2


def test_the_ensemble_answers_with_the_states_after_the_last_slices_in_eval_mode():
    ensemble = sisa.Sisa(data(), fresh, RECIPE, shards=2, slices=3)
    model = ensemble.model()
    for member, states in zip(model.members, ensemble.states, strict=True):
        assert not member.training
        assert all(torch.equal(value, states[-1][name]) for name, value in member.state_dict().items())
