"""Several models that answer as one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError


class Voting(nn.Module):
    """Models that vote: logits [B, K] are the logarithm of the mean probabilities, or of the smoothed share of votes.

    vote: "softmax" averages probabilities, "argmax" counts votes, with one vote spread over all classes.
    """

    def __init__(self, members: Sequence[nn.Module], vote: str = "softmax") -> None:
        super().__init__()
        self.members, self.vote = nn.ModuleList(members), vote

    def features(self, images: Tensor) -> Tensor:
        """Penultimate activations of all members side by side, [B, Σ D]. Raises: ForgetError for one without."""
        if not all(hasattr(member, "features") for member in self.members):
            raise ForgetError("These members end in no linear layer, so that they have no features to look at.")
        return torch.cat([member.features(images) for member in cast(Iterable[Any], self.members)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of all members together."""
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
    """The `Voting` that has these weights; as many members as their names tell, each a new model."""
    ensemble = Voting([new_model(0) for _ in {name.split(".")[1] for name in state}], vote)
    ensemble.load_state_dict(state)
    return ensemble
