"""The list of all attacks: `@attack(...)` above a function of what it is given (see `parts/inputs`).

It returns one score a sample, or Measurements. It only ever sees *forget* samples and exchangeable *unseen* ones (same
sampling rule, same classes, never trained on): there is no field through which the test set could be passed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from forget_lib.attacks.parts.inputs import AttackInput, as_array, validate
from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.core.registry import Registry, Source
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement

FIRST = "loss_regression"
NULLS = ("0.5", "second retrain", "label shuffle", "1 (retrain against retrain)", "0")
NEEDS = (
    "target",
    "population",
    "references",
    "unlearned references",
    "two snapshots",
    "embeddings",
    "weights",
    "families of models",
)
OWN_INPUT = ("embeddings", "weights", "families of models")
"""Needs of the attacks that take an input of their own: `ProbeInput`, `WeightsInput`, `FamilyInput`."""
KINDS = ("score", "table")
"""What a function returns: one score a sample (forget samples first; higher: "was trained on"), or Measurements."""
Run = Callable[[Any], list[Measurement]]
Scores = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Attack:
    """A registered attack; call it with its input to get Measurements.

    null: what it gives on a retrained model. needs: which models it must be given. score: one number a sample, or None
    for an attack that does not rank samples. version: raised when its numbers change, so that records of before are
    made again.
    """

    name: str
    title: str
    null: str
    needs: str
    source: Source
    function: Run
    score: Scores | None = None
    version: int = 1

    def __call__(self, inputs: Any) -> list[Measurement]:
        return self.function(inputs)

    @property
    def paper(self) -> str:
        """Authors, venue and year; see `Source`."""
        return self.source.paper


ATTACKS: Registry[Attack] = Registry("attack", __package__, ("parts", "registry"))


def attack(
    name: str,
    *,
    title: str,
    null: str,
    paper: str = "",
    needs: str = "target",
    kind: str = "",
    score: Scores | None = None,
    version: int = 1,
) -> Callable[[Callable[[Any], Any]], Run]:
    """Registers the function below it; see `Attack`.

    Args: kind: one of KINDS; left out, the function's return annotation says it. score: for a table, the score behind
        it. paper: where no `@source` stands below.
    Raises: ForgetError for a null, need or kind that is not known, a name that is taken, or a function of no kind.
    """
    if null not in NULLS or needs not in NEEDS or kind not in ("", *KINDS):
        raise ForgetError(f"Attack {name!r}: null must be one of {NULLS}, needs one of {NEEDS}, kind one of {KINDS}.")

    def register(function: Callable[[Any], Any]) -> Run:
        scorer = function if (kind or _kind_of(name, function)) == "score" else score

        @functools.wraps(function)
        def run(inputs: Any) -> list[Measurement]:
            checked = _checked(name, needs, inputs)
            result = function(checked)
            if isinstance(result, np.ndarray):
                result = summarise(result, checked)
            expected = 0.5 if null == "0.5" else None
            return [m._replace(attack=name, null=m.null if m.null is not None else expected) for m in result]

        def scores(inputs: AttackInput) -> np.ndarray:
            assert scorer is not None
            return scorer(_checked(name, needs, inputs))

        origin = vars(function).get("source", Source(paper))
        ranks = scores if scorer is not None else None
        ATTACKS.register(name, Attack(name, title, null, needs, origin, run, ranks, version), function)
        return run

    return register


def list_attacks(needs: str | None = None) -> list[str]:
    """Names of the attacks, weak to strong; with `needs` only those that need that ("target": a model's logits)."""
    names = [FIRST, *(name for name in ATTACKS.names if name != FIRST)]
    wanted = [name for name in names if needs in (None, ATTACKS[name].needs)]
    return sorted(wanted, key=lambda name: NEEDS.index(ATTACKS[name].needs))


def get_attack(name: str) -> Attack:
    """The attack of that name. Raises: UnknownNameError, which lists what exists."""
    return ATTACKS[name]


def summarise(scores: np.ndarray, inputs: AttackInput) -> list[Measurement]:
    """AUC and TPR at 1 % FPR (Clopper-Pearson, if there are enough unseen samples).

    The AUC is signed: below 0.5 the forget samples look *less* like training samples than unseen ones do, which is
    over-forgetting and just as detectable. Its interval is DeLong's, or redraws people (n counts them), from 10 on.
    Raises: ForgetError when all scores are the same.
    """
    if np.ptp(scores) == 0:
        raise ForgetError("All scores are the same: the model answers alike on every sample, nothing can be ranked.")
    members, others = scores[: inputs.number_forget], scores[inputs.number_forget :]
    if inputs.forget.people is None or inputs.unseen.people is None:
        area = intervals.auc_interval(members, others)
        found = [Measurement("auc", area.value, area.low, area.high, "auc", n=area.n, null=0.5)]
    else:
        people = np.concatenate([as_array(inputs.forget.people), as_array(inputs.unseen.people)])
        found = [_area_by_person(scores, inputs, people)]
    try:
        rate = intervals.tpr_at_fpr(members, others, 0.01).true_positive_rate
        found.append(Measurement("tpr_at_1_fpr", rate.value, rate.low, rate.high, "share", n=rate.n, null=0.01))
    except TooFewError:
        pass  # too few unseen samples in one run: the rate is quoted from pooled targets instead
    if inputs.clipped:
        found.append(Measurement("clipped_logits", float(inputs.clipped), unit="count", n=len(scores)))
    return found


def _area_by_person(scores: np.ndarray, inputs: AttackInput, people: np.ndarray) -> Measurement:
    """AUC whose interval redraws people; without an interval where there are fewer than 10."""
    side = np.arange(len(scores)) < inputs.number_forget
    names, codes = np.unique(people, return_inverse=True)
    members, others = (np.bincount(codes[rows], minlength=len(names)).astype(np.float64) for rows in (side, ~side))
    better = (scores[side, None] > scores[None, ~side]) + 0.5 * (scores[side, None] == scores[None, ~side])
    wins = np.zeros((len(names), len(names)))  # of the images of one person over those of another
    np.add.at(wins, (codes[side, None], codes[None, ~side]), better)

    def area(drawn: np.ndarray) -> np.ndarray:
        m, n = drawn @ members, drawn @ others
        compared = (m > 0) & (n > 0)  # without a person on one side nothing was compared in this draw
        m, n = np.where(compared, m, 1), np.where(compared, n, 1)
        # As `intervals.auc`, whose sum of ranks is the number of wins and of pairs of members.
        ranks = ((drawn @ wins) * drawn).sum(axis=1) + m * (m + 1) / 2
        return np.where(compared, (ranks / m - (m + 1) / 2) / n, 0.5)

    low = high = None
    if len(names) >= intervals.BOOTSTRAP_FROM:
        low, high = intervals.cluster_bootstrap(people, area, seed=inputs.seed)[1:3]
    return Measurement("auc", float(area(np.ones((1, len(names))))[0]), low, high, "auc", n=len(names), null=0.5)


def _kind_of(name: str, function: Callable[[Any], Any]) -> str:
    """What a function says that it returns, by its annotation."""
    returned = inspect.formatannotation(function.__annotations__.get("return", ""))
    if "ndarray" in returned.lower():
        return "score"
    if "Measurement" in returned:
        return "table"
    raise ForgetError(
        f"Attack {name!r} does not say what it returns: write -> np.ndarray for one score a sample (forget samples "
        "first), or -> list[Measurement] for numbers."
    )


def _checked(name: str, needs: str, inputs: Any) -> Any:
    """The input, validated, with all that the attack needs."""
    if not isinstance(inputs, AttackInput):
        if needs in OWN_INPUT:
            return inputs
        raise ForgetError(f"Attack {name!r} takes an AttackInput, got {type(inputs).__name__}.")
    checked = validate(inputs)
    if "references" in needs:
        _check_references(name, needs, checked)
    if needs == "population":
        sides = (checked.forget, checked.unseen, checked.population)
        if any(side is None or side.known is None for side in sides):
            raise ForgetError(f"Attack {name!r} needs population images, and what is known of all without the model.")
    if needs == "two snapshots" and (checked.forget.before is None or checked.unseen.before is None):
        raise ForgetError(f"Attack {name!r} needs the logits of the model before unlearning as well.")
    return checked


def _check_references(name: str, needs: str, inputs: AttackInput) -> None:
    references = inputs.pool
    shape = (references.number, len(inputs.labels))
    if references.membership.shape != shape or references.logits.shape[:2] != shape:
        raise ForgetError(
            f"References must hold membership and logits for {shape[1]} samples (forget, then unseen), got "
            f"{references.membership.shape} and {references.logits.shape}."
        )
    if needs == "unlearned references" and references.unlearned_logits is None:
        raise ForgetError(f"Attack {name!r} needs references unlearned by the method under attack.")
