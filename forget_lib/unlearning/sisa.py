"""SISA: models on disjoint shards, so that forgetting a sample means training again only where it was."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
from forget_lib.unlearning.common import check_range
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

VOTES = ("softmax", "argmax")


class Voting(nn.Module):
    """Models that vote: logits [B, K] are the logarithm of the mean probabilities, or of the smoothed share of votes.

    Args: vote: "softmax" averages probabilities, "argmax" counts votes, with one vote spread over all classes.
    """

    def __init__(self, members: list[nn.Module], vote: str = "softmax") -> None:
        super().__init__()
        if vote not in VOTES:
            raise unknown("vote", vote, VOTES)
        self.members, self.vote = nn.ModuleList(members), vote

    def features(self, images: Tensor) -> Tensor:
        """Penultimate activations of all members side by side, [B, Σ D].

        Raises: ForgetError for members without features.
        """
        if not all(hasattr(member, "features") for member in self.members):
            raise ForgetError("These members end in no linear layer, so that they have no features to look at.")
        return torch.cat([member.features(images) for member in self.members], 1)

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.stack([member(images) for member in self.members])
        if self.vote == "softmax":
            return logits.log_softmax(2).logsumexp(0) - torch.tensor(float(len(logits))).log()
        classes = logits.shape[2]
        votes = nn.functional.one_hot(logits.argmax(2), classes).sum(0).to(logits)
        return ((votes + 1 / classes) / (len(logits) + 1)).log()


def is_ensemble(state: Mapping[str, Tensor]) -> bool:
    """Whether these weights are those of a `Voting`."""
    return any(name.startswith("members.") for name in state)


def ensemble_of(state: Mapping[str, Tensor], new_model: Callable[[int], nn.Module], vote: str) -> Voting:
    """The `Voting` that has these weights; as many members as the names of the weights tell, each a new model."""
    members = {name.split(".")[1] for name in state}
    found = Voting([new_model(0) for _ in members], vote)
    found.load_state_dict(state)
    return found


def epochs_of_slices(epochs: int, slices: int) -> list[int]:
    """Epochs on slices 0 … s for each s, so that as many samples are seen as in `epochs` epochs without slices."""
    pace = 2 * epochs / (slices + 1)
    return [int((s + 1) * pace) - int(s * pace) for s in range(slices)]


class Sisa:
    """Shards of samples, each in slices, with the model after each slice.

    A shard's model is trained on its first slice, then on the first two, and so on. Its seed and schedule depend on
    shard and slice alone, so that what is trained again is what training without the point would have given.
    """

    def __init__(
        self,
        samples: Samples,
        new_model: Callable[[int], nn.Module],
        recipe: Recipe,
        *,
        shards: int,
        slices: int,
        seed: int = 0,
    ) -> None:
        """Assigns samples at random to shards and slices of equal size and trains all of them.

        A shard that gets no sample of some class is trained all the same and never votes for it; that is printed.
        Raises: ForgetError for fewer samples than slices of all shards, or a number below 1.
        """
        for name, value in (("shards", shards), ("slices", slices)):
            check_range(name, value, 1)
        if len(samples) < shards * slices:
            raise ForgetError(
                f"{len(samples)} samples cannot fill {shards} shards of {slices} slices; ask for fewer of them."
            )
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
        parts = [part.sort().values for part in torch.tensor_split(order, shards * slices)]
        self.parts = [parts[shard * slices : (shard + 1) * slices] for shard in range(shards)]
        self.samples, self.new_model, self.recipe, self.seed = samples, new_model, recipe, seed
        self.states: list[list[dict[str, Tensor]]] = [[] for _ in range(shards)]
        self._say_what_is_missing()
        for shard in range(shards):
            self._train(shard, 0)

    def forget(self, indices: Tensor) -> list[int]:
        """Drops samples and trains again each shard that held one, from its last state that had seen none of them.

        Returns: the shards that were trained again.
        Raises: ForgetError for samples that no shard holds; nothing is dropped then.
        """
        held = torch.cat([part for parts in self.parts for part in parts])
        strange = indices[~torch.isin(indices, held)]
        if len(strange):
            raise ForgetError(
                f"No shard ever saw {len(strange)} of the samples to forget (the first is {int(strange[0])})."
            )
        again = []
        for shard, parts in enumerate(self.parts):
            touched = [slice_ for slice_, part in enumerate(parts) if torch.isin(part, indices).any()]
            if touched:
                self.parts[shard] = [part[~torch.isin(part, indices)] for part in parts]
                self._train(shard, touched[0])
                again.append(shard)
        return again

    def model(self, vote: str = "softmax") -> nn.Module:
        """All shards that hold a sample, voting.

        Raises: ForgetError if none does.
        """
        members = []
        for shard, parts in enumerate(self.parts):
            if sum(map(len, parts)):
                member = self.new_model(self.seed + shard)
                member.load_state_dict(self.states[shard][-1])
                members.append(member.eval())
        if not members:
            raise ForgetError("All shards are empty: there is nothing left to train on.")
        return Voting(members, vote)

    def _say_what_is_missing(self) -> None:
        """Prints which shards hold no sample of a class that others hold."""
        labels = self.samples.labels.cpu()
        for shard, parts in enumerate(self.parts):
            missing = sorted(set(labels.tolist()) - set(labels[torch.cat(parts)].tolist()))
            if missing:
                print(
                    f"sisa: shard {shard + 1} of {len(self.parts)} holds no sample of classes {missing}, so it never "
                    "votes for them; ask for fewer shards."
                )

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


@method(
    "sisa",
    title="SISA",
    paper="Bourtoule et al., IEEE S&P 2021",
    uses="retain (forget for the set-up)",
    family="exact",
    exact=True,
)
def sisa(
    model: nn.Module, task: UnlearningTask, *, shards: int = 3, slices: int = 2, vote: str = "softmax"
) -> nn.Module:
    r"""Train models on shards of the data in slices; to forget, train again the shards that held the samples.

    Shard s: :math:`\min \mathcal{L}_{CE}` on slices :math:`1 \dots r` for each r in turn, keeping each state; on a
    removal, from the last state that saw none of the forget set. Prediction: :math:`\log \overline{p_s(x)}`. Exact
    with respect to an ensemble so trained, which is not the original that was given: it is trained here on forget
    and retain together, outside the cost that is counted. Returns one module with all shards inside, so its weights
    have other names. Status V. A random tenth or a class touches all shards; a few samples touch few.
    Args: shards (>= 1). slices of each (>= 1). vote: "softmax" or "argmax" (the authors' default).
    Raises: ForgetError for settings out of range or too few samples; DivergedError.
    """
    if vote not in VOTES:
        raise unknown("vote", vote, VOTES)

    def new_model(seed: int) -> nn.Module:
        return task.meter.attach(task.fresh_model(seed).to(task.device))

    everything = concatenate(task.forget, task.retain)
    with task.meter.paused():
        ensemble = Sisa(everything, new_model, task.recipe, shards=int(shards), slices=int(slices), seed=task.seed)
    ensemble.forget(torch.arange(len(task.forget)))
    found = ensemble.model(vote)
    for member in found.members:
        member._forward_hooks.clear()
    return found
