"""The one rule by which a deletion request is judged: three outcomes, fixed in workflow/config/verdict.yaml.

*pass*: every reading of the trace is equivalent to the retrained references (two one-sided tests within its margin),
none differs from them significantly, and the same test would notice a retraining that kept a quarter of the forget
set. *fail*: a reading differs significantly. *not enough evidence*: everything else, with what would be needed.

A pass says that this statistic saw no difference larger than the margin. It is no statement about the law.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy import stats

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion.trace import Reading

CONFIG = REPOSITORY / "workflow" / "config" / "verdict.yaml"
PASS, FAIL, UNDECIDED = "pass", "fail", "not enough evidence"
OUTCOMES = (PASS, FAIL, UNDECIDED)
OUTPUTS, EMBEDDING = "outputs", "embedding"
READINGS = (OUTPUTS, EMBEDDING)
AT = {OUTPUTS: "At the outputs", EMBEDDING: "In the embedding"}
STEPS = 1000


@dataclass(frozen=True)
class Rule:
    """The numbers of the rule; see workflow/config/verdict.yaml for what each one means."""

    margin: float
    embedding_margin: float
    alpha: float
    power: float
    kept_share: float
    fewest_references: int
    fewest_kept: int
    fewest_images: int
    fewest_people: int
    reproduced: float

    def __post_init__(self) -> None:
        shares = ("margin", "embedding_margin", "alpha", "power", "kept_share", "reproduced")
        for name in shares:
            if not 0 < getattr(self, name) < 1:
                raise ForgetError(f"{name} of the verdict's rule must lie between 0 and 1; got {getattr(self, name)}.")
        if min(self.fewest_references, self.fewest_kept) < 3:
            raise ForgetError("The verdict's rule needs at least 3 references of each kind.")

    def margin_of(self, reading: str) -> float:
        """Margin of a reading, on the scale of the trace."""
        return self.margin if reading == OUTPUTS else self.embedding_margin


def load_rule(margin: float | None = None, path: Path = CONFIG) -> Rule:
    """The rule of the config; `margin` is the request's, for the outputs.

    Raises: ForgetError for a rule that lacks a number or has one too many.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ForgetError(f"The verdict's rule {path} cannot be read: {error}") from error
    known = [field.name for field in dataclasses.fields(Rule)]
    for name in content:
        if name not in known:
            raise unknown("number of the verdict's rule", name, known)
    missing = [name for name in known if name not in content]
    if missing:
        raise ForgetError(f"The verdict's rule {path.name} lacks {', '.join(missing)}.")
    return Rule(**content if margin is None else content | {"margin": margin})


@dataclass(frozen=True)
class Findings:
    """What the tests say of one reading.

    standard_error: of one model's trace against the mean of K references. p_difference: two-sided, before correction.
    p_equivalence: larger of the two one-sided tests. low, high: 1 - 2 alpha interval. power: chance of noticing a
    retraining that kept `kept_share`; NaN where none was trained. critical: trace from which a difference is noticed.
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


@dataclass(frozen=True)
class Verdict:
    """The outcome (pass, fail or not enough evidence), why, what would be needed, and the tests by reading."""

    outcome: str
    reasons: tuple[str, ...]
    needed: tuple[str, ...]
    findings: Mapping[str, Findings]


def prediction_error(reading: Reading) -> float:
    """Standard error of one model's trace against the mean of K references: SD sqrt(1 + 1 / K), never 0."""
    return max(reading.deviation * math.sqrt(1 + 1 / reading.references), 1e-9)


def detection_power(trace: float, reading: Reading, alpha: float) -> float:
    """Chance in [0, 1] that a model with this expected trace differs significantly at level `alpha` (two-sided t).

    The noncentral t is integrated over the spread of the estimated SD, which stays exact far out in the tails.
    """
    freedom, shift = reading.references - 1, trace / prediction_error(reading)
    critical = float(stats.t.ppf(1 - alpha / 2, freedom))
    spread = np.sqrt(stats.chi2.ppf((np.arange(STEPS) + 0.5) / STEPS, freedom) / freedom)
    return float((stats.norm.sf(critical * spread - shift) + stats.norm.cdf(-critical * spread - shift)).mean())


def examine(name: str, reading: Reading, rule: Rule, readings: int) -> Findings:
    """The tests of one reading; differences are tested at alpha over the number of readings (Bonferroni)."""
    freedom, error, margin = reading.references - 1, prediction_error(reading), rule.margin_of(name)
    half = float(stats.t.ppf(1 - rule.alpha, freedom)) * error
    critical = float(stats.t.ppf(1 - rule.alpha / readings / 2, freedom)) * error
    power = math.nan
    if reading.kept:
        power = detection_power(sum(reading.kept) / len(reading.kept), reading, rule.alpha / readings)
    return Findings(
        reading.value,
        error,
        reading.value - half,
        reading.value + half,
        float(2 * stats.t.sf(abs(reading.value) / error, freedom)),
        float(stats.t.sf((margin - abs(reading.value)) / error, freedom)),
        critical,
        power,
        margin,
    )


def decide(
    readings: Mapping[str, Reading],
    rule: Rule,
    *,
    images: int,
    people: int | None = None,
    concerns: Sequence[str] = (),
) -> Verdict:
    """The verdict: a pure function of the readings, the rule and what is known of the case.

    Args: readings: by name, outputs and embedding. images: samples to forget. people: people who stay, where people
        are forgotten. concerns: reasons why the references are not comparable with the model; any of them leaves
        "not enough evidence".
    Raises: ForgetError for other readings than the fixed ones.
    """
    if set(readings) != set(READINGS):
        raise ForgetError(f"The verdict takes the readings {', '.join(READINGS)}; got {', '.join(readings)}.")
    found = {name: examine(name, readings[name], rule, len(readings)) for name in READINGS}
    lacking = _too_few(readings, rule, images, people)
    if concerns or lacking:
        needed = [
            *(need for _, need in lacking),
            *(("references that are comparable with the model",) if concerns else ()),
        ]
        return Verdict(UNDECIDED, (*concerns, *(reason for reason, _ in lacking)), tuple(needed), found)
    differing = [name for name in READINGS if abs(found[name].value) > found[name].critical]
    if differing:
        return Verdict(FAIL, tuple(_difference(name, found[name]) for name in differing), (), found)
    reasons, needed = _undecided(found, readings, rule)
    if reasons:
        return Verdict(UNDECIDED, tuple(reasons), tuple(needed), found)
    return Verdict(PASS, tuple(_equivalence(name, found[name]) for name in READINGS), (), found)


def _too_few(readings: Mapping[str, Reading], rule: Rule, images: int, people: int | None) -> list[tuple[str, str]]:
    """Reasons and needs where there are too few models, images or people for any verdict."""
    counts = {
        "retrained references": (min(each.references for each in readings.values()), rule.fewest_references),
        f"retrainings that keep {rule.kept_share:.0%}": (
            min(len(each.kept) for each in readings.values()),
            rule.fewest_kept,
        ),
        "images to forget": (images, rule.fewest_images),
    }
    if people is not None:
        counts["people who stay"] = (people, rule.fewest_people)
    return [
        (f"There are {there} {what}; the rule asks for {least}.", f"at least {least} {what} (now {there})")
        for what, (there, least) in counts.items()
        if there < least
    ]


def _difference(name: str, found: Findings) -> str:
    way = "more is left than after retraining" if found.value > 0 else "more is gone than after retraining"
    return (
        f"{AT[name]} the model differs from retrained ones: trace {found.value:+.2f}, where {found.critical:.2f} is "
        f"noticed ({way})."
    )


def _equivalence(name: str, found: Findings) -> str:
    return (
        f"{AT[name]} the trace is {found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f}), within the margin of "
        f"{found.margin:g}."
    )


def _undecided(
    found: Mapping[str, Findings], readings: Mapping[str, Reading], rule: Rule
) -> tuple[list[str], list[str]]:
    """Reasons against a pass, and what would be needed."""
    reasons, needed = [], []
    best = max(each.power for each in found.values())
    if not best >= rule.power:
        reasons.append(
            f"The test would notice a retraining that kept {rule.kept_share:.0%} of the forget set with a chance of "
            f"only {best:.0%}; the rule asks for {rule.power:.0%}."
        )
        needed.append("more images of the request, or a model that depends on them more: the trace varies too much")
    for name, each in found.items():
        if not each.p_equivalence <= rule.alpha:
            reasons.append(
                f"{AT[name]} the trace is {each.value:+.2f} ({each.low:+.2f} to {each.high:+.2f}): not clearly "
                f"different from retraining, but not shown to lie within the margin of {each.margin:g} either."
            )
            needed.append(_need(name, each, readings[name], rule))
    return reasons, needed


def _need(name: str, found: Findings, reading: Reading, rule: Rule) -> str:
    """What would make a model with no trace at all pass in this reading."""
    enough = found.margin / found.standard_error
    if enough > float(stats.t.ppf(1 - rule.alpha, reading.references - 1)):
        return f"{name}: a model whose trace is nearer to 0, by unlearning more (or less) or by retraining"
    best = found.margin / (reading.deviation * float(stats.norm.ppf(1 - rule.alpha)) or math.inf)
    if best > 1.1:
        return f"{name}: more retrained references than {reading.references}"
    return f"{name}: more images of the request; references alone cannot narrow the interval to {found.margin:g}"
