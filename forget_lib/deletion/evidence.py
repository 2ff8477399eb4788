"""From measurements to evidence: the readings of the verdict, what may be wrong with them, the numbers of attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forget_lib.attacks.parts.per_sample import location_and_spread
from forget_lib.deletion import verdict
from forget_lib.deletion.case import HELD_OUT_ADVICE, Case
from forget_lib.deletion.measure import Measured
from forget_lib.deletion.references import KEPT, ORIGINALS, RETRAINED, Job, measured, planned
from forget_lib.deletion.verdict import OUTPUTS, READINGS, Reading, Rule, Verdict
from forget_lib.statistics.intervals import auc

FAR_ABOVE = 2.0
"""Trace of an original from which its weights were not trained by this recipe on these images alone."""
NO_GAP = 0.01
"""Largest difference of accuracies on training and on held-out images that counts as none."""
FEWEST_CONTROLS = 8
"""Fewest control images for an attack that compares with them."""
ATTACKS = [
    *("forget accuracy", "loss against controls", "LiRA, offline", "relearning", "re-identification"),
    *(f"trace, {reading}" for reading in READINGS),
]
"""From weak to strong: the number that each attack gives for a model."""


@dataclass(frozen=True)
class Families:
    """Measurements by family: of K retrained models, of L originals, and of those that kept a share, by share."""

    retrained: Sequence[Measured]
    originals: Sequence[Measured]
    kept: Mapping[float, Sequence[Measured]]

    @classmethod
    def of(cls, found: Mapping[Job, Measured]) -> Families:
        """Sorts the measurements of `references.train_references`."""
        sorted_by: dict[tuple[str, float], list[Measured]] = {}
        for job, model in found.items():
            sorted_by.setdefault((job.family, job.share), []).append(model)
        kept = {share: models for (family, share), models in sorted(sorted_by.items()) if family == KEPT}
        return cls(sorted_by[RETRAINED, 0.0], sorted_by[ORIGINALS, 1.0], kept)

    def margins(self, reading: str) -> tuple[np.ndarray, np.ndarray]:
        """Margins of a reading: [K, n] of the retrained models, [L, n] of the originals."""
        return stacked(self.retrained, reading), stacked(self.originals, reading)


def stored(case: Case, rule: Rule, *, any_key: bool = False) -> Families | None:
    """The references of a case as they were kept, of whatever code with `any_key`; None where one is missing."""
    jobs = planned(case, rule.kept_share)
    found = measured(case, jobs, any_key=any_key)
    return Families.of(found) if len(found) == len(jobs) else None


def stacked(models: Sequence[Measured], name: str) -> np.ndarray:
    """One measurement of several models, [models, …]."""
    return np.stack([model[name] for model in models])


def readings(model: Measured, families: Families, rule: Rule) -> dict[str, Reading]:
    """The two readings of the verdict. Raises: TooFewError below 3 models a side."""
    kept = families.kept.get(rule.kept_share, ())
    return {
        name: verdict.read(model[name], *families.margins(name), [each[name] for each in kept]) for name in READINGS
    }


def judge(case: Case, model: Measured, families: Families, rule: Rule, concerns: Sequence[str]) -> Verdict:
    """The verdict on a model of this case."""
    images = len(case.scenario.sets.forget)
    return verdict.decide(readings(model, families, rule), rule, images=images, people=case.people, concerns=concerns)


def concerns_of(case: Case, original: Measured, families: Families, rule: Rule) -> tuple[str, ...]:
    """Reasons why the references are no measure for the model: another accuracy, or weights of another training."""
    concerns = []
    accuracy = float(original["validation_accuracy"])
    theirs = stacked(families.originals, "validation_accuracy")
    mean, allowed = float(theirs.mean()), max(rule.reproduced, 3 * float(theirs.std(ddof=1)))
    gaps = np.array([_gap(each) for each in families.originals])
    usually_worse = gaps.mean() >= max(rule.reproduced, 2 * gaps.std(ddof=1))
    if case.weights and _gap(original) <= NO_GAP and usually_worse:
        concerns.append(
            "The model has probably seen the held-out images: it is as good on them as on its training images "
            f"(accuracy {_held_out(original):.3f} and {float(original['retain_accuracy']):.3f}), and models trained "
            f"here without them are {100 * gaps.mean():.0f} points worse on them. {HELD_OUT_ADVICE}"
        )
    elif abs(accuracy - mean) > allowed:
        concerns.append(
            f"The recipe does not reproduce the model: it gives a validation accuracy of {mean:.3f}, the model has "
            f"{accuracy:.3f} (allowed: {allowed:.3f} apart). Mend the recipe: these references are no measure."
        )
    trace = readings(original, families, rule)[OUTPUTS].value
    if not trace > 0.5:
        concerns.append(
            f"The weights given do not look trained on the requested images: their trace is {trace:.2f}, where "
            "models trained on all of it have 1. Are they the weights of this model, and these its data?"
        )
    if case.weights and trace > FAR_ABOVE:
        concerns.append(
            f"The weights given know the requested images better than the recipe explains: their trace is {trace:.2f}, "
            "where models trained by it on all images have 1. Were they trained longer, or on images that are taken "
            f"for unseen here? Mend the recipe. {HELD_OUT_ADVICE}"
        )
    return tuple(concerns)


def _held_out(model: Measured) -> float:
    return float(np.mean([model["validation_accuracy"], model["test_accuracy"]]))


def _gap(model: Measured) -> float:
    """Accuracy on training images less that on validation and test images, in [-1, 1]."""
    return float(model["retain_accuracy"]) - _held_out(model)


def attack_values(models: Sequence[Measured], families: Families) -> pd.DataFrame:
    """The number of each attack (columns) for each model; not a number where it does not apply.

    Retrained models that are among the references must be judged by `reference_values`.
    """
    rows = []
    for model in models:
        row = {"forget accuracy": float(model["forget_accuracy"]), "relearning": float(model["relearning"])}
        row["re-identification"] = float(model["reidentified"])
        if len(model["controls"]) >= FEWEST_CONTROLS:
            row["loss against controls"] = auc(model[OUTPUTS], model["controls"])
            relative = []
            for name in (OUTPUTS, "controls"):  # to the retrained models, none of which saw these images
                references = stacked(families.retrained, name)
                middle, spread = location_and_spread(references, np.ones(references.shape, dtype=bool))
                relative.append((model[name] - middle) / spread)
            row["LiRA, offline"] = auc(*relative)
        rows.append(row)
    table = pd.DataFrame(rows, columns=ATTACKS, dtype=float)
    for reading in READINGS:
        table[f"trace, {reading}"] = verdict.traces(stacked(models, reading), *families.margins(reading))
    return table


def reference_values(families: Families) -> pd.DataFrame:
    """The number of each attack for each retrained model [K], judged by the other K - 1."""
    rows = []
    for k, model in enumerate(families.retrained):
        others = [each for i, each in enumerate(families.retrained) if i != k]
        rows.append(attack_values([model], Families(others, families.originals, {})))
    return pd.concat(rows, ignore_index=True)


def smallest_noticed(curve: pd.DataFrame, power: float) -> dict[str, float]:
    """Smallest share of those trained that, left undeleted, each attack notices with this power, as it does all larger
    ones; not a number where it notices none. Nothing is read between the shares.

    curve: columns attack, share (of the forget set, 0 to 1) and power (chance of noticing).
    """
    found = {}
    for name, group in curve[curve["share"] > 0].groupby("attack", sort=False):
        ordered = group.sort_values("share", ascending=False)
        noticed = ordered["power"].ge(power).cumprod().astype(bool)
        found[str(name)] = float(ordered.loc[noticed, "share"].min())
    return found
