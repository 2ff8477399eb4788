r"""The one rule by which a deletion request is judged, and the fixed statistic that it looks at.

For the forget samples x, let m(x) be a margin of a model, :math:`\bar m_0` its mean over K models retrained without
them and :math:`\bar m_1` its mean over L models trained with them. The *trace* of a model is the projection

.. math:: t(m) = \frac{\sum_x w_x (m(x) - \bar m_0(x)) - b_0}{\sum_x w_x^2 - b_0 - b_1}, \qquad w = \bar m_1 - \bar m_0,

0 on average for retraining, 1 for the original; below 0 is over-forgotten. :math:`b_0 = \sum_x s_0^2(x) / K` and
:math:`b_1 = \sum_x s_1^2(x) / L` take out what the noise of the two means adds (:math:`s^2`: variance between models).
It is read at the *outputs* (the logit margin of the label) and in the *embedding* (the margin of a new linear head on
the frozen features), which looks through everything that only hides an answer at the output.

*pass*: both readings are equivalent to the retrained references (two one-sided tests within the margin), none differs
from them significantly, and the same test would notice a retraining that kept a quarter of the forget set. *fail*: a
reading differs significantly. *not enough evidence*: everything else, with what would be needed. The numbers of the
rule are fixed in workflow/config/verdict.yaml.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from scipy import stats

from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.core.paths import CONFIG
from forget_lib.core.settings import Settings, check_file, read_yaml

RULE = CONFIG / "verdict.yaml"
PASS, FAIL, UNDECIDED = OUTCOMES = ("pass", "fail", "not enough evidence")
OUTPUTS, EMBEDDING = READINGS = ("outputs", "embedding")
AT = {OUTPUTS: "At the outputs", EMBEDDING: "In the embedding"}
STEPS = 1000
RIDGE = 1.0
"""Penalty of the new head, relative to the mean square of a feature: it looks along the directions in which the
features vary most. A hundredth of it made the reading of a small net's embedding three to five times as noisy."""
FEWEST = 3
"""Fewest models a side for a trace at all; the rule asks for more."""


class Rule(Settings):
    """The numbers of the rule; see workflow/config/verdict.yaml for what each one means."""

    margin: float = Field(gt=0, lt=1)
    embedding_margin: float = Field(gt=0, lt=1)
    alpha: float = Field(gt=0, lt=1)
    power: float = Field(gt=0, lt=1)
    kept_share: float = Field(gt=0, lt=1)
    fewest_references: int = Field(ge=3)
    fewest_kept: int = Field(ge=3)
    fewest_images: int
    fewest_people: int
    reproduced: float = Field(gt=0, lt=1)

    def margin_of(self, reading: str) -> float:
        return self.margin if reading == OUTPUTS else self.embedding_margin


def load_rule(margin: float | None = None, path: Path = RULE) -> Rule:
    """The rule of the config; `margin` is the request's, for the outputs. Raises: ForgetError for a wrong file."""
    rule = check_file(Rule, read_yaml(path, "rule of the verdict"), "rule of the verdict")
    return rule if margin is None else rule.model_copy(update={"margin": margin})


@dataclass(frozen=True)
class Reading:
    """The trace of a model beside that of the references.

    value: of the model judged. deviation: SD over retrained references of the trace of one model. references: how many.
    kept: traces of retrainings that kept a share of the forget set, for the power of the test.
    """

    value: float
    deviation: float
    references: int
    kept: tuple[float, ...] = ()

    @property
    def error(self) -> float:
        """Standard error of one model's trace against the mean of K references: SD sqrt(1 + 1 / K), never 0."""
        return max(self.deviation * math.sqrt(1 + 1 / self.references), 1e-9)


def _noise(margins: np.ndarray) -> float:
    """Expected squared distance of the mean of these models from the mean of all such models."""
    return float(margins.var(axis=0, ddof=1).sum()) / len(margins)


def _along(models: np.ndarray, retrained: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Numerator of the trace of each model, float64 [M]."""
    without = retrained.mean(axis=0)
    return (models - without) @ (trained.mean(axis=0) - without) - _noise(retrained)


def _scale(retrained: np.ndarray, trained: np.ndarray) -> float:
    """Denominator of the trace; NaN where it is not above 0."""
    weights = trained.mean(axis=0) - retrained.mean(axis=0)
    length = float(weights @ weights) - (_noise(retrained) + _noise(trained))
    return length if length > 0 else math.nan


def traces(models: np.ndarray, retrained: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """t(m) of each model, float64 [M]; NaN where models with and without the forget set cannot be told apart.

    models: margins [M, n]. retrained: [K, n] of models trained without the forget set. trained: [L, n], with it.
    """
    return _along(models, retrained, trained) / _scale(retrained, trained)


def leave_one_out(retrained: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Trace of each retrained model [K], judged by the other K - 1, on the scale of all.

    Raises: TooFewError below 3 models a side.
    """
    if min(len(retrained), len(trained)) < FEWEST:
        raise TooFewError(
            f"A trace needs at least {FEWEST} models trained with and {FEWEST} without the forget set; "
            f"got {len(trained)} and {len(retrained)}."
        )
    others = [np.delete(retrained, k, axis=0) for k in range(len(retrained))]
    alone = [_along(retrained[k : k + 1], others[k], trained)[0] for k in range(len(retrained))]
    return np.array(alone) / _scale(retrained, trained)


def read(
    margins: np.ndarray, retrained: np.ndarray, trained: np.ndarray, kept: Sequence[np.ndarray] | np.ndarray = ()
) -> Reading:
    """The reading of a model with margins [n], beside [K, n], [L, n] and [J, n] of retrainings that kept a share.

    The SD is that of the leave-one-out traces, times (K - 1) / K: leaving one out stretches them by that much. It is
    infinite, and the traces 0, where models with and without the forget set cannot be told apart.
    Raises: TooFewError below 3 models a side.
    """
    alone, number = leave_one_out(retrained, trained), len(retrained)
    values = traces(np.stack([margins, *kept]), retrained, trained)
    if not (np.isfinite(values).all() and np.isfinite(alone).all()):
        return Reading(0.0, math.inf, number, (0.0,) * len(kept))
    deviation = float(alone.std(ddof=1)) * (number - 1) / number
    return Reading(float(values[0]), deviation, number, tuple(map(float, values[1:])))


def probe_margins(
    forget: np.ndarray, forget_labels: np.ndarray, retain: np.ndarray, retain_labels: np.ndarray, classes: int
) -> np.ndarray:
    """Margin of the label under a new linear head, for each forget sample, float64 [n].

    forget [n, D], retain [m, D]: features of one model. The head is a ridge regression of one-hot labels on the retain
    samples and one half of the forget samples; the other half is read, then the halves change places. The margin is
    the label's response less the largest other one, unbounded. Halves alternate within each class, in the order given.
    Raises: TooFewError below 2 forget samples.
    """
    forget, retain = (np.asarray(features, dtype=np.float64) for features in (forget, retain))
    if len(forget) < 2:
        raise TooFewError("A probe of the embedding needs at least 2 forget samples.")
    second = np.zeros(len(forget), dtype=bool)
    second[np.argsort(forget_labels, kind="stable")[1::2]] = True
    margins = np.empty(len(forget))
    for learned, asked in ((~second, second), (second, ~second)):
        features = np.concatenate([retain, forget[learned]])
        labels = np.concatenate([retain_labels, forget_labels[learned]])
        response = _ridge(features, np.eye(classes)[labels], forget[asked])
        rows, own = np.arange(int(asked.sum())), forget_labels[asked]
        value = response[rows, own].copy()
        response[rows, own] = -np.inf
        margins[asked] = value - response.max(axis=1)
    return margins


def _ridge(features: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Response [q, C] of a ridge regression with intercept; features are scaled by one number, so that directions
    stay as they are."""
    middle, level = features.mean(axis=0), targets.mean(axis=0)
    centred = features - middle
    scale = max(float(np.sqrt((centred**2).mean())), 1e-12)
    centred = centred / scale
    gram = centred.T @ centred / len(centred) + RIDGE * np.eye(centred.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (targets - level) / len(centred))
    return (queries - middle) / scale @ weights + level


@dataclass(frozen=True)
class Findings:
    """What the tests say of one reading.

    low, high: 1 - 2 alpha interval of the trace. standard_error: of one model's trace against the mean of K references.
    p_difference: two-sided, before correction. p_equivalence: larger of the two one-sided tests. critical: trace from
    which a difference is noticed. power: chance of noticing a retraining that kept `kept_share`; NaN without any.
    """

    value: float
    standard_error: float
    low: float
    high: float
    p_difference: float
    p_equivalence: float
    critical: float
    power: float
    margin: float

    def said(self, name: str) -> str:
        """The beginning of a sentence about the reading of this name."""
        return f"{AT[name]} the trace is {self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


@dataclass(frozen=True)
class Verdict:
    """The outcome (pass, fail or not enough evidence), why, what would be needed, and the tests by reading."""

    outcome: str
    reasons: tuple[str, ...]
    needed: tuple[str, ...]
    findings: Mapping[str, Findings]


def detection_power(trace: float, reading: Reading, alpha: float) -> float:
    """Chance in [0, 1] that a model with this expected trace differs significantly at level `alpha` (two-sided t).

    The noncentral t is integrated over the spread of the estimated SD, which stays exact far out in the tails.
    """
    freedom, shift = reading.references - 1, trace / reading.error
    critical = float(stats.t.ppf(1 - alpha / 2, freedom))
    spread = np.sqrt(stats.chi2.ppf((np.arange(STEPS) + 0.5) / STEPS, freedom) / freedom)
    return float((stats.norm.sf(critical * spread - shift) + stats.norm.cdf(-critical * spread - shift)).mean())


def examine(name: str, reading: Reading, rule: Rule) -> Findings:
    """The tests of one reading; differences are tested at alpha over the number of readings (Bonferroni)."""
    freedom, error, margin = reading.references - 1, reading.error, rule.margin_of(name)
    alpha = rule.alpha / len(READINGS)
    half = float(stats.t.ppf(1 - rule.alpha, freedom)) * error
    power = math.nan
    if reading.kept:
        power = detection_power(sum(reading.kept) / len(reading.kept), reading, alpha)
    return Findings(
        value=reading.value,
        standard_error=error,
        low=reading.value - half,
        high=reading.value + half,
        p_difference=float(2 * stats.t.sf(abs(reading.value) / error, freedom)),
        p_equivalence=float(stats.t.sf((margin - abs(reading.value)) / error, freedom)),
        critical=float(stats.t.ppf(1 - alpha / 2, freedom)) * error,
        power=power,
        margin=margin,
    )


def decide(
    readings: Mapping[str, Reading],
    rule: Rule,
    *,
    images: int,
    people: int | None = None,
    concerns: Sequence[str] = (),
) -> Verdict:
    """The verdict: a pure function of the readings (outputs and embedding), the rule and what is known of the case.

    images: samples to forget. people: people who stay, where people are forgotten. concerns: reasons why the
    references are not comparable with the model; any of them leaves "not enough evidence".
    Raises: ForgetError for other readings than the fixed ones.
    """
    if set(readings) != set(READINGS):
        raise ForgetError(f"The verdict takes the readings {', '.join(READINGS)}; got {', '.join(readings)}.")
    findings = {name: examine(name, readings[name], rule) for name in READINGS}
    references = min(each.references for each in readings.values())
    kept = min(len(each.kept) for each in readings.values())
    counts = [
        ("retrained references", references, rule.fewest_references),
        (f"retrainings that keep {rule.kept_share:.0%}", kept, rule.fewest_kept),
        ("images to forget", images, rule.fewest_images),
        ("people who stay", rule.fewest_people if people is None else people, rule.fewest_people),
    ]
    lacking = [(what, there, least) for what, there, least in counts if there < least]
    if concerns or lacking:
        needed = [f"at least {least} {what} (now {there})" for what, there, least in lacking]
        needed += ["references that are comparable with the model"] if concerns else []
        reasons = [f"There are {there} {what}; the rule asks for {least}." for what, there, least in lacking]
        return Verdict(UNDECIDED, (*concerns, *reasons), tuple(needed), findings)
    differing = []
    for name, each in findings.items():
        if abs(each.value) > each.critical:
            way = "more is left than after retraining" if each.value > 0 else "more is gone than after retraining"
            differing.append(
                f"{AT[name]} the model differs from retrained ones: trace {each.value:+.2f}, where {each.critical:.2f} "
                f"is noticed ({way})."
            )
    if differing:
        return Verdict(FAIL, tuple(differing), (), findings)
    against = _against_pass(findings, readings, rule)
    if against:
        return Verdict(UNDECIDED, tuple(each[0] for each in against), tuple(each[1] for each in against), findings)
    within = (f"{each.said(name)}, within the margin of {each.margin:g}." for name, each in findings.items())
    return Verdict(PASS, tuple(within), (), findings)


def _against_pass(
    findings: Mapping[str, Findings], readings: Mapping[str, Reading], rule: Rule
) -> list[tuple[str, str]]:
    """Reasons against a pass, each with what would be needed."""
    against = []
    best = max(each.power for each in findings.values())
    if not best >= rule.power:
        reason = (
            f"The test would notice a retraining that kept {rule.kept_share:.0%} of the forget set with a chance of "
            f"only {best:.0%}; the rule asks for {rule.power:.0%}."
        )
        need = "more images of the request, or a model that depends on them more: the trace varies too much"
        against.append((reason, need))
    for name, each in findings.items():
        if not each.p_equivalence <= rule.alpha:
            reason = (
                f"{each.said(name)}: not clearly different from retraining, but not shown to lie within the margin of "
                f"{each.margin:g} either."
            )
            against.append((reason, f"{name}: {_need(each, readings[name], rule)}"))
    return against


def _need(found: Findings, reading: Reading, rule: Rule) -> str:
    """What would make a model with no trace at all pass in this reading."""
    if found.margin / found.standard_error > float(stats.t.ppf(1 - rule.alpha, reading.references - 1)):
        return "a model whose trace is nearer to 0, by unlearning more (or less) or by retraining"
    if found.margin / (reading.deviation * float(stats.norm.ppf(1 - rule.alpha)) or math.inf) > 1.1:
        return f"more retrained references than {reading.references}"
    return f"more images of the request; references alone cannot narrow the interval to {found.margin:g}"
