"""SISA. A random tenth or a class touches all shards, and then costs a whole retraining; a few samples touch few. The
price of sharding: after a random tenth of 3,000 MNIST images went, its three nets are right on 0.893 of the test
images, one retrained net on 0.924 (results/reference/methods/table.md)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import detach_meters, train
from forget_lib.unlearning import Count, UnlearningTask, method, source
from forget_lib.unlearning.parts.voting import Voting

Vote = Literal["softmax", "argmax"]
Fresh = Callable[[int], nn.Module]


def epochs_of_slices(epochs: int, slices: int) -> list[int]:
    """Epochs on slices 0 … s for each s, so that as many samples are seen as in `epochs` epochs without slices."""
    pace = 2 * epochs / (slices + 1)
    return [int((s + 1) * pace) - int(s * pace) for s in range(slices)]


class Sisa:
    """Shards of samples, each in slices, assigned at random, with the model after each slice.

    A shard's model is trained on its first slice, then on the first two, and so on. Its seed and schedule depend on
    shard and slice alone, so that what is trained again is what training without the point would have given. A shard
    that gets no sample of some class never votes for it; that is printed.
    Raises: ForgetError for fewer samples than slices of all shards.
    """

    def __init__(
        self, samples: Samples, new_model: Fresh, recipe: Recipe, *, shards: int, slices: int, seed: int = 0
    ) -> None:
        if len(samples) < shards * slices:
            raise ForgetError(
                f"{len(samples)} samples cannot fill {shards} shards of {slices} slices; ask for fewer of them."
            )
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
        parts = [part.sort().values for part in torch.tensor_split(order, shards * slices)]
        self.parts = [parts[shard * slices : (shard + 1) * slices] for shard in range(shards)]
        self.samples, self.new_model, self.recipe, self.seed = samples, new_model, recipe, seed
        self.states: list[list[dict[str, Tensor]]] = [[] for _ in range(shards)]
        labels = samples.labels.cpu()
        for shard, held in enumerate(self.parts):
            missing = sorted(set(labels.tolist()) - set(labels[torch.cat(held)].tolist()))
            if missing:
                where = f"sisa: shard {shard + 1} of {shards} holds no sample of classes {missing}"
                print(f"{where}, so it never votes for them; ask for fewer shards.")
            self._train(shard, 0)

    def forget(self, indices: Tensor) -> list[int]:
        """Drops samples; trains each shard that held one again, from its last state that had seen none of them.

        Returns: the shards that were trained again.
        Raises: ForgetError for samples that no shard holds; nothing is dropped then.
        """
        strange = indices[~torch.isin(indices, torch.cat([part for parts in self.parts for part in parts]))]
        if len(strange):
            first = int(strange[0])
            raise ForgetError(f"No shard ever saw {len(strange)} of the samples to forget (the first is {first}).")
        again = []
        for shard, parts in enumerate(self.parts):
            staying = [part[~torch.isin(part, indices)] for part in parts]
            touched = [i for i, part in enumerate(parts) if len(staying[i]) < len(part)]
            if touched:
                self.parts[shard] = staying
                self._train(shard, touched[0])
                again.append(shard)
        return again

    def model(self, vote: str = "softmax") -> Voting:
        """All shards that hold a sample, voting. Raises: ForgetError if none does."""
        members = []
        for shard, parts in enumerate(self.parts):
            if sum(map(len, parts)):
                member = self.new_model(self.seed + shard)
                member.load_state_dict(self.states[shard][-1])
                members.append(member.eval())
        if not members:
            raise ForgetError("All shards are empty: there is nothing left to train on.")
        return Voting(members, vote)

    def _train(self, shard: int, start: int) -> None:
        """Trains a shard from slice `start` on, from the state before it."""
        model = self.new_model(self.seed + shard)
        self.states[shard] = self.states[shard][:start]
        if start:
            model.load_state_dict(self.states[shard][-1])
        for slice_, epochs in list(enumerate(epochs_of_slices(self.recipe.epochs, len(self.parts[shard]))))[start:]:
            indices = torch.cat(self.parts[shard][: slice_ + 1])
            # Batch norm cannot train on a single sample, and there is nothing to train on an empty slice.
            if epochs and len(indices) > 1:
                part = self.samples.subset(indices.to(self.samples.labels.device))
                train(model, part, replace(self.recipe, epochs=epochs), 1000 * (self.seed + shard) + slice_)
            self.states[shard].append({name: value.clone() for name, value in model.state_dict().items()})


@method("sisa", title="SISA", uses="retain (forget for the set-up)", family="exact")
@source("Bourtoule et al., IEEE S&P 2021", arxiv="1912.03817", status="V")
def sisa(
    model: nn.Module, task: UnlearningTask, *, shards: Count = 3, slices: Count = 2, vote: Vote = "softmax"
) -> nn.Module:
    r"""Train models on shards of the data in slices; to forget, train again the shards that held the samples.

    Shard s: :math:`\min \mathcal{L}_{CE}` on slices :math:`1 \dots r` for each r in turn, keeping each state; on a
    removal, from the last state that saw none of the forget set. Prediction: :math:`\log \overline{p_s(x)}`, or votes
    (the authors' default). Exact for its ensemble alone, which is not the original that was given: it is trained here
    on forget and retain together, outside the cost that is counted. Parts after a removal are smaller than parts
    drawn anew would be. Returns one module of all shards.
    """

    def new_model(seed: int) -> nn.Module:
        return task.meter.attach(task.fresh_model(seed).to(task.device))

    everything = concatenate(task.forget, task.retain)
    with task.meter.paused():
        shard_set = Sisa(everything, new_model, task.recipe, shards=shards, slices=slices, seed=task.seed)
    shard_set.forget(torch.arange(len(task.forget)))
    ensemble = shard_set.model(vote)
    for member in ensemble.members:
        detach_meters(member)
    return ensemble
