"""`forget_lib.audit`: was it forgotten? Asked from Python, of tensors that are at hand, without a config.

What is said follows the study's rules. A model alone, or beside one retrained model, is never called "as retrained":
that takes references, which `retrained=Recipe(...)` trains, and the rule of `deletion.verdict`.
"""

import dataclasses
import html
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from forget_lib.attacks import AttackInput, References, Side, get_attack
from forget_lib.attacks.parts.inputs import known_outside
from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.core.files import write_text
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.deletion import given
from forget_lib.deletion import verdict as rule_of
from forget_lib.deletion.evidence import Families, readings, stacked
from forget_lib.deletion.measure import Measured, margins_of
from forget_lib.deletion.references import KEPT, ORIGINALS, RETRAINED, Job
from forget_lib.deletion.request import Budget
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.train import predict, train
from forget_lib.statistics import metrics
from forget_lib.statistics.measurement import Measurement
from forget_lib.statistics.rules import MARGINS, WEAK
from forget_lib.statistics.verdict import FORGET, MEASURES, NEEDED, STATES, Compared, gap_of, judge
from forget_lib.study.measure import HELPER
from forget_lib.study.scenario import seed_of

ALONE = (WEAK, "confidence", "entropy", "modified_entropy")
"""Attacks that need the model's answers alone; the first is the primary one, fixed before looking."""
ASIDE = 50
"""Unseen samples that `one_model` learns from; as many stay for the attack."""
MOST_HELPING = 5000
"""Retain samples that the helper net of `one_model` is trained on, at most."""
BY_RECIPE = "the recipe of its training: retrained=Recipe(...) trains references, without which no share left is known"
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Audit of an unlearned model</title><style>
body{{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td,th{{padding:.2rem .7rem;text-align:right}}div{{overflow-x:auto}}
</style></head><body><h1>Audit of an unlearned model</h1>{body}</body></html>
"""


@dataclasses.dataclass(frozen=True, repr=False)
class Audit:
    """What an audit found.

    verdict: a word of the study; reasons, needed: why, and what would settle it. share_left: of the forget set's
    influence, 0 as retrained, 1 as trained on it; None without references. left_out: attacks without result, and why.
    """

    verdict: str
    reasons: tuple[str, ...]
    needed: tuple[str, ...]
    share_left: Measurement | None
    left_out: Mapping[str, str]
    table: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """A row a number: measure, set or attack, value, 95 % interval, chance, n, and the retrained model's."""
        return self.table.copy()

    def lines(self) -> list[str]:
        """The verdict in sentences."""
        left = self.share_left
        share = "Share left: not measured, that takes references."
        if left is not None:
            share = f"Share left: {left.value:.2f} ({left.low:.2f} to {left.high:.2f}); 0 is as retrained."
        needed = [f"Needed: {each}." for each in self.needed]
        left_out = [f"Left out: {name}. {why}" for name, why in self.left_out.items()]
        return [f"Verdict: {self.verdict}.", *self.reasons, share, *needed, *left_out]

    def __repr__(self) -> str:
        return "\n".join([*self.lines(), self.table.to_string(index=False, float_format="{:.3f}".format, na_rep="")])

    def _repr_html_(self) -> str:
        first, *others = map(html.escape, self.lines())
        items = "".join(f"<li>{line}</li>" for line in others)
        table = self.table.to_html(index=False, float_format="{:.3f}".format, na_rep="", border=0)
        return f"<p><b>{first}</b></p><ul>{items}</ul><div>{table}</div>"

    def save(self, path: str | Path) -> Path:
        """Writes the audit as one page that needs no network. Raises: ForgetError if it cannot be written."""
        write_text(Path(path), PAGE.format(body=self._repr_html_()))
        return Path(path)


def audit(
    model: nn.Module,
    forget: Any,
    retain: Any,
    unseen: Any,
    *,
    retrained: nn.Module | Recipe | Mapping[str, Any] | None = None,
    fresh: Callable[[], nn.Module] | None = None,
    seed: int = 0,
) -> Audit:
    """Compares the samples that were to go with samples that were never there. A set is (x, y), or a torch Dataset.

    Args: model: after unlearning, in eval mode. retain: the rest of the training set. unseen: drawn as the forget set
        was, never trained on. retrained: a model trained without the forget set, or the recipe of the training, by
        which references are trained. fresh: makes an untrained net where the model's layers cannot be drawn anew.
    Raises: ForgetError with all mistakes at once.
    """
    recipe = make_recipe(retrained) if isinstance(retrained, Mapping) else retrained
    nets = {"model": model}
    if recipe is not None and not isinstance(recipe, Recipe):
        nets["retrained"] = recipe
    sets, faults = given.read_sets({"forget": forget, "retain": retain, "unseen": unseen})
    faults += given.faults_of_sets(sets)
    for title, net in nets.items():
        faults += given.faults_of_net(net, sets, title)
    given.refuse(faults)
    target, families, left_out = given.in_form(model, sets["forget"]), None, {}
    make = given.fresh_like(target, fresh)
    if isinstance(recipe, Recipe):
        families = _references(make, sets, recipe, seed)
    aside: dict[str, Samples] = {}
    known: Mapping[str, np.ndarray] = {}
    try:
        aside = _halves(sets["unseen"], seed)
        known = known_outside(_helper(make, sets["retain"], seed), {"forget": sets["forget"]} | aside)
    except ForgetError as error:
        left_out["one_model"] = str(error)
    numbers = {}
    for title, net in nets.items():
        logits = {name: predict(net, samples) for name, samples in sets.items()}
        inputs = _inputs(net, sets, logits, aside, known, families if title == "model" else None, seed)
        numbers[title] = [*_accuracies(logits, sets), *_attacked(inputs, left_out)]
    table = _table(numbers)
    if families is None:
        return Audit(*_alone(table, bool(given.classes_gone(sets))), None, left_out, table)
    return Audit(*_beside(_of_net(target, sets), families, len(sets["forget"])), left_out, table)


def _halves(unseen: Samples, seed: int) -> dict[str, Samples]:
    if len(unseen) < 2 * ASIDE:
        raise TooFewError(f"It needs {2 * ASIDE} unseen samples, of which half stand aside; there are {len(unseen)}.")
    order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(seed))
    half = len(unseen) // 2
    return {"unseen": unseen.subset(order[half:]), "population": unseen.subset(order[:half])}


def _helper(make: given.Fresh, retain: Samples, seed: int) -> nn.Module:
    """A net that has seen none of the samples under attack."""
    rows = torch.randperm(len(retain), generator=torch.Generator().manual_seed(seed))[:MOST_HELPING]
    helper = make(seed_of("helper", seed))
    train(helper, retain.subset(rows), HELPER, seed)
    return helper


def _references(make: given.Fresh, sets: given.Sets, recipe: Recipe, seed: int) -> Families:
    """Trains the references that a deletion request has by default, one after the other."""
    budget, kept_share = Budget(), rule_of.load_rule().kept_share
    jobs = [Job(RETRAINED, number, 0.0) for number in range(budget.references)]
    jobs += [Job(ORIGINALS, number, 1.0) for number in range(budget.originals)]
    jobs += [Job(KEPT, number, kept_share) for number in range(budget.kept)]
    found = {}
    for done, job in enumerate(jobs, 1):
        own, size = seed_of("reference", seed, job.name), len(sets["forget"])
        rows = torch.randperm(size, generator=torch.Generator().manual_seed(own))[: round(job.share * size)]
        net = make(own)
        train(net, concatenate(sets["retain"], sets["forget"].subset(rows)), recipe, own)
        found[job] = _of_net(net, sets)
        print(f"reference {done} of {len(jobs)}: {job.name}", flush=True)
    return Families.of(found)


def _of_net(net: nn.Module, sets: given.Sets) -> Measured:
    """What is kept of a net beside references: margins by reading, answers on forget and unseen, accuracy on unseen."""
    if not given.has_features(net):
        raise ForgetError(
            "The net does not end in nn.Linear, and beside references its embedding is read; expected a linear layer "
            "that gives the logits. Without references (retrained=None) the net can be audited as it is."
        )
    forget, unseen = (predict(net, sets[name]).numpy() for name in ("forget", "unseen"))
    found = margins_of(net, sets["forget"], sets["retain"], forget.shape[1])
    accuracy = np.array(metrics.accuracy(unseen, sets["unseen"].labels))
    return found | {"logits": np.concatenate([forget, unseen]), "unseen_accuracy": accuracy}


def _inputs(
    net: nn.Module,
    sets: given.Sets,
    logits: Mapping[str, Tensor],
    aside: Mapping[str, Samples],
    known: Mapping[str, np.ndarray],
    families: Families | None,
    seed: int,
) -> dict[str, AttackInput]:
    """What each attack is given, by its name. logits: of the net, by set."""
    forget, unseen = (Side(logits[name], sets[name].labels) for name in ("forget", "unseen"))
    plain = AttackInput(forget, unseen, seed=seed)
    inputs = dict.fromkeys(ALONE, plain)
    if known:
        half, population = (
            Side(predict(net, aside[name]), aside[name].labels, known=known[name]) for name in ("unseen", "population")
        )
        inputs["one_model"] = AttackInput(
            dataclasses.replace(forget, known=known["forget"]), half, population, seed=seed
        )
    if families is not None:
        theirs = stacked(families.retrained, "logits")
        outside = References(theirs, np.zeros(theirs.shape[:2], dtype=bool))
        inputs["lira_offline"] = dataclasses.replace(plain, references=outside)
    return inputs


def _accuracies(logits: Mapping[str, Tensor], sets: given.Sets) -> list[Measurement]:
    found = []
    for name, samples in sets.items():
        value = metrics.accuracy(logits[name], samples.labels)
        found.append(Measurement("accuracy", value, n=len(samples), item=name))
    return found


def _attacked(inputs: Mapping[str, AttackInput], left_out: dict[str, str]) -> list[Measurement]:
    """The attacks' AUCs; an attack without one is put in `left_out`."""
    found = []
    for name, about in inputs.items():
        try:
            found += [each for each in get_attack(name)(about) if each.metric == "auc"]
        except ForgetError as error:
            left_out[name] = str(error)
    return found


def _table(numbers: Mapping[str, list[Measurement]]) -> pd.DataFrame:
    columns = ["measure", "of", "value", "low", "high", "chance", "n"]
    rows = [(m.metric, m.attack or m.item, m.value, m.low, m.high, m.null, m.n) for m in numbers["model"]]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(["low", "high", "chance"], float))
    if "retrained" in numbers:
        theirs = {(m.metric, m.attack or m.item): m.value for m in numbers["retrained"]}
        keys = zip(table["measure"], table["of"], strict=True)
        table["retrained"] = [theirs.get(key, math.nan) for key in keys]
        table["gap"] = table["value"] - table["retrained"]
    return table


def _alone(table: pd.DataFrame, about_classes: bool) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Verdict, reasons and what is needed, for a model alone or beside one retrained model."""
    rows, found = table.set_index(["measure", "of"]), []
    primary = next(measure for measure in MEASURES if measure.attack == WEAK)
    places = {FORGET: ("accuracy", "forget"), primary: ("auc", WEAK)}
    paired = "gap" in table
    for measure, place in places.items():
        if paired and place in rows.index:
            margin = MARGINS[measure.margin]
            gap = gap_of(np.array([rows.loc[place, "gap"]]), margin)
            found.append(Compared("model", measure.title, measure.side, margin, 0, **gap._asdict()))
    judged = judge(found, {"model": ["done"]} | ({"retrain": ["done"]} if paired else {}), about_classes).iloc[0]
    reasons = ["There is one retrained model: " + NEEDED + "." if paired else "There is no retrained model beside it."]
    if ("auc", WEAK) in rows.index:
        area = rows.loc[("auc", WEAK)]
        told = area["low"] > 0.5 or area["high"] < 0.5
        word = "distinguishes" if told else "does not distinguish"
        reasons.append(
            f"The loss attack {word} forget from unseen samples: AUC {area['value']:.2f} ({area['low']:.2f} to "
            f"{area['high']:.2f}), where chance is 0.5."
            + ("" if told else " An attack this weak proves no forgetting.")
        )
    reasons += [f"Gap to the retrained model in {each.measure}: {each.mean:+.2f}." for each in found]
    return judged["word"], tuple(reasons), (BY_RECIPE,)


def _beside(
    model: Measured, families: Families, images: int
) -> tuple[str, tuple[str, ...], tuple[str, ...], Measurement | None]:
    """Verdict, reasons, what is needed, and the share left, by the rule of a deletion request."""
    rule, concerns = rule_of.load_rule(), []
    theirs, mine = stacked(families.retrained, "unseen_accuracy"), float(model["unseen_accuracy"])
    if abs(mine - theirs.mean()) > max(rule.reproduced, 3 * float(theirs.std(ddof=1))):
        concerns.append(
            f"On unseen samples the model has an accuracy of {mine:.3f}, the retrained ones {theirs.mean():.3f}: the "
            "recipe is not the model's, or unlearning did it harm. Mend the recipe, if it is the recipe."
        )
    judged = rule_of.decide(readings(model, families, rule), rule, images=images, concerns=concerns)
    above = any(each.value > each.critical for each in judged.findings.values())
    keys = {rule_of.PASS: "equal", rule_of.FAIL: "little" if above else "much", rule_of.UNDECIDED: "undecided"}
    outputs = judged.findings[rule_of.OUTPUTS]
    half = float(stats.t.ppf(0.975, len(families.retrained) - 1)) * outputs.standard_error
    left = Measurement("share_left", outputs.value, outputs.value - half, outputs.value + half, n=images, null=0.0)
    return STATES[keys[judged.outcome]].word, judged.reasons, judged.needed, left if math.isfinite(half) else None
