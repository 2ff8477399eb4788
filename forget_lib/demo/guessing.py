"""The attack as a game: a score a sample, a threshold, how often the guess "it was in the training set" is right."""

from dataclasses import dataclass

import numpy as np

from forget_lib.core.errors import TooFewError
from forget_lib.demo.library import Bench
from forget_lib.statistics.intervals import Interval, auc_interval, clopper_pearson
from forget_lib.statistics.scores import phi

FEWEST = 2


@dataclass(frozen=True)
class Guess:
    """What a threshold gives.

    Attributes: threshold. found: true-positive rate on the forget set. accused: false-positive rate on the unseen
        set; both with exact 95 % intervals. members: bool [n], which forget samples were named.
    """

    threshold: float
    found: Interval
    accused: Interval
    members: np.ndarray


class Guessing:
    """Scores of forget and unseen samples under one model: the logit margin, higher for samples the model is sure of.

    Only these two sets meet: they come from the same classes and differ in nothing but that one was trained on.
    """

    def __init__(self, forget: np.ndarray, unseen: np.ndarray) -> None:
        """Args: scores, float [n] and [m].

        Raises: TooFewError where either has fewer than two samples.
        """
        if min(len(forget), len(unseen)) < FEWEST:
            raise TooFewError(
                f"There are {len(forget)} forgotten and {len(unseen)} unseen samples; the attack needs {FEWEST} each."
            )
        self.forget, self.unseen = np.asarray(forget, dtype=np.float64), np.asarray(unseen, dtype=np.float64)

    @classmethod
    def of(cls, bench: Bench, name: str) -> "Guessing":
        """The scores of a model of the bench."""
        parts = [
            phi(bench.logits(name, part).numpy(), bench.samples(part).labels.cpu().numpy())
            for part in ("forget", "unseen")
        ]
        return cls(*parts)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest score."""
        both = np.concatenate([self.forget, self.unseen])
        return float(both.min()), float(both.max())

    @property
    def start(self) -> float:
        """The median of the unseen scores: a threshold chosen without a look at the forget set."""
        return float(np.median(self.unseen))

    @property
    def area(self) -> Interval:
        """AUC with DeLong's interval; 0.5 is guessing."""
        return auc_interval(self.forget, self.unseen)

    def at(self, threshold: float) -> Guess:
        """The guess "score >= threshold means: it was trained on"."""
        members, others = self.forget >= threshold, self.unseen >= threshold
        return Guess(
            threshold,
            clopper_pearson(int(members.sum()), len(members)),
            clopper_pearson(int(others.sum()), len(others)),
            members,
        )

    def histogram(self, bins: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges [bins + 1], and the share of forget and of unseen samples in each bin."""
        low, high = self.range
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        shares = [np.histogram(part, edges)[0] / len(part) for part in (self.forget, self.unseen)]
        return edges, *shares

    def sentences(self, guess: Guess) -> str:
        """Two sentences for someone who has never heard of membership inference."""
        found, accused = guess.found, guess.accused
        named, wrongly = round(found.value * found.n), round(accused.value * accused.n)
        first = (
            f"Someone who guesses that the model was trained on every image it is at least this sure of would name "
            f"{named} of the {found.n} forgotten images, and wrongly {wrongly} of {accused.n} images that it never saw."
        )
        if found.low > accused.high:
            second = (
                "Forgotten images are named clearly more often, so this model still gives away what it was trained on."
            )
        elif accused.low > found.high:
            second = (
                "Forgotten images are named clearly less often than unseen ones, and that gives them away just as well."
            )
        else:
            second = (
                "With this many images the two shares cannot be told apart: nothing shows that the guess beats chance."
            )
        return f"{first} {second}"
