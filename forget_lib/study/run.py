"""One scenario from data to records: the original model, then for each method prepare, unlearn, measure, write."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from forget_lib.attacks import get_attack
from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.core.names import is_own, public_name
from forget_lib.core.user_code import failure, naming_failure
from forget_lib.models.given_weights import check_given, put_weights
from forget_lib.models.log import TrainingLog, logged_training
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.own import OwnModel
from forget_lib.models.train import PREDICTED, TRAINING_VERSION, Meter, predict, train
from forget_lib.statistics.measurement import Measurement
from forget_lib.statistics.scores import cross_entropy
from forget_lib.study import measure, records
from forget_lib.study.chosen import choice, digest, with_chosen
from forget_lib.study.measure import evaluate
from forget_lib.study.plugins import with_plugins
from forget_lib.study.scenario import EVALUATED, Scenario, describe, make_scenario, seed_of
from forget_lib.unlearning import METHODS, UnlearningTask, get_method, unlearn
from forget_lib.unlearning.parts.voting import ensemble_of, is_ensemble
from forget_lib.unlearning.registry import check_settings, default_settings

EVALUATION_VERSION = 2
"""Raised when the evaluation of a model gives other numbers; records of before are then made again."""
SECOND_RETRAIN = 1
SAME_METHOD = {"second_retrain": ("retrain", SECOND_RETRAIN)}
"""Records that are called after what they are for, and the method with its seed that makes them."""
WITH_HISTORY = ("uniform_kl", "finetune", "negative_gradient_plus", "scrub")
"""Methods whose metrics are recorded after each epoch; on all samples that would cost more than most methods do."""
__all__ = ["EVALUATED", "Scenario", "evaluate", "make_scenario", "with_plugins"]


def original(scenario: Scenario) -> nn.Module:
    """The model trained on forget and retain together, loaded from its record or trained now, or a user's own with its
    weights; in eval mode. Requests that leave the training set and its labels as they are share it (folder `all`)."""
    folder = scenario.folder("original", request=scenario.parsed.original_name)
    sets = records.key_of(trained=scenario.sets.trained.tolist(), labels=scenario.sets.labels.tolist())
    # The names of attacks and the request are not part of the key: they do not change the training.
    about = {**describe(scenario), "sizes": sets}
    key = records.key_of(about=about, code=[TRAINING_VERSION, NETS_VERSION, *scenario.own_code])
    model = scenario.new_model(seed_of("original", scenario.seed))
    if records.up_to_date(folder, key):
        try:
            model.load_state_dict(records.read_state(folder))
            return model.eval()
        except (ForgetError, RuntimeError) as error:
            print(f"{error} It is trained again.")
    meter, history = Meter(), None
    if scenario.weights:
        put_weights(model, scenario.weights, scenario.model)
        check_given(model, scenario.samples["trained"], scenario.data.classes)
    else:
        history = _trained(scenario, model, meter, scenario.root / "checkpoints" / f"{key[:16]}.pt")
    cost = meter.cost
    with naming_failure(f"{public_name(scenario.model)} cannot be measured, so there is nothing to unlearn"):
        found, _ = evaluate(scenario, model, ("validation", "test"), attacks=())
    # Requests share this record: what is about the forgotten classes of one of them has no place in it.
    measured = [each for each in found if each.metric not in ("test_accuracy_forgotten", "test_accuracy_retained")]
    run = describe(scenario) | {"request": scenario.parsed.original_name, "method": "original", "run": 0, "key": key}
    run |= {"status": "done", "cost": cost, "measurements": _plain(measured), **records.provenance(), "written": _now()}
    records.write_record(folder, run, history=history, state=model.state_dict())
    return model.eval()


def _trained(scenario: Scenario, model: nn.Module, meter: Meter, checkpoint: Path) -> pd.DataFrame:
    """Trains the model on forget and retain together; returns its history."""
    net, samples = public_name(scenario.model), scenario.samples["trained"]
    if isinstance(model, OwnModel):  # as large a batch as it will meet, before it is trained
        first = samples.subset(torch.arange(min(PREDICTED, len(samples))))
        with naming_failure(f"{net} cannot be used, so there is nothing to unlearn"), torch.random.fork_rng(devices=[]):
            predict(model, first)
    seed = seed_of("original", scenario.seed)
    with naming_failure(f"{net} cannot be trained, so there is nothing to unlearn"):
        history = train(meter.attach(model), samples, scenario.recipe, seed, checkpoint=checkpoint, title="original")
    model._forward_hooks.clear()
    return history


@lru_cache(maxsize=2)
def training_log_of(scenario: Scenario) -> TrainingLog:
    """The log of the original's training, which is repeated for it: the same seed gives the same bits on a CPU."""
    seed = seed_of("original", scenario.seed)
    watched = torch.isin(scenario.sets.trained, scenario.sets.forget)
    return logged_training(scenario.new_model(seed), scenario.samples["trained"], scenario.recipe, seed, watched)


@dataclass(frozen=True)
class Asked:
    """One record to make: its name, the method that makes it with its seed `number` and settings, its folder, that of
    the retrained model's record if there is one, and what run.json says `about` it, its `key` included."""

    name: str
    method: str
    number: int
    settings: Mapping[str, Any]
    folder: Path
    reference: Path | None
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a method did: a model with its cost, its own facts and the accuracies by epoch, or why there is none."""

    status: str = "done"
    reason: str | None = None
    model: nn.Module | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float | bool | str] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def run_method(
    scenario: Scenario,
    name: str,
    settings: Mapping[str, Any] | None = None,
    run: int = 0,
    *,
    reference: Path | None = None,
    share: float | None = None,
) -> dict[str, Any]:
    """One method on one scenario: what its run.json says, read from disk where it is up to date, else made now.

    name: of a method, "original" (the model as it is) or "second_retrain" (with another seed). settings: those left out
    are as chosen by tuning, else the defaults. run: seed of the method. reference: folder of the retrained model's
    record, to measure distances from it. share: budget of a cost curve, in retrainings. A method that does not apply,
    diverges or fails leaves a record that says so.
    """
    asked = prepare(scenario, name, settings or {}, run, reference, share)
    record = records.up_to_date(asked.folder, asked.about["key"])
    if record is not None:
        return record
    start = original(scenario)
    outcome = unlearned(scenario, asked, start)
    outcome = measured(scenario, asked, start, outcome)
    return write(scenario, asked, outcome)


def defaults_of(scenario: Scenario, method: str) -> dict[str, Any]:
    """A method's defaults on a scenario; on data or a net of a user's own, rates go with the recipe's, where SGD trains
    by a rate that is known: weights that were trained gently are destroyed by the rates of a training from scratch."""
    recipe, own = scenario.recipe, is_own(scenario.dataset) or is_own(scenario.model)
    if own and recipe.known and recipe.optimizer == "sgd" and not recipe.function:
        return default_settings(method, recipe.epochs, recipe.learning_rate)
    return default_settings(method, recipe.epochs)


def prepare(
    scenario: Scenario,
    name: str,
    settings: Mapping[str, Any],
    run: int = 0,
    reference: Path | None = None,
    share: float | None = None,
) -> Asked:
    """What is to be made, checked, with the key of its record; see `run_method`."""
    method, number = SAME_METHOD.get(name, (name, run))
    code: list[int | str] = [TRAINING_VERSION, NETS_VERSION, EVALUATION_VERSION]
    given = settings
    if method != "original":
        check_settings(method, settings)
        chosen = with_chosen(method, settings, *scenario.tuned_for)
        settings = defaults_of(scenario, method) | chosen
        code.append(records.code_of(get_method(method)))
    code += [records.code_of(get_attack(each)) for each in scenario.attacks]
    code += scenario.own_code
    retrained = None if reference is None else records.read_record(reference)
    if retrained is None or retrained["status"] != "done":
        reference = retrained = None  # without a recipe nothing is retrained, and less can be said
    about = describe(scenario) | {"request": scenario.parsed.name, "request_text": scenario.request_text}
    about |= {"method": name, "run": run, "settings": settings}
    about |= {} if share is None else {"share": share}
    compared = retrained and retrained["key"]
    about["key"] = records.key_of(about=about, code=code, attacks=scenario.attacks, compared=compared)
    about["tuned"] = choice(method, given, *scenario.tuned_for).tuned
    about["settings_digest"] = digest(*scenario.tuned_for, [method])
    return Asked(name, method, number, settings, scenario.folder(name, run), reference, about)


def unlearned(scenario: Scenario, asked: Asked, start: nn.Module) -> Outcome:
    """Runs the method on the original model, `start`."""
    if asked.method == "original":
        return Outcome(model=start)
    history: list[dict[str, float]] = []

    def on_epoch(epoch: int, model: nn.Module) -> None:
        history.append({"epoch": epoch} | measure.epoch_accuracies(scenario, model))

    task = make_task(scenario, asked.number, on_epoch if asked.name in WITH_HISTORY else None, asked.method)
    try:
        model = unlearn(asked.method, start, task, **asked.settings)
    except NotApplicableError as error:
        return Outcome("not applicable", str(error))
    except ForgetError as error:
        return Outcome("failed", str(error))
    return Outcome(model=model, cost=task.meter.cost, facts=task.facts, history=history)


def measured(scenario: Scenario, asked: Asked, start: nn.Module, outcome: Outcome) -> Outcome:
    """The outcome with what `measure.measure` says of its model; a failed one where that raises."""
    if outcome.model is None:
        return outcome
    try:
        shorter = (lambda epochs: short_retrained(scenario, start, epochs)) if asked.name == "retrain" else None
        found, arrays = measure.measure(scenario, outcome.model, start, outcome.cost, asked.reference, shorter)
    except ForgetError:  # of the study's own files: what to do about it is in the message
        raise
    except Exception as error:  # a net of the user's can raise anything
        net = asked.about["model"]
        return Outcome("failed", f"{asked.name} could not be measured on {net}: {failure(error)}.")
    return dataclasses.replace(outcome, measurements=found, arrays=arrays)


def short_retrained(scenario: Scenario, start: nn.Module, epochs: int) -> nn.Module:
    """A model retrained by the recipe for fewer epochs, with a seed of its own."""
    task = make_task(scenario, epochs, name="short_retrain")
    return unlearn("short_retrain", start, task, share=epochs / scenario.recipe.epochs)


def write(scenario: Scenario, asked: Asked, outcome: Outcome) -> dict[str, Any]:
    """Writes the record; returns what run.json says."""
    run = dict(asked.about) | records.provenance() | {"written": _now()}
    run |= {"status": outcome.status, "reason": outcome.reason, "cost": outcome.cost}
    run["facts"] = outcome.facts
    run["measurements"] = _plain(outcome.measurements)
    if outcome.model is None:
        records.write_record(asked.folder, run)
        return run
    with_result = {each.attack for each in outcome.measurements}
    run["without_result"] = sorted(set(scenario.attacks) - with_result)  # the log says why
    history = pd.DataFrame(outcome.history) if outcome.history else None
    state = None if asked.method == "original" else outcome.model.state_dict()
    records.write_record(asked.folder, run, history=history, predictions=outcome.arrays, state=state)
    return run


def make_task(
    scenario: Scenario, run: int = 0, on_epoch: Callable[[int, nn.Module], None] | None = None, name: str = ""
) -> UnlearningTask:
    """What the method of that name gets: forget, retain and validation samples, and the training log if it needs it."""
    seed = seed_of("method", name, scenario.seed, scenario.draw, run)
    generator = torch.Generator().manual_seed(seed)
    samples: dict[str, Any] = {
        part: dataclasses.replace(scenario.samples[part], generator=generator)
        for part in ("forget", "retain", "validation")
    }
    logged = name in METHODS and "training log" in METHODS[name].needs and not scenario.weights
    return UnlearningTask(
        request=scenario.parsed,
        training_log=training_log_of(scenario) if logged else None,
        classes=scenario.classes,
        number_of_classes=len(scenario.data.classes),
        fresh_model=scenario.new_model,
        recipe=scenario.recipe,
        seed=seed,
        generator=generator,
        device=scenario.torch_device,
        on_epoch=on_epoch,
        **samples,
    )


def run_methods(scenario: Scenario, methods: Mapping[str, Mapping[str, Any] | None], in_turn: int = 1) -> pd.DataFrame:
    """Retrained model, second retrain and original, then each method (settings by name, all checked first); each is a
    record of its own, so that a killed run resumes. in_turn: for so many pairs of draw and seed, from the scenario's
    on. Returns: the tidy table of these (see `records.load`)."""
    for name, settings in methods.items():
        check_settings(name, settings or {})
    rows: dict[str, Mapping[str, Any] | None] = {"retrain": {}, "second_retrain": {}, "original": {}}
    rows |= {name: settings for name, settings in methods.items() if name not in rows}
    begun, done, tables = time.perf_counter(), 0, []
    for here in map(scenario.pair, range(in_turn)):
        for name, settings in rows.items():
            reference = None if name == "retrain" else here.folder("retrain")
            record = run_method(here, name, settings, reference=reference)
            done, spent = done + 1, time.perf_counter() - begun
            left = spent / done * (in_turn * len(rows) - done)
            note = "" if record["status"] == "done" else f" ({record['status']}: {record['reason']})"
            print(f"{done}/{in_turn * len(rows)} {name}{note}, {spent:.0f} s, about {left:.0f} s left", flush=True)
        tables.append(records.load(here.folder("original").parent.parent))
    table = pd.concat(tables, ignore_index=True)
    return table[table["method"].isin(rows)].reset_index(drop=True)


def load_model(scenario: Scenario, name: str, run: int = 0) -> nn.Module:
    """The model of a record of this scenario, in eval mode; `sisa` gives an ensemble. Nothing is trained."""
    shared = scenario.parsed.original_name if name == "original" else None
    return read_model(scenario, scenario.folder(name, run, request=shared))


def read_model(scenario: Scenario, folder: Path) -> nn.Module:
    """The model of a record in any folder, in eval mode; see `load_model`."""
    state = records.read_state(folder)
    if is_ensemble(state):
        settings = (records.read_record(folder) or {})["settings"]
        return ensemble_of(state, scenario.new_model, settings["vote"]).eval()
    model = scenario.new_model(0)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        advice = "delete the folder and run again"
        raise ForgetError(f"{folder}: the weights do not fit {scenario.model}; {advice}.") from error
    return model.eval()


def losses(scenario: Scenario, name: str, run: int = 0) -> dict[str, np.ndarray]:
    """Cross-entropy (nats) of each forget and unseen sample under a recorded model: float [n] by set."""
    arrays = records.read_predictions(scenario.folder(name, run))
    return {part: cross_entropy(arrays[f"{part}_logits"], arrays[f"{part}_labels"]) for part in ("forget", "unseen")}


def _plain(measurements: list[Measurement]) -> list[dict[str, Any]]:
    return [measurement._asdict() for measurement in measurements]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def provenance_table(
    begun: float, scenario: Scenario | None = None, *, profile: str = "", checksums: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The last table of every notebook: commit, versions, data, seeds and the time since `begun` (perf_counter).

    checksums: SHA-256 by data set, where there is no scenario.
    """
    source = records.provenance()
    rows = {"profile": profile, "commit": source["commit"], "system": f"{source['system']} {source['machine']}"}
    rows |= source["versions"]
    if scenario is not None:
        checksums = {scenario.data.name: scenario.data.checksum}
        rows |= {"request": scenario.parsed.name, "draw": scenario.draw, "seed": scenario.seed}
        rows["device"] = str(scenario.torch_device)
    rows |= {f"SHA-256 of {name}": value for name, value in (checksums or {}).items()}
    rows["seconds"] = f"{time.perf_counter() - begun:.1f}"
    return pd.DataFrame({"value": {name: str(value) for name, value in rows.items()}})
