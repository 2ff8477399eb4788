"""From measurements to evidence: tables beside the references, the error curve, the readings of the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forget_lib.attacks.parts.per_sample import location_and_spread
from forget_lib.deletion import trace, verdict
from forget_lib.deletion.case import HELD_OUT_ADVICE, Case
from forget_lib.deletion.references import KEPT, ORIGINALS, RETRAINED, Job
from forget_lib.deletion.verdict import EMBEDDING, OUTPUTS, READINGS, Rule, Verdict
from forget_lib.statistics.intervals import auc, t_interval, within
from forget_lib.statistics.measurement import range_of

Measured = Mapping[str, np.ndarray]
FAR_ABOVE = 2.0
"""Trace of an original from which its weights were not trained by this recipe on these images alone."""
NO_GAP = 0.01
"""Largest difference of accuracies on training and on held-out images that counts as none."""
FEWEST_CONTROLS = 8
"""Fewest control images for an attack that compares with them."""
ATTACKS = {
    "forget accuracy": "is the answer still right?",
    "loss against controls": "AUC of the loss, forget images against images never trained on; one threshold for all",
    "LiRA, offline": "AUC of the margin relative to the retrained models, image by image",
    "relearning": "mean accuracy while the forget set is learned again",
    "re-identification": "is the nearest image in the embedding of the same person, or class?",
    "trace, outputs": "the fixed statistic at the outputs",
    "trace, embedding": "the fixed statistic in the embedding",
}
"""From weak to strong: the number that each attack gives for a model, and what it asks."""


@dataclass(frozen=True)
class Families:
    """Measurements by family: retrained [K], originals [L], kept by share (each a list)."""

    retrained: list[Measured]
    originals: list[Measured]
    kept: dict[float, list[Measured]]

    @classmethod
    def of(cls, found: Mapping[Job, Measured]) -> Families:
        """Sorts the measurements of `references.train_references`."""
        kept: dict[float, list[Measured]] = {}
        for job, measured in found.items():
            if job.family == KEPT:
                kept.setdefault(job.share, []).append(measured)
        by_name = {name: [m for job, m in found.items() if job.family == name] for name in (RETRAINED, ORIGINALS)}
        return cls(by_name[RETRAINED], by_name[ORIGINALS], dict(sorted(kept.items())))


def readings(model: Measured, families: Families, rule: Rule) -> dict[str, trace.Reading]:
    """The two readings of the verdict. Raises: TooFewError below 3 models a side."""
    found = {}
    for name in READINGS:
        stacked = [np.stack([each[name] for each in group]) for group in (families.retrained, families.originals)]
        kept = families.kept.get(rule.kept_share)
        found[name] = trace.read(model[name], *stacked, np.stack([each[name] for each in kept]) if kept else None)
    return found


def judge(case: Case, model: Measured, families: Families, rule: Rule, concerns: tuple[str, ...]) -> Verdict:
    """The verdict on a model of this case."""
    images = len(case.scenario.sets.forget)
    return verdict.decide(readings(model, families, rule), rule, images=images, people=case.people, concerns=concerns)


def concerns_of(case: Case, original: Measured, families: Families, rule: Rule) -> tuple[str, ...]:
    """Reasons why the references are no measure for the model: another accuracy, or weights of another training."""
    found = []
    own, theirs = float(original["validation_accuracy"]), [float(m["validation_accuracy"]) for m in families.originals]
    mean, spread = float(np.mean(theirs)), float(np.std(theirs, ddof=1))
    allowed = max(rule.reproduced, 3 * spread)
    seen = _saw_held_out(case, original, families, rule)
    if seen:
        found.append(seen)
    elif abs(own - mean) > allowed:
        found.append(
            f"The recipe does not reproduce the model: it gives a validation accuracy of {mean:.3f}, the model has "
            f"{own:.3f} (allowed: {allowed:.3f} apart). Mend the recipe: these references are no measure."
        )
    reading = readings(original, families, rule)[OUTPUTS]
    if not reading.value > 0.5:
        found.append(
            f"The weights given do not look trained on the requested images: their trace is {reading.value:.2f}, where "
            "models trained on all of it have 1. Are they the weights of this model, and these its data?"
        )
    if case.weights and reading.value > FAR_ABOVE:
        found.append(
            f"The weights given know the requested images better than the recipe explains: their trace is "
            f"{reading.value:.2f}, where models trained by it on all images have 1. Were they trained longer, or on "
            f"images that are taken for unseen here? Mend the recipe. {HELD_OUT_ADVICE}"
        )
    return tuple(found)


def _saw_held_out(case: Case, original: Measured, families: Families, rule: Rule) -> str:
    """What to say where given weights are as good on held-out images as on training images, and models that are
    trained here without the held-out ones are not; else empty."""
    gaps = [_held_out_gap(each) for each in families.originals]
    usual, spread = float(np.mean(gaps)), float(np.std(gaps, ddof=1))
    if not case.weights or _held_out_gap(original) > NO_GAP or usual < max(rule.reproduced, 2 * spread):
        return ""
    return (
        "The model has probably seen the held-out images: it is as good on them as on its training images (accuracy "
        f"{_held_out_accuracy(original):.3f} and {float(original['retain_accuracy']):.3f}), and models trained here "
        f"without them are {100 * usual:.0f} points worse on them. {HELD_OUT_ADVICE}"
    )


def _held_out_accuracy(model: Measured) -> float:
    return float(np.mean([model["validation_accuracy"], model["test_accuracy"]]))


def _held_out_gap(model: Measured) -> float:
    """Accuracy on training images less that on validation and test images, in [-1, 1]."""
    return float(model["retain_accuracy"]) - _held_out_accuracy(model)


def attack_values(models: list[Measured], families: Families) -> dict[str, np.ndarray]:
    """The number of each attack for each model, float [M]; not a number where it does not apply.

    Retrained models that are among the references must be judged by `reference_values`.
    """
    values = {name: np.full(len(models), np.nan) for name in ATTACKS}
    margins = np.stack([each[OUTPUTS] for each in families.retrained])
    controls = np.stack([each["controls"] for each in families.retrained])
    for row, model in enumerate(models):
        values["forget accuracy"][row] = model["forget_accuracy"]
        values["relearning"][row] = model["relearning"]
        values["re-identification"][row] = model["reidentified"]
        if len(model["controls"]) >= FEWEST_CONTROLS:
            values["loss against controls"][row] = auc(model[OUTPUTS], model["controls"])
            values["LiRA, offline"][row] = auc(
                _relative(model[OUTPUTS], margins), _relative(model["controls"], controls)
            )
    for name, reading in (("trace, outputs", OUTPUTS), ("trace, embedding", EMBEDDING)):
        rows = np.stack([each[reading] for each in models])
        given = (np.stack([each[reading] for each in group]) for group in (families.retrained, families.originals))
        values[name] = trace.traces(rows, *given)
    return values


def reference_values(families: Families) -> dict[str, np.ndarray]:
    """The number of each attack for each retrained model [K], judged by the other K - 1."""
    rows = []
    for k in range(len(families.retrained)):
        others = [each for i, each in enumerate(families.retrained) if i != k]
        rows.append(attack_values([families.retrained[k]], Families(others, families.originals, {})))
    return {name: np.concatenate([row[name] for row in rows]) for name in ATTACKS}


def _relative(margins: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Margins [n] relative to those of the retrained models [K, n], none of which saw these images."""
    middle, spread = location_and_spread(references, np.ones(references.shape, dtype=bool))
    return (margins - middle) / spread


def attack_table(candidates: Mapping[str, Measured], families: Families) -> pd.DataFrame:
    """One row an attack: its value for each candidate, the retrained mean and the SD between retrained models."""
    references = reference_values(families)
    found = attack_values(list(candidates.values()), families)
    table = pd.DataFrame({name: found[name] for name in ATTACKS}, index=list(candidates)).T
    table["retrained"] = [references[name].mean() for name in ATTACKS]
    table["SD of retrained"] = [references[name].std(ddof=1) for name in ATTACKS]
    return table.rename_axis("attack")


def accuracy_table(candidates: Mapping[str, Measured], families: Families) -> pd.DataFrame:
    """Accuracy by set for each candidate, and the retrained mean with its 95 % t-interval; shares."""
    names = ["forget_accuracy", "retain_accuracy", "validation_accuracy", "test_accuracy", "test_accuracy_kept"]
    table = pd.DataFrame({name: {each: float(m[each]) for each in names} for name, m in candidates.items()})
    intervals = [within(t_interval([float(m[each]) for m in families.retrained]), range_of(each)) for each in names]
    table["retrained"] = [interval.value for interval in intervals]
    table["low"], table["high"] = [i.low for i in intervals], [i.high for i in intervals]
    return table.rename_axis("accuracy")


def error_curve(families: Families, alpha: float) -> pd.DataFrame:
    """Chance that each attack notices a retraining that kept a share of the forget set, by attack and share (0 to 1).

    A difference is noticed by the t test of the verdict at `alpha`, two-sided; the chance is that of a model with the
    mean value at this share. Columns attack, share, value (mean), power, models.
    """
    references, rows = reference_values(families), []
    groups = {0.0: families.retrained, **families.kept, 1.0: families.originals}
    found = {share: references if share == 0 else attack_values(group, families) for share, group in groups.items()}
    for name in ATTACKS:
        spread = float(references[name].std(ddof=1))
        for share, group in groups.items():
            value = float(found[share][name].mean())
            reading = trace.Reading(value, max(spread, 1e-6), len(families.retrained))
            shift = 0.0 if share == 0 else value - float(references[name].mean())
            power = verdict.detection_power(shift, reading, alpha) if np.isfinite(value) else float("nan")
            rows.append([name, share, value, power, len(group)])
    return pd.DataFrame(rows, columns=["attack", "share", "value", "power", "models"])


def smallest_noticed(curve: pd.DataFrame, power: float) -> dict[str, float]:
    """Smallest share of those trained that, left undeleted, each attack notices with this power, as it does all larger
    ones; not a number where it notices none. Nothing is read between the shares."""
    found = {}
    for name, group in curve[curve["share"] > 0].groupby("attack", sort=False):
        ordered = group.sort_values("share", ascending=False)
        noticed = ordered["power"].ge(power).cumprod().astype(bool)
        found[str(name)] = float(ordered.loc[noticed, "share"].min())
    return found
