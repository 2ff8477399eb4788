"""From measurements to evidence: the readings of the verdict, what may be wrong with them, attacks, the error curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forget_lib.attacks.parts.per_sample import location_and_spread
from forget_lib.deletion import references, verdict
from forget_lib.deletion.case import HELD_OUT_ADVICE, Case
from forget_lib.deletion.measure import SETS
from forget_lib.deletion.references import KEPT, ORIGINALS, RETRAINED, Job
from forget_lib.deletion.verdict import OUTPUTS, READINGS, Reading, Rule, Verdict
from forget_lib.statistics.intervals import auc, t_interval, within
from forget_lib.statistics.measurement import range_of
from forget_lib.study.pools import read_arrays

Measured = Mapping[str, np.ndarray]
FAR_ABOVE = 2.0
"""Trace of an original from which its weights were not trained by this recipe on these images alone."""
NO_GAP = 0.01
"""Largest difference of accuracies on training and on held-out images that counts as none."""
FEWEST_CONTROLS = 8
"""Fewest control images for an attack that compares with them."""
ATTACKS = (
    "forget accuracy", "loss against controls", "LiRA, offline", "relearning", "re-identification", "trace, outputs",
    "trace, embedding",
)  # fmt: skip
"""From weak to strong: the number that each attack gives for a model."""
ACCURACIES = (*(f"{name}_accuracy" for name in SETS), "test_accuracy_kept")


@dataclass(frozen=True)
class Families:
    """Measurements by family: retrained [K], originals [L], kept by share (each a list)."""

    retrained: Sequence[Measured]
    originals: Sequence[Measured]
    kept: Mapping[float, Sequence[Measured]]

    @classmethod
    def of(cls, found: Mapping[Job, Measured]) -> Families:
        """Sorts the measurements of `references.train_references`."""
        kept: dict[float, list[Measured]] = {}
        for job, measured in found.items():
            if job.family == KEPT:
                kept.setdefault(job.share, []).append(measured)
        by_name = {name: [m for job, m in found.items() if job.family == name] for name in (RETRAINED, ORIGINALS)}
        return cls(by_name[RETRAINED], by_name[ORIGINALS], dict(sorted(kept.items())))

    def margins(self, reading: str) -> tuple[np.ndarray, np.ndarray]:
        """Margins of a reading: [K, n] of the retrained models, [L, n] of the originals."""
        return stacked(self.retrained, reading), stacked(self.originals, reading)


def stored(case: Case, rule: Rule, *, any_key: bool = False) -> Families | None:
    """The references of a case as they were kept, of whatever code with `any_key`; None where one is missing."""
    jobs = references.planned(case, rule.kept_share)
    keys = {job: None if any_key else references.key_of(case, job) for job in jobs}
    found = {job: read_arrays(case.folder / "references" / f"{job.name}.npz", keys[job]) for job in jobs}
    complete = {job: arrays for job, arrays in found.items() if arrays is not None}
    return Families.of(complete) if len(complete) == len(jobs) else None


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
    own = float(original["validation_accuracy"])
    theirs = stacked(families.originals, "validation_accuracy")
    mean, allowed = float(theirs.mean()), max(rule.reproduced, 3 * float(theirs.std(ddof=1)))
    if case.weights and _knows_held_out(original, families, rule):
        concerns.append(
            "The model has probably seen the held-out images: it is as good on them as on its training images "
            f"(accuracy {_held_out(original):.3f} and {float(original['retain_accuracy']):.3f}), and models trained "
            f"here without them are {100 * np.mean([_gap(each) for each in families.originals]):.0f} points worse on "
            f"them. {HELD_OUT_ADVICE}"
        )
    elif abs(own - mean) > allowed:
        concerns.append(
            f"The recipe does not reproduce the model: it gives a validation accuracy of {mean:.3f}, the model has "
            f"{own:.3f} (allowed: {allowed:.3f} apart). Mend the recipe: these references are no measure."
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


def _knows_held_out(original: Measured, families: Families, rule: Rule) -> bool:
    """Whether a model is as good on held-out images as on training images, and models trained here are not."""
    gaps = np.array([_gap(each) for each in families.originals])
    return _gap(original) <= NO_GAP and gaps.mean() >= max(rule.reproduced, 2 * gaps.std(ddof=1))


def _held_out(model: Measured) -> float:
    return float(np.mean([model["validation_accuracy"], model["test_accuracy"]]))


def _gap(model: Measured) -> float:
    """Accuracy on training images less that on validation and test images, in [-1, 1]."""
    return float(model["retain_accuracy"]) - _held_out(model)


def attack_values(models: Sequence[Measured], families: Families) -> pd.DataFrame:
    """The number of each attack (columns) for each model; not a number where it does not apply.

    Retrained models that are among the references must be judged by `reference_values`.
    """
    references = {name: stacked(families.retrained, name) for name in (OUTPUTS, "controls")}
    rows = []
    for model in models:
        row = {"forget accuracy": float(model["forget_accuracy"]), "relearning": float(model["relearning"])}
        row["re-identification"] = float(model["reidentified"])
        if len(model["controls"]) >= FEWEST_CONTROLS:
            row["loss against controls"] = auc(model[OUTPUTS], model["controls"])
            row["LiRA, offline"] = auc(*(_relative(model[name], references[name]) for name in (OUTPUTS, "controls")))
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(ATTACKS), dtype=float)
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


def _relative(margins: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Margins [n] relative to those of the retrained models [K, n], none of which saw these images."""
    middle, spread = location_and_spread(references, np.ones(references.shape, dtype=bool))
    return (margins - middle) / spread


def attack_table(candidates: Mapping[str, Measured], families: Families) -> pd.DataFrame:
    """One row an attack: its value for each candidate, the retrained mean and the SD between retrained models."""
    references = reference_values(families)
    table = attack_values(list(candidates.values()), families).set_axis(list(candidates)).T
    table["retrained"] = [references[name].to_numpy().mean() for name in ATTACKS]
    table["SD of retrained"] = [references[name].to_numpy().std(ddof=1) for name in ATTACKS]
    return table.rename_axis("attack")


def accuracy_table(candidates: Mapping[str, Measured], families: Families) -> pd.DataFrame:
    """Accuracy by set for each candidate, and the retrained mean with its 95 % t-interval; shares."""
    table = pd.DataFrame({name: {each: float(m[each]) for each in ACCURACIES} for name, m in candidates.items()})
    intervals = [within(t_interval(stacked(families.retrained, each)), range_of(each)) for each in ACCURACIES]
    table["retrained"] = [interval.value for interval in intervals]
    table["low"], table["high"] = [i.low for i in intervals], [i.high for i in intervals]
    return table.rename_axis("accuracy")


def error_curve(families: Families, alpha: float) -> pd.DataFrame:
    """Chance that each attack notices a retraining that kept a share of the forget set, by attack and share (0 to 1).

    A difference is noticed by the t test of the verdict at `alpha`, two-sided; the chance is that of a model with the
    mean value at this share. Columns attack, share, value (mean), power, models.
    """
    references, rows = reference_values(families), []
    groups = {**families.kept, 1.0: families.originals}
    found = {0.0: references} | {share: attack_values(group, families) for share, group in groups.items()}
    for name in ATTACKS:
        usual = references[name].to_numpy()
        spread = max(float(usual.std(ddof=1)), 1e-6)
        for share, values in found.items():
            value = float(values[name].to_numpy().mean())
            shift = 0.0 if share == 0 else value - float(usual.mean())
            reading = Reading(value, spread, len(usual))
            power = verdict.detection_power(shift, reading, alpha) if np.isfinite(value) else float("nan")
            rows.append([name, share, value, power, len(values)])
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
