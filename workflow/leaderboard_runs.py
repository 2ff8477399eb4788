"""The leaderboard's fixed problems, and one method on one of them: tuned, run and measured as all others are."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from forget_lib.attacks.relearning import WeightsInput, relearning_curve
from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.core.files import write_text
from forget_lib.models.log import model_key
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.train import TRAINING_VERSION, Meter, accuracy, predict
from forget_lib.statistics import intervals
from forget_lib.study import records, tuning
from forget_lib.study import run as study
from forget_lib.study.measure import attack, relearning_rate
from forget_lib.study.scenario import Scenario, describe, make_scenario, seed_of
from forget_lib.study.tuning import BudgetMeter, OverBudgetError
from forget_lib.unlearning import get_method, unlearn
from forget_lib.unlearning.registry import check_settings, why_not_applicable

LEADERBOARD_VERSION = 1
"""Raised when the problems or the score give other numbers; runs of before are then made again."""

REPEATS = 2
"""Draws and seeds behind each trial of the tuning."""
ATTACKS = ("loss_regression", "confidence", "entropy", "modified_entropy")
MARGIN = 1.25
"""A run may use this much more than a trial's budget: its forget set may be a little larger than the tuning's."""


@dataclass(frozen=True)
class Problem:
    """A scenario that all methods are compared on."""

    dataset: str
    model: str
    request: str
    recipe: Mapping[str, Any]

    def scenario(self, root: Path, draw: int, seed: int, request: str = "") -> Scenario:
        """The scenario of a draw and a seed, on the embedded sample and the CPU."""
        keys = {"dataset": self.dataset, "model": self.model, "draw": draw, "seed": seed, "start": "sample"}
        return make_scenario(root, self.recipe, (), request=request or self.request, **keys)


MEMORISING = {"epochs": 40, "batch_size": 64, "learning_rate": 0.001, "optimizer": "adam", "schedule": "cosine"}
PROBLEMS: Mapping[str, Problem] = {
    "class": Problem("mnist", "mlp", "class:5", {"epochs": 10, "batch_size": 64, "learning_rate": 0.02}),
    "subset": Problem("cifar16", "mlp", "random:0.1", MEMORISING | {"weight_decay": 0.0}),
    "person": Problem(
        "synthetic_faces32", "small_cnn", "person:*20", {"epochs": 12, "batch_size": 32, "learning_rate": 0.03}
    ),
}


def measures(scenario: Scenario, model: nn.Module) -> dict[str, Any]:
    """What a model is compared by, each in [0, 1]: three accuracies, `attacks` (AUC each; 0.5 where nothing can be
    ranked), `relearning` (accuracy on the forget set by mini-batches of training on it) and, for classes, `logit`."""
    samples = scenario.samples
    found: dict[str, Any] = {part: accuracy(model, samples[part]) for part in ("forget", "retain")}
    found["test"] = accuracy(model, scenario.test_kept)
    test = samples["test"]
    if scenario.classes:
        gone = torch.isin(test.labels, torch.tensor(scenario.classes))
        logit = predict(model, test)[:, list(scenario.classes)].max(1).values.numpy()
        found["logit"] = intervals.auc(logit[gone.numpy()], logit[~gone.numpy()])
    logits = {part: predict(model, samples[part]) for part in ("forget", "unseen")}
    labels = {part: samples[part].labels for part in logits}
    found["attacks"] = []
    for name in ATTACKS:
        areas = [m.value for m in attack(scenario, name, logits, labels) if m.metric == "auc"]
        found["attacks"].append(areas[0] if areas else 0.5)
    seed = seed_of("relearning", scenario.seed, scenario.draw)
    curve = relearning_curve(WeightsInput(model, samples["forget"], 1.0, relearning_rate(scenario), seed=seed))
    found["relearning"] = list(curve.values())
    return {name: np.round(value, 6).tolist() for name, value in found.items()}


def library_hash(*versions: int | str) -> str:
    """Hash of the versions of all that decides what a run gives."""
    return records.key_of(code=[TRAINING_VERSION, NETS_VERSION, LEADERBOARD_VERSION, *versions])[:16]


def run_once(scenario: Scenario, name: str, settings: Mapping[str, Any], run: int) -> dict[str, Any]:
    """One method on one scenario: status, reason, what was measured, a hash of all parameters, cost in retrainings.

    A method that is not exact may use a fifth of a retraining (times `MARGIN`). One that does not apply leaves the
    original model, and is measured as that; a failed one has no measures. Kept on disk under the scenario's root, and
    made again when code, data or settings change.
    """
    about = describe(scenario) | {"request": scenario.parsed.name, "method": name, "run": run, "settings": settings}
    key = records.key_of(about=about, code=[library_hash(), records.code_of(get_method(name))])
    path = scenario.root / "measured" / f"{key[:32]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    original = study.original(scenario)
    retraining = 3 * scenario.recipe.epochs * len(scenario.samples["retain"])
    free = get_method(name).control or get_method(name).exact
    meter = Meter() if free else BudgetMeter(MARGIN * tuning.BUDGET * retraining)
    task = dataclasses.replace(study.make_task(scenario, run, name=name), meter=meter)
    found: dict[str, Any] = {"status": "done", "reason": None}
    try:
        reason = why_not_applicable(name, original, task)
        if reason is not None:
            raise NotApplicableError(reason)
        model = unlearn(name, original, task, **settings)
    except NotApplicableError as error:
        model, found = original, {"status": "not applicable", "reason": str(error)}
    except (ForgetError, OverBudgetError) as error:
        reason = str(error) or f"more than {MARGIN * tuning.BUDGET:g} of a retraining's sample passes"
        found = {"status": "failed", "reason": reason, "measured": {}, "parameters": "", "cost": None}
    if found["status"] != "failed":
        cost = round(task.meter.passes / retraining, 6) if found["status"] == "done" else None
        found |= {"measured": measures(scenario, model), "parameters": model_key(model), "cost": cost}
    write_text(path, json.dumps(found))
    return found


def references(scenario: Scenario) -> list[dict[str, Any]]:
    """What was measured on the two retrained models of a scenario."""
    return [run_once(scenario, "retrain", {}, run)["measured"] for run in (0, study.SECOND_RETRAIN)]


def trials_of(name: str, kind: str) -> list[dict[str, Any]]:
    """The settings to try: those of the search spaces, or TRIALS in the plugin's file (a list, or one by kind, "class"
    and "subset"); without settings, or without TRIALS, the defaults alone.

    Raises: ForgetError for more trials than all others get.
    """
    spaces = tuning.load_spaces()
    module = sys.modules[get_method(name).function.__module__]
    trials = spaces[name][kind] if name in spaces else getattr(module, "TRIALS", [{}])
    trials = trials[kind] if isinstance(trials, Mapping) else trials
    if not 1 <= len(trials) <= tuning.TRIALS:
        raise ForgetError(f"{name} has {len(trials)} TRIALS; every method gets at most {tuning.TRIALS}.")
    for settings in trials:
        check_settings(name, settings)
    defaults = get_method(name).settings  # written out, so that a trial that costs too much can be cut by epochs
    return [defaults | dict(settings) for settings in trials]


def tuned(name: str, problem: Problem, root: Path) -> dict[str, Any]:
    """Settings for a problem, chosen on other draws and seeds and another forget set, and the trials behind them."""
    entry = get_method(name)
    if entry.control or entry.exact:
        return {"settings": {}, "trials": []}
    reported = problem.scenario(root, 0, 0)
    reason = why_not_applicable(name, study.original(reported), study.make_task(reported, name=name))
    if reason is not None:
        return {"settings": {}, "trials": []}
    request = tuning.tuning_request(reported.parsed, reported.data)
    draws = [(tuning.DRAW + i, tuning.SEED + i) for i in range(REPEATS)]
    scenarios = [problem.scenario(root, draw, seed, request) for draw, seed in draws]
    found = tuning.tune(name, scenarios, trials_of(name, tuning.kind_of(reported.parsed)))
    if found["settings"] is None:
        reasons = ", ".join(sorted({trial["status"] for trial in found["trials"]}))
        print(f"{name}: no trial can be taken ({reasons}; each may use {tuning.BUDGET:g} of a retraining)", flush=True)
    rows = [{key: trial[key] for key in ("settings", "status", "relative_cost")} for trial in found["trials"]]
    for row, trial in zip(rows, found["trials"], strict=True):
        row["score"] = trial["score"] if np.isfinite(trial["score"]) else None
    return {"settings": found["settings"] or {}, "tuned_on": request, "trials": rows}
