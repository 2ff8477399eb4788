"""The leaderboard: fixed problems, on which every method is tuned, run, measured and ranked in the same way.

    python -m workflow.leaderboard submit finetune            # a method of the library
    python -m workflow.leaderboard submit my_method.py        # a plugin (code: FORGET_TRUST_CODE=1, or --trust-code)
    python -m workflow.leaderboard verify [record.json]       # repeats a part of a record and compares
    python -m workflow.leaderboard table                      # makes the shipped table again from its records

What is measured: accuracy on forget, retain and test set, membership attacks, how soon the forgotten is learned again,
and for a class whether its logit still singles it out. Each is compared with the mean of two retrained models of the
same seed; the score of a run is the largest of these gaps, so that what looks well in one respect alone does not win.
"""

import contextlib
import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import torch
from torch import nn

from forget_lib.attacks.relearning import WeightsInput, relearning_curve
from forget_lib.core.errors import DataError, ForgetError, NotApplicableError
from forget_lib.core.files import write_text
from forget_lib.core.paths import RESULTS, sha256_of
from forget_lib.models.log import model_key
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.train import TRAINING_VERSION, Meter, accuracy, predict
from forget_lib.statistics import intervals
from forget_lib.study import plugins, records, tuning
from forget_lib.study import run as study
from forget_lib.study.measure import attack, relearning_rate
from forget_lib.study.scenario import Scenario, describe, make_scenario, seed_of
from forget_lib.unlearning import get_method, unlearn
from forget_lib.unlearning.registry import check_settings, why_not_applicable
from workflow import commands
from workflow import leaderboard_table as tables
from workflow.progress import left

LEADERBOARD_VERSION = 1
"""Raised when the problems or the score give other numbers; runs of before are then made again."""
ROOT = RESULTS / "leaderboard"
"""Records, and what is kept for the next submission."""
SEEDS = 5
"""Draw and seed i of each problem, for i below this."""
RUN = 2
"""Seed of the method; 0 and 1 are those of the two retrained models that all are compared with."""
REPEATS = 2
"""Draws and seeds behind each trial of the tuning."""
MARGIN = 1.25
"""A run may use this much more than a trial's budget: its forget set may be a little larger than the tuning's."""
TOLERANCE = 0.1
"""Measures of a repeated run may differ by this much where its bits differ: another machine or version trains another
model by the same rule, and two retrained models differ by about as much."""
ATTACKS = ("loss_regression", "confidence", "entropy", "modified_entropy")


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


# --- one method on one problem ----------------------------------------------------------------------------------------


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


def library_hash() -> str:
    """Hash of the versions of all that decides what a run gives."""
    return records.key_of(code=[TRAINING_VERSION, NETS_VERSION, LEADERBOARD_VERSION])[:16]


def run_once(scenario: Scenario, name: str, settings: Mapping[str, Any], run: int) -> dict[str, Any]:
    """One method on one scenario: status, reason, what was measured, a hash of all parameters, cost in retrainings.

    A method that is not exact may use a fifth of a retraining (times `MARGIN`). One that does not apply leaves the
    original model, and is measured as that; a failed one has no measures. A record of it is kept, and made again when
    code, data or settings change.
    """
    about = describe(scenario) | {"request": scenario.parsed.name, "method": name, "run": run, "settings": settings}
    key = records.key_of(about=about, code=[library_hash(), records.code_of(get_method(name))])
    folder = scenario.root / "measured" / key[:32]
    record = records.up_to_date(folder, key)
    if record is None:
        record = about | {"key": key, "found": _found(scenario, name, settings, run)}
        records.write_record(folder, record)
    return record["found"]


def _found(scenario: Scenario, name: str, settings: Mapping[str, Any], run: int) -> dict[str, Any]:
    original, limit = study.original(scenario), MARGIN * tuning.BUDGET
    free = get_method(name).control or get_method(name).exact
    meter = Meter() if free else tuning.BudgetMeter(limit * scenario.retraining)
    task = dataclasses.replace(study.make_task(scenario, run, name=name), meter=meter)
    try:
        model = unlearn(name, original, task, **settings)
        status, reason, cost = "done", None, round(meter.passes / scenario.retraining, 6)
    except NotApplicableError as error:
        model, status, reason, cost = original, "not applicable", str(error), None
    except (ForgetError, tuning.OverBudgetError) as error:
        reason = str(error) or f"more than {limit:g} of a retraining's sample passes"
        return {"status": "failed", "reason": reason, "measured": {}, "parameters": "", "cost": None}
    found = {"measured": measures(scenario, model), "parameters": model_key(model), "cost": cost}
    return {"status": status, "reason": reason} | found


def trials_of(name: str, kind: str) -> list[dict[str, Any]]:
    """The settings to try: those of the search spaces, or TRIALS in the plugin's file (a list, or one by kind, "class"
    and "subset"); without settings, or without TRIALS, the defaults alone.

    Raises: ForgetError for more trials than all others get.
    """
    spaces = tuning.load_spaces()
    module = sys.modules[get_method(name).function.__module__]
    trials = tuning.trials_of(name, spaces[name][kind]) if name in spaces else getattr(module, "TRIALS", [{}])
    trials = trials[kind] if isinstance(trials, Mapping) else trials
    if not 1 <= len(trials) <= tuning.TRIALS:
        raise ForgetError(f"{name} has {len(trials)} TRIALS; every method gets at most {tuning.TRIALS}.")
    for settings in trials:
        check_settings(name, settings)
    defaults = get_method(name).settings  # written out, so that a trial that costs too much can be cut by epochs
    return [defaults | dict(settings) for settings in trials]


def tuned(name: str, problem: Problem, root: Path) -> dict[str, Any]:
    """Settings for a problem, chosen on other draws and seeds and another forget set, and the trials behind them."""
    entry, reported = get_method(name), problem.scenario(root, 0, 0)
    task = study.make_task(reported, name=name)
    if entry.control or entry.exact or why_not_applicable(name, study.original(reported), task) is not None:
        return {"settings": {}, "trials": []}
    request = tuning.tuning_request(reported.parsed, reported.data)
    scenarios = [problem.scenario(root, tuning.DRAW + i, tuning.SEED + i, request) for i in range(REPEATS)]
    found = tuning.tune(name, scenarios, trials_of(name, tuning.kind_of(reported.parsed)))
    if found["settings"] is None:
        reasons = ", ".join(sorted({trial["status"] for trial in found["trials"]}))
        print(f"{name}: no trial can be taken ({reasons}; each may use {tuning.BUDGET:g} of a retraining)", flush=True)
    rows = [{key: trial[key] for key in ("settings", "status", "relative_cost", "score")} for trial in found["trials"]]
    for row in rows:
        row["score"] = row["score"] if np.isfinite(row["score"]) else None
    return {"settings": found["settings"] or {}, "tuned_on": request, "trials": rows}


# --- submit -----------------------------------------------------------------------------------------------------------

TUNING = 2
"""The tuning of a problem takes about as long as this many seeds."""


class Progress:
    """One line on the terminal, written over again; a line each where the output is no terminal."""

    def __init__(self, problems: int, seeds: int) -> None:
        self.problems, self.seeds = problems, seeds
        self.screen, self.begun = sys.stdout, time.monotonic()

    def show(self, problem: int, seed: int | None) -> None:
        """Says that a seed of a problem begins, both counted from 0, or its tuning (None), and what is left."""
        done = problem * (self.seeds + TUNING) + (0 if seed is None else seed + TUNING)
        step = "tuning" if seed is None else f"seed {seed + 1} of {self.seeds}"
        text = f"problem {problem + 1} of {self.problems}, {step}"
        if done:
            total = self.problems * (self.seeds + TUNING)
            text += f", about {left(done, total, time.monotonic() - self.begun)} left"
        ends = ("\r", "") if self.screen.isatty() else ("", "\n")
        print(f"{ends[0]}{text:<70}", end=ends[1], file=self.screen, flush=True)


def resolve(method: str) -> tuple[str, dict[str, Any]]:
    """The method's name, and what its record says of its code; a plugin is loaded.

    Raises: NotTrustedError; ForgetError for a plugin that is broken or has not exactly one method.
    """
    if not method.endswith(".py"):
        return method, {"file": "", "sha256": "", "module": records.code_of(get_method(method))}
    (plugin,) = plugins.load([method])
    names = plugin.names.get("method", ())
    if plugin.faults or len(names) != 1:
        faults = " ".join(plugin.faults) or f"it has {len(names)} methods; a submission is one."
        raise ForgetError(f"{plugin.path.name} cannot be submitted: {faults}")
    digest = sha256_of(plugin.path)
    return names[0], {"file": plugin.path.name, "sha256": digest, "module": digest[:16]}


def submit(
    method: str,
    root: Path = ROOT,
    *,
    problems: Mapping[str, Problem] = PROBLEMS,
    seeds: int = SEEDS,
    log: TextIO | None = None,
) -> dict[str, Any]:
    """Tunes, runs and measures a method on all problems; returns its record, which is also written.

    Args: method: a name, or a plugin's path. log: gets the lines of trainings and trials, so that the terminal has one
        line of progress; None: they are printed.
    Raises: ForgetError and its kinds for what cannot be submitted at all.
    """
    name, code = resolve(method)
    entry, begun = get_method(name), time.process_time()
    found: dict[str, Any] = {}
    progress = Progress(len(problems), seeds)
    with contextlib.redirect_stdout(log or sys.stdout):
        for number, (title, problem) in enumerate(problems.items()):
            print(f"{title}:", flush=True)
            found[title] = _on_problem(name, problem, root, seeds, partial(progress.show, number))
    record = {"schema": tables.SCHEMA, "method": name, "title": entry.title, "paper": entry.paper, "code": code}
    record |= {"library": library_hash(), "problems": found, "cpu_seconds": round(time.process_time() - begun, 1)}
    record |= records.provenance()
    write_text(root / "records" / f"{name}.json", json.dumps(record, separators=(",", ":")) + "\n")
    return record


def _on_problem(
    name: str, problem: Problem, root: Path, seeds: int, show: Callable[[int | None], None]
) -> dict[str, Any]:
    """What a record says of one problem. show: is told what begins, see `Progress`."""
    show(None)
    chosen = tuned(name, problem, root)
    print(f"  {name} with {chosen['settings'] or 'its defaults'}", flush=True)
    runs = []
    for seed in range(seeds):
        show(seed)
        scenario = problem.scenario(root, seed, seed)
        one = run_once(scenario, name, chosen["settings"], RUN)
        reference = [run_once(scenario, "retrain", {}, run)["measured"] for run in (0, study.SECOND_RETRAIN)]
        gaps = tables.gaps_of(one["measured"], reference, one["status"])
        runs.append({"draw": seed, "seed": seed, "run": RUN} | one | {"reference": reference, "gaps": gaps})
        worst = max(gaps, key=gaps.__getitem__)
        print(f"  seed {seed}: {one['status']}, worst gap {gaps[worst]:.3f} ({worst})", flush=True)
    data = {"data_checksum": scenario.data.checksum, "source": scenario.data.source}
    return dataclasses.asdict(problem) | data | chosen | {"runs": runs}


def place(record: Mapping[str, Any], root: Path = ROOT) -> str:
    """Where a record ranks among the reference results; the table with it is written as CSV and LaTeX."""
    name, shipped = record["method"], tables.read_entries()
    others = [entry for entry in shipped if entry["method"] != name]
    table = tables.write_leaderboard([*others, record], root)
    row = table.loc[name]
    lines = [tables.shown(table).to_string(), ""]
    lines += [f"{name} ranks {row['rank']} of {len(table)} (95 % interval {row['low']} to {row['high']})."]
    if len(others) < len(shipped):
        twin = tables.ranks(shipped).loc[name].astype(int)
        lines += [f"The reference record of {name} ranks {twin['rank']} ({twin['low']} to {twin['high']})."]
    lines += ["score: mean over the problems of the largest gap to retraining, 0 is best. cost: in retrainings."]
    lines += ["* does not apply there and counts as doing nothing."]
    return "\n".join(lines)


# --- verify -----------------------------------------------------------------------------------------------------------


def verify(record: Mapping[str, Any], problem: str, seed: int, *, code: str = "") -> str:
    """Repeats one run of a record from nothing and compares.

    Args: problem, seed: which run. code: the plugin's file, for a record of one.
    Returns: a sentence that says how alike they are.
    Raises: DataError if they differ, or the code or the data are not those of the record.
    """
    name, about = resolve(code or record["method"])
    if code and about["sha256"] != record["code"]["sha256"]:
        raise DataError(f"{about['file']} is not the code of the record (its SHA-256 differs).")
    stored = record["problems"][problem]
    fields = {field.name: stored[field.name] for field in dataclasses.fields(Problem)}
    given = next(run for run in stored["runs"] if run["seed"] == seed)
    title = f"{record['method']}, {problem}, seed {seed}"
    with tempfile.TemporaryDirectory(prefix="forget-verify-") as folder:
        scenario = Problem(**fields).scenario(Path(folder), given["draw"], given["seed"])
        if scenario.data.checksum != stored["data_checksum"]:
            raise DataError(f"{title}: the data are not those of the record (another checksum); submit it again.")
        again = run_once(scenario, name, stored["settings"], given["run"])
    if again["status"] != given["status"]:
        raise DataError(f"{title}: the record says {given['status']}, repeated it is {again['status']}.")
    if again["parameters"] == given["parameters"] and again["measured"] == given["measured"]:
        return f"{title}: the same bits."
    apart = tables.gaps_of(again["measured"], [given["measured"]], again["status"])
    worst = max(apart, key=apart.__getitem__)
    if apart[worst] > TOLERANCE:
        changed = "" if record["library"] == library_hash() else " The library's code has changed since."
        raise DataError(f"{title}: {worst} differs by {apart[worst]:.3f} from the record.{changed} Submit it again.")
    return f"{title}: not the same bits, but within {TOLERANCE} ({worst} differs by {apart[worst]:.3f})."


def drawn(entries: Sequence[Mapping[str, Any]], by: str) -> tuple[Mapping[str, Any], str, int]:
    """A record, a problem and a seed, drawn by a text such as a date or a commit."""
    generator = random.Random(by)
    record = generator.choice(sorted(entries, key=lambda each: each["method"]))
    problem = generator.choice(sorted(record["problems"]))
    return record, problem, generator.choice(record["problems"][problem]["runs"])["seed"]


# --- command line -----------------------------------------------------------------------------------------------------


def _submit(method: Annotated[str, "a name, or a plugin's path"]) -> None:
    """Rank a method on the fixed problems."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / f"{Path(method).stem}.log").open("w", encoding="utf-8") as log:
        record = submit(method, log=log)
    print(f"\n{place(record)}")
    print(f"Record: {ROOT}/records/{record['method']}.json; table: {ROOT}/leaderboard.csv and .tex")


def _verify(
    record: Annotated[Path | None, "left out: one of the reference results"] = None,
    *,
    code: Annotated[str, "the plugin's file, for a record of one"] = "",
    problem: str = "",
    seed: int | None = None,
) -> None:
    """Repeat a part of a record and compare; what is left out is drawn by the date."""
    today = time.strftime("%Y-%m-%d")
    entry, some, one = drawn([tables.read_entry(record)] if record else tables.read_entries(), today)
    problem, seed = problem or some, one if seed is None else seed
    print(f"Repeating {entry['method']}, {problem}, seed {seed} (drawn by {today}) ...", flush=True)
    print(verify(entry, problem, seed, code=code))


def _table() -> None:
    """Make the shipped table again from its records."""
    print(tables.shown(tables.write_leaderboard(tables.read_entries(), tables.REFERENCE)).to_string())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    return commands.main("workflow.leaderboard", [_submit, _verify, _table], arguments)


if __name__ == "__main__":
    sys.exit(main())
