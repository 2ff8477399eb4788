"""Chooses settings of methods and writes them, with all trials behind them.

    ./run_all.sh tune CONFIG
    python -m workflow.tuning --dataset mnist --model mlp --request class:5
        --recipe "{epochs: 10, learning_rate: 0.02}"

tries the authors' settings and draws from the ranges of workflow/config/tuning/spaces.yaml for each method (see
forget_lib/study/tuning.py) and writes the best to workflow/config/settings/<dataset>-<model>-<kind>.yaml, or, where
that one was made on another version of the data, to a file of their own beside it. With --config, data, net, recipe,
methods and start are those of each of its scenarios, or of --scenario, and the requests are its first of each kind. On
data of your own the default settings stay unless a trial beats them by more than its noise. A tuning that was stopped
goes on where it was.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from forget_lib.core import paths
from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.files import write_text
from forget_lib.core.names import is_own, public_name, request_text
from forget_lib.datasets.requests import parse_request
from forget_lib.study import records
from forget_lib.study.chosen import RULE, file_to_write, read_settings
from forget_lib.study.run import defaults_of, make_task, original
from forget_lib.study.scenario import Scenario, make_scenario, public_recipe
from forget_lib.study.tuning import CRITERION, DRAW, SEED, SPACES, TRIALS, Trials, load_spaces, tune_all, tuning_request
from forget_lib.unlearning import METHODS, list_methods
from forget_lib.unlearning.registry import why_not_applicable
from workflow.config_check import read_config

SAME = ("rule", "dataset", "model", "kind", "tuned_on", "draws", "seeds", "checksum", "recipe", "criterion")
"""What two reports of tuning must have in common to stand in one file."""
BY_METHOD = ("methods", "no_acceptable_setting", "kept_default", "ranges", "trials")
CONTROLS = ("do_nothing", "mask_logit", "over_forget", "short_retrain")
"""Rows to compare with, measured on the same draws; never a retrained model."""


def applicable(scenario: Scenario, names: Sequence[str]) -> list[str]:
    """The methods of these that apply; of those that do not the reason is printed."""
    found = []
    for name in names:
        reason = why_not_applicable(name, original(scenario), make_task(scenario, name=name))
        if reason is None:
            found.append(name)
        else:
            print(f"{name}: left out, {reason}")
    return found


def report(
    scenarios: Sequence[Scenario],
    asked: str,
    found: Mapping[str, Mapping[str, Any]],
    extensions: Sequence[Mapping[str, Any]],
    controls: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What goes into the settings file: the choice, what it was made on, its cost, and each trial."""
    first = scenarios[0]
    retraining = first.retraining * len(scenarios)
    return {
        "rule": RULE,
        "dataset": public_name(first.dataset),
        "model": public_name(first.model),
        "kind": first.parsed.kind,
        "chosen_for": asked,
        "tuned_on": first.request,
        "draws": [scenario.draw for scenario in scenarios],
        "seeds": [scenario.seed for scenario in scenarios],
        "source": first.data.source,
        "checksum": first.data.checksum,
        "recipe": public_recipe(dataclasses.asdict(first.recipe)),
        "criterion": CRITERION,
        "cost": {
            "retrainings": round(sum(entry["passes"] for entry in found.values()) / retraining, 2),
            "cpu_seconds": round(sum(entry["seconds"] for entry in found.values()), 1),
            "by_method": {name: round(entry["passes"] / retraining, 3) for name, entry in found.items()},
        },
        "provenance": records.provenance(),
        "methods": {name: entry["settings"] for name, entry in found.items() if entry["settings"] is not None},
        "no_acceptable_setting": {
            name: {"settings": None, "reason": entry["reason"], "runs_with": entry["runs_with"]}
            for name, entry in found.items()
            if entry["settings"] is None
        },
        "kept_default": {name: entry["kept"] for name, entry in found.items() if "kept" in entry},
        "extended": list(extensions),
        "controls": {name: _row(trial) for name, trial in controls.items()},
        "ranges": {name: entry["ranges"] for name, entry in found.items()},
        "trials": {name: [_row(trial) for trial in entry["trials"]] for name, entry in found.items()},
    }


def merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The newer report with the methods of an older one that it does not have, so that tuning can go on method by
    method.

    Raises: ForgetError if they were not made on the same data, draws, seeds and recipe, by the same criterion.
    """
    differ = [key for key in SAME if before.get(key) != now[key]]
    if differ:
        text = f"The settings file was made with another {', '.join(differ)}; leave --add out to replace it."
        raise ForgetError(text)
    kept = set(before["trials"]) - set(now["trials"])
    both = dict(now) | {
        part: {name: entry for name, entry in before.get(part, {}).items() if name in kept} | now[part]
        for part in BY_METHOD
    }
    both["extended"] = [each for each in before["extended"] if each["method"] in kept] + now["extended"]
    by_method = {name: before["cost"]["by_method"][name] for name in kept} | now["cost"]["by_method"]
    seconds = round(before["cost"]["cpu_seconds"] + now["cost"]["cpu_seconds"], 1)
    cost = {"retrainings": round(sum(by_method.values()), 2), "cpu_seconds": seconds, "by_method": by_method}
    return both | {"cost": cost}


def _row(trial: Mapping[str, Any]) -> dict[str, Any]:
    row = {"settings": trial["settings"], "score": trial["score"] if math.isfinite(trial["score"]) else None}
    row |= {"measured": trial["measured"], "relative_cost": trial["relative_cost"]}
    if trial["settings"] != trial["asked"]:
        row["asked"] = trial["asked"]
    return row if trial["status"] == "done" else row | {"status": trial["status"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 1 after a message for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m workflow.tuning", description=(__doc__ or "").split("\n")[0])
    for name in ("dataset", "model"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--request", help="left out with --config: the first of each kind that a scenario has")
    parser.add_argument("--config", type=Path, help="a profile's config")
    parser.add_argument("--scenario", help="name of a scenario of the config; left out: all that have requests")
    parser.add_argument("--recipe", default="{}", help="settings of the training as YAML")
    parser.add_argument("--start", default="local", help="first step of the data chain")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2, help="draws and seeds behind each trial")
    parser.add_argument("--methods", nargs="*", help="left out: all that have a search space")
    parser.add_argument("--add", action="store_true", help="keep the methods that the settings file has already")
    parser.add_argument("--results", type=Path, default=paths.RESULTS / "tuning")
    parser.add_argument("--out", type=Path, help="left out: in workflow/config/settings")
    options = parser.parse_args(arguments)
    try:
        for each in _of_config(options) if options.config is not None else [options]:
            _run(each)
    except ForgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _of_config(options: argparse.Namespace) -> list[argparse.Namespace]:
    """The options of each tuning that the config asks for."""
    if not options.config.is_file():
        raise ForgetError(f"There is no {options.config.name}; ./run_all.sh new config writes one to start from.")
    config, found = read_config(options.config), []
    if options.scenario is not None and options.scenario not in config.scenarios:
        raise unknown("scenario of the config", options.scenario, config.scenarios)
    for name in [options.scenario] if options.scenario else config.scenarios:
        given = config.scenarios[name]
        recipe, start = yaml.safe_dump(given.recipe), given.start or config.start
        same = {"dataset": given.dataset, "model": given.model, "recipe": recipe, "start": start}
        methods = options.methods or [method for method in given.methods if not _free(method)]
        requests = [options.request] if options.request else [request_text(each) for each in given.requests if each]
        first = {parse_request(text).kind: text for text in reversed(requests)}
        common = vars(options) | same | {"methods": methods}
        found += [argparse.Namespace(**common | {"request": request}) for request in first.values()]
    return found


def progress(tunings: int, say: Callable[[str], None] = print) -> Callable[[str], None]:
    """Says a line with the time left; two lines a method make a tuning."""
    begun, done = time.perf_counter(), 0

    def said(line: str) -> None:
        nonlocal done
        done += 1
        spent = time.perf_counter() - begun
        say(f"{line}; {spent:.0f} s, about {spent / done * (2 * tunings - done):.0f} s left")

    return said


def _free(name: str) -> bool:
    return METHODS[name].control or METHODS[name].exact


def _run(options: argparse.Namespace) -> None:
    if options.dataset is None or options.model is None or options.request is None:
        raise ForgetError("--dataset and --model are needed with --request, or --config.")
    common = {"dataset": options.dataset, "model": options.model, "start": options.start, "device": options.device}
    recipe = yaml.safe_load(options.recipe)
    reported = make_scenario(options.results, recipe, (), request=options.request, **common)
    path = options.out or file_to_write(*reported.tuned_for)
    request = tuning_request(reported.parsed, reported.data)
    scenarios = [
        make_scenario(options.results, recipe, (), request=request, draw=DRAW + i, seed=SEED + i, **common)
        for i in range(max(1, options.repeats))
    ]
    spaces = load_spaces(SPACES)
    asked = options.methods or [name for name in list_methods(controls=False) if name in spaces]
    if options.config is not None:
        left_out = [name for name in asked if name not in spaces]
        print(*(f"{name}: left out, it has no ranges to try" for name in left_out), sep="\n", end="\n" * bool(left_out))
        asked = [name for name in asked if name in spaces]
    for name in asked:
        if name not in spaces:
            raise unknown("method with a search space", name, spaces)
    runner = Trials(scenarios, options.results / "trials" / f"{path.stem}.jsonl")
    there = [name for name in CONTROLS if name in METHODS]
    controls = {name: runner.row(name, {}, uncut=True) for name in applicable(scenarios[0], there)}
    names = applicable(scenarios[0], asked)
    own = is_own(options.dataset) or is_own(options.model)
    defaults = {name: defaults_of(scenarios[0], name) for name in names} if own else None
    print(f"tuning {len(names)} methods, {TRIALS + own} trials each, on {request} for {options.request}", flush=True)
    found, extensions = tune_all(runner, names, spaces, progress(len(names)), defaults)
    plain = json.loads(json.dumps(report(scenarios, options.request, found, extensions, controls)))
    if options.add and path.is_file():
        plain = merged(yaml.safe_load(path.read_text(encoding="utf-8")), plain)
    text = yaml.safe_dump(plain, sort_keys=False, width=140)
    write_text(path, "# Written by python -m workflow.tuning; do not edit by hand.\n" + text)
    read_settings.cache_clear()
    print(f"wrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
