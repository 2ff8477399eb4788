"""What an attack is given, what it must declare, and the list of all attacks.

An attack is one function with the decorator `@attack`. It gets an `AttackInput` and returns Measurements.
It only ever sees *forget* samples and exchangeable *unseen* ones (same sampling rule, same classes, never
trained on): there is no field through which the test set could be passed.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forget_lib.core.errors import DivergedError, ForgetError, TooFewError, unknown
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement

NULLS = ("0.5", "second retrain", "label shuffle", "1 (retrain against retrain)", "0")
NEEDS = ("target", "references", "unlearned references", "two snapshots", "embeddings", "weights", "families of models")
OWN_INPUT = ("embeddings", "weights", "families of models")
"""Needs of the attacks that take an input of their own: `identity.ProbeInput`, `relearning.WeightsInput`,
`neurips.FamilyInput`."""
LOGIT_LIMIT = 1e4
"""Logits beyond this are clipped: float32 softmax is saturated long before."""


@dataclass(frozen=True)
class References:
    """Reference models on the samples under attack; columns are the forget samples, then the unseen ones.

    logits: float [K, nF + nU, C] of the models as trained. membership: bool [K, nF + nU], True where
    reference k was trained on the sample. population_logits: float [K, nZ, C] or None.
    unlearned_logits: float [K, nF + nU, C] or None: the same references after the method under attack has
    removed their own forget set, so where `membership` is True the sample was trained on and unlearned.
    """

    logits: np.ndarray
    membership: np.ndarray
    population_logits: np.ndarray | None = None
    unlearned_logits: np.ndarray | None = None

    @property
    def number(self) -> int:
        """Number of reference models K."""
        return len(self.logits)

    def take(self, columns: np.ndarray) -> References:
        """The same references on some of the samples."""
        unlearned = None if self.unlearned_logits is None else self.unlearned_logits[:, columns]
        return dataclasses.replace(
            self, logits=self.logits[:, columns], membership=self.membership[:, columns], unlearned_logits=unlearned
        )


@dataclass(frozen=True)
class AttackInput:
    """Outputs of one target model on forget and unseen samples, in evaluation mode, without augmentation.

    forget_logits, unseen_logits: float [nF, C], [nU, C] (tensor or array). forget_labels, unseen_labels: int
    [nF], [nU], the labels used in training, noisy ones included. population_logits, population_labels: [nZ, C], [nZ],
    disjoint from all else. original_forget_logits, original_unseen_logits: the model before unlearning, for
    two-snapshot attacks. forget_indices, unseen_indices: int, rows in the pool, to check that they are disjoint.
    forget_people, unseen_people: int person ids; intervals then redraw people, since images of one person are alike.
    """

    forget_logits: Tensor | np.ndarray
    forget_labels: Tensor | np.ndarray
    unseen_logits: Tensor | np.ndarray
    unseen_labels: Tensor | np.ndarray
    population_logits: Tensor | np.ndarray | None = None
    population_labels: Tensor | np.ndarray | None = None
    references: References | None = None
    original_forget_logits: Tensor | np.ndarray | None = None
    original_unseen_logits: Tensor | np.ndarray | None = None
    forget_indices: Tensor | np.ndarray | None = None
    unseen_indices: Tensor | np.ndarray | None = None
    forget_people: Tensor | np.ndarray | None = None
    unseen_people: Tensor | np.ndarray | None = None
    seed: int = 0
    clipped: int = 0

    @property
    def logits(self) -> np.ndarray:
        """float [nF + nU, C]: forget first, then unseen."""
        return np.concatenate([self.forget_logits, self.unseen_logits])

    @property
    def labels(self) -> np.ndarray:
        """int [nF + nU]: forget first, then unseen."""
        return np.concatenate([self.forget_labels, self.unseen_labels])

    @property
    def number_forget(self) -> int:
        """Number of forget samples nF."""
        return len(self.forget_labels)


@dataclass(frozen=True)
class Attack:
    """A registered attack; call it with an `AttackInput` to get Measurements.

    `score` gives one number a sample (forget first; higher means "was trained on"), or is None for an attack that
    does not rank samples. `version` is raised when its numbers change, so that records of before are made again.
    """

    name: str
    title: str
    paper: str
    null: str
    needs: str
    function: Callable[[AttackInput], list[Measurement]]
    score: Callable[[AttackInput], np.ndarray] | None = None
    version: int = 1

    def __call__(self, inputs: AttackInput) -> list[Measurement]:
        return self.function(inputs)


ATTACKS: dict[str, Attack] = {}


def attack(
    name: str,
    *,
    title: str,
    paper: str,
    null: str,
    needs: str = "target",
    score: Callable | None = None,
    version: int = 1,
) -> Callable:
    """Register an attack. The function may return Measurements, or one score a sample (array [nF + nU]).

    null: what the attack gives on a retrained model. needs: which models it must be given. score: for a function
    that returns Measurements, the score behind them.
    Raises: ForgetError for a null or need that is not known, a name that is taken, or a function that does not say
        which of the two it returns: pooled studies take scores.
    """
    if null not in NULLS or needs not in NEEDS:
        raise ForgetError(f"Attack {name!r}: null must be one of {NULLS}, needs one of {NEEDS}.")

    def register(function: Callable) -> Callable:
        if name in ATTACKS and ATTACKS[name].function.__module__ != function.__module__:
            raise ForgetError(f"An attack named {name!r} exists already; choose another name.")

        @functools.wraps(function)
        def run(inputs: AttackInput) -> list[Measurement]:
            checked = inputs
            if isinstance(inputs, AttackInput):
                checked = validate(inputs)
                _require(name, needs, checked)
            elif needs not in OWN_INPUT:
                raise ForgetError(f"Attack {name!r} takes an AttackInput, got {type(inputs).__name__}.")
            result = function(checked)
            if isinstance(result, np.ndarray):
                result = summarise(result, checked)
            expected = 0.5 if null == "0.5" else None
            return [m._replace(attack=name, null=m.null if m.null is not None else expected) for m in result]

        scorer = score or (function if _gives_scores(name, function) else None)
        ATTACKS[name] = Attack(name, title, paper, null, needs, run, _checked(name, needs, scorer), version)
        return run

    return register


def _gives_scores(name: str, function: Callable) -> bool:
    """Whether a function says that it returns one score a sample, and not Measurements."""
    said = inspect.formatannotation(function.__annotations__.get("return", ""))
    if "ndarray" in said.lower():
        return True
    if "Measurement" in said:
        return False
    raise ForgetError(
        f"Attack {name!r} does not say what it returns: write -> np.ndarray for one score a sample (forget samples "
        "first), or -> list[Measurement] for numbers."
    )


def _checked(name: str, needs: str, scorer: Callable | None) -> Callable | None:
    if scorer is None:
        return None

    def scores(inputs: AttackInput) -> np.ndarray:
        checked = validate(inputs)
        _require(name, needs, checked)
        return scorer(checked)

    return scores


def list_attacks(needs: str | None = None) -> list[str]:
    """Names of the attacks, weak to strong; with `needs` only those that need that ("target": a model's logits)."""
    names = [name for name, entry in ATTACKS.items() if needs in (None, entry.needs)]
    return sorted(names, key=lambda name: NEEDS.index(ATTACKS[name].needs))


def get_attack(name: str) -> Attack:
    """The attack of that name. Raises: UnknownNameError, which lists what exists."""
    if name not in ATTACKS:
        raise unknown("attack", name, list_attacks())
    return ATTACKS[name]


def summarise(scores: np.ndarray, inputs: AttackInput) -> list[Measurement]:
    """AUC (DeLong's interval) and TPR at 1 % FPR (Clopper-Pearson, if there are enough unseen samples).

    The AUC is signed: below 0.5 the forget samples look *less* like training samples than unseen ones do, which
    is over-forgetting and just as detectable.
    Raises: ForgetError when all scores are the same.
    """
    if np.ptp(scores) == 0:
        raise ForgetError("All scores are the same: the model answers alike on every sample, nothing can be ranked.")
    members, others = scores[: inputs.number_forget], scores[inputs.number_forget :]
    if inputs.forget_people is None or inputs.unseen_people is None:
        area = intervals.auc_interval(members, others)
        found = [Measurement("auc", area.value, area.low, area.high, "auc", n=area.n, null=0.5)]
    else:
        found = [_area_by_person(scores, inputs)]
    try:
        rate = intervals.tpr_at_fpr(members, others, 0.01).true_positive_rate
        found.append(Measurement("tpr_at_1_fpr", rate.value, rate.low, rate.high, "share", n=rate.n, null=0.01))
    except TooFewError:
        pass  # too few unseen samples in one run: the rate is quoted from pooled targets instead
    if inputs.clipped:
        found.append(Measurement("clipped_logits", float(inputs.clipped), unit="count", n=len(scores)))
    return found


def _area_by_person(scores: np.ndarray, inputs: AttackInput) -> Measurement:
    """AUC whose interval redraws people (n counts them); without an interval where there are fewer than 10."""
    people = np.concatenate([_numpy(inputs.forget_people), _numpy(inputs.unseen_people)])
    member = np.arange(len(scores)) < inputs.number_forget
    area = intervals.auc(scores[member], scores[~member])

    def redrawn(rows: np.ndarray) -> float:
        inside = member[rows]
        # Without a person on one side nothing was compared in this draw.
        return 0.5 if inside.all() or not inside.any() else intervals.auc(scores[rows[inside]], scores[rows[~inside]])

    low = high = None
    number = len(np.unique(people))
    if number >= intervals.BOOTSTRAP_FROM:
        low, high = intervals.cluster_bootstrap(people, redrawn, seed=inputs.seed)[1:3]
    return Measurement("auc", area, low, high, "auc", n=number, null=0.5)


def validate(inputs: AttackInput) -> AttackInput:
    """A checked copy with float64 arrays: finite logits, same classes on both sides, disjoint sets.

    Infinite logits are clipped and counted in `clipped`. Unseen samples of classes that the forget set does not have
    are left out, so that nobody compares a forgotten class with all the others. Where whole people are forgotten, their
    images of a class that no unseen person shows (a rare age) are left out too.
    Raises: TooFewError, DivergedError (NaN), ForgetError (shapes, a class missing from unseen, overlap).
    """
    clipped, fields = 0, {}
    for side in ("forget", "unseen", "population", "original_forget", "original_unseen"):
        logits = getattr(inputs, f"{side}_logits")
        if logits is None:
            continue
        fields[f"{side}_logits"], count = _clean(logits, side)
        clipped += count
    for side in ("forget", "unseen", "population"):
        labels = getattr(inputs, f"{side}_labels")
        if labels is None:
            continue
        labels = fields[f"{side}_labels"] = _numpy(labels).astype(np.int64)
        if len(labels) != len(fields[f"{side}_logits"]):
            raise ForgetError(f"{side}: {len(fields[f'{side}_logits'])} rows of logits but {len(labels)} labels.")
        if len(labels) < 2:
            raise TooFewError(f"An attack needs at least 2 {side} samples, got {len(labels)}.")
    checked = dataclasses.replace(inputs, **fields, clipped=inputs.clipped + clipped)
    _check_disjoint(checked)
    return _same_classes(checked)


def _numpy(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _clean(logits: Tensor | np.ndarray, side: str) -> tuple[np.ndarray, int]:
    array = _numpy(logits).astype(np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise ForgetError(f"{side} logits must be [samples, classes >= 2], got shape {array.shape}.")
    if np.isnan(array).any():
        raise DivergedError(f"{side} logits hold NaN: the model has diverged and cannot be attacked.")
    count = int((np.abs(array) > LOGIT_LIMIT).any(axis=1).sum())
    return np.clip(array, -LOGIT_LIMIT, LOGIT_LIMIT), count


def _check_disjoint(inputs: AttackInput) -> None:
    if inputs.forget_indices is None or inputs.unseen_indices is None:
        return
    common = np.intersect1d(_numpy(inputs.forget_indices), _numpy(inputs.unseen_indices))
    if len(common):
        raise ForgetError(
            f"{len(common)} samples are in both the forget and the unseen set (first: {common[0]}); "
            "unseen samples must never have been trained on."
        )


def _same_classes(inputs: AttackInput) -> AttackInput:
    both = np.isin(inputs.forget_labels, inputs.unseen_labels)
    if not both.all() and (inputs.forget_people is None or both.sum() < 2):
        missing = sorted(set(inputs.forget_labels[~both].tolist()))
        raise ForgetError(
            f"Classes {missing} are in the forget set but not among the unseen samples. Compare a forgotten class with "
            "held-out samples of that class; where none exist, report the paired difference from the retrained model."
        )
    if not both.all():
        print(f"{(~both).sum()} of {len(both)} forget images are left out: no unseen person is of their class")
        inputs = _kept(inputs, "forget", both)
    return _kept(inputs, "unseen", np.isin(inputs.unseen_labels, inputs.forget_labels))


def _kept(inputs: AttackInput, side: str, keep: np.ndarray) -> AttackInput:
    """The input with some samples of a side only."""
    if keep.all():
        return inputs
    names = [f"{side}_{part}" for part in ("logits", "labels", "indices", "people")] + [f"original_{side}_logits"]
    values = {name: getattr(inputs, name) for name in names}
    fields = {name: _numpy(value)[keep] for name, value in values.items() if value is not None}
    if inputs.references is not None:
        whole = {name: np.ones(len(getattr(inputs, f"{name}_labels")), dtype=bool) for name in ("forget", "unseen")}
        fields["references"] = inputs.references.take(np.concatenate(list((whole | {side: keep}).values())))
    return dataclasses.replace(inputs, **fields)


def _require(name: str, needs: str, inputs: AttackInput) -> None:
    references = inputs.references
    if needs in ("references", "unlearned references"):
        if references is None:
            raise ForgetError(f"Attack {name!r} needs reference models; train a pool first (forget_lib.study.pools).")
        shape = (references.number, len(inputs.labels))
        if references.membership.shape != shape or references.logits.shape[:2] != shape:
            raise ForgetError(
                f"References must hold membership and logits for {shape[1]} samples (forget, then unseen), got "
                f"{references.membership.shape} and {references.logits.shape}."
            )
    if needs == "unlearned references" and references.unlearned_logits is None:
        raise ForgetError(f"Attack {name!r} needs references unlearned by the method under attack.")
    if needs == "two snapshots" and (inputs.original_forget_logits is None or inputs.original_unseen_logits is None):
        raise ForgetError(f"Attack {name!r} needs the logits of the model before unlearning as well.")
