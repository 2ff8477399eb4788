"""Chooses settings of methods and writes them, with all trials behind them.

    python -m workflow.tuning --dataset mnist --model mlp --request class:5
        --recipe "{epochs: 10, learning_rate: 0.02}"

tries the settings of workflow/config/tuning/spaces.yaml for each method (see forget_lib/study/tuning.py) and writes the
best to workflow/config/settings/<dataset>-<model>-<kind>.yaml, or, where that one was made on another version of the
data, to a file of their own beside it.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from forget_lib.core import paths
from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.names import public_name
from forget_lib.study import records
from forget_lib.study.chosen import file_to_write
from forget_lib.study.run import make_task, original
from forget_lib.study.scenario import Scenario, make_scenario, public_recipe
from forget_lib.study.tuning import (
    DRAW,
    MOVED,
    SEED,
    SPACES,
    kind_of,
    load_spaces,
    run_trial,
    tune,
    tuning_request,
)
from forget_lib.unlearning import list_methods
from forget_lib.unlearning.registry import why_not_applicable

SAME = ("dataset", "model", "kind", "tuned_on", "draws", "seeds", "checksum", "recipe", "criterion")
"""What two reports of tuning must have in common to stand in one file."""
CONTROLS = ("do_nothing", "mask_logit")


def tune_all(
    scenarios: Sequence[Scenario],
    methods: Sequence[str],
    say: Callable[[str], None] = print,
    spaces: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] | None = None,
) -> dict[str, dict[str, Any]]:
    """`tune` for each method that applies; methods that do not are left out, with the reason said."""
    spaces, kind, found = spaces or load_spaces(), kind_of(scenarios[0].parsed), {}
    for number, name in enumerate(methods, 1):
        task = make_task(scenarios[0], name=name)
        reason = why_not_applicable(name, original(scenarios[0]), task)
        if reason is not None:
            say(f"{number}/{len(methods)} {name}: left out, {reason}")
            continue
        if name not in spaces:
            raise unknown("method with a search space", name, spaces)
        found[name] = tune(name, scenarios, spaces[name][kind])
        scores = ", ".join(f"{trial['score']:.3f}" for trial in found[name]["trials"])
        spent = f"{found[name]['seconds']:.0f} s"
        say(f"{number}/{len(methods)} {name}: {found[name]['settings']} (scores {scores}; {spent})")
    return found


def report(
    scenarios: Sequence[Scenario],
    asked: str,
    found: Mapping[str, Mapping[str, Any]],
    controls: Mapping[str, Any],
    space: str = "spaces",
) -> dict[str, Any]:
    """What goes into the settings file: the choice, what it was made on, its cost, and each trial."""
    first = scenarios[0]
    retraining = first.retraining * len(scenarios)
    return {
        "dataset": public_name(first.dataset),
        "model": public_name(first.model),
        "kind": first.parsed.kind,
        "chosen_for": asked,
        "tuned_on": first.request,
        "space": space,
        "draws": [scenario.draw for scenario in scenarios],
        "seeds": [scenario.seed for scenario in scenarios],
        "source": first.data.source,
        "checksum": first.data.checksum,
        "recipe": public_recipe(dataclasses.asdict(first.recipe)),
        "criterion": "sum of what is measured but probe and moved, lower is better; the probe breaks ties; only "
        f"trials that moved the outputs by {MOVED:g} or more",
        "cost": {
            "retrainings": round(sum(entry["passes"] for entry in found.values()) / retraining, 2),
            "cpu_seconds": round(sum(entry["seconds"] for entry in found.values()), 1),
            "by_method": {name: round(entry["passes"] / retraining, 3) for name, entry in found.items()},
        },
        "provenance": records.provenance(),
        "methods": {name: entry["settings"] for name, entry in found.items() if entry["settings"] is not None},
        "controls": controls,
        "trials": {name: [_row(trial) for trial in entry["trials"]] for name, entry in found.items()},
    }


def merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The newer report with the methods of an older one that it does not have, so that tuning can go on method by
    method; `space` names the methods of another search space.

    Raises: ForgetError if they were not made on the same data, draws, seeds and recipe.
    """
    differ = [key for key in SAME if before.get(key) != now[key]]
    if differ:
        text = f"The settings file was made with another {', '.join(differ)}; leave --add out to replace it."
        raise ForgetError(text)
    named = f"{before['space']}; {now['space']} for {', '.join(now['trials'])}"
    space = now["space"] if before["space"] == now["space"] else named
    both = dict(now) | {"space": space} | {part: {**before[part], **now[part]} for part in ("methods", "trials")}
    kept = set(before["trials"]) - set(now["trials"])
    by_method = {name: before["cost"]["by_method"][name] for name in kept} | now["cost"]["by_method"]
    seconds = round(before["cost"]["cpu_seconds"] + now["cost"]["cpu_seconds"], 1)
    cost = {"retrainings": round(sum(by_method.values()), 2), "cpu_seconds": seconds, "by_method": by_method}
    return both | {"cost": cost}


def _row(trial: Mapping[str, Any]) -> dict[str, Any]:
    measured = {name: round(value, 4) for name, value in trial["measured"].items()}
    row = {"settings": trial["settings"], "score": round(trial["score"], 4) if math.isfinite(trial["score"]) else None}
    row |= {"measured": measured, "relative_cost": round(trial["relative_cost"], 4)}
    if trial["settings"] != trial["asked"]:
        row["asked"] = trial["asked"]
    return row if trial["status"] == "done" else row | {"status": trial["status"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 1 after a message for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m workflow.tuning", description=(__doc__ or "").split("\n")[0])
    for name in ("dataset", "model", "request"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--recipe", default="{}", help="settings of the training as YAML")
    parser.add_argument("--start", default="local", help="first step of the data chain")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2, help="draws and seeds behind each trial")
    parser.add_argument("--methods", nargs="*", help="left out: all that have a search space")
    parser.add_argument("--spaces", default="spaces", help="file in workflow/config/tuning, without .yaml")
    parser.add_argument("--add", action="store_true", help="keep the methods that the settings file has already")
    parser.add_argument("--results", type=Path, default=paths.RESULTS / "tuning")
    parser.add_argument("--out", type=Path, help="left out: in workflow/config/settings")
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except ForgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    common = {"dataset": options.dataset, "model": options.model, "start": options.start, "device": options.device}
    recipe = yaml.safe_load(options.recipe)
    reported = make_scenario(options.results, recipe, (), request=options.request, **common)
    request = tuning_request(reported.parsed, reported.data)
    scenarios = [
        make_scenario(options.results, recipe, (), request=request, draw=DRAW + i, seed=SEED + i, **common)
        for i in range(max(1, options.repeats))
    ]
    spaces = load_spaces(SPACES / f"{options.spaces}.yaml")
    names = options.methods or [name for name in list_methods(controls=False) if name in spaces]
    found, controls = tune_all(scenarios, names, spaces=spaces), {}
    for name in CONTROLS:
        trial = run_trial(scenarios[0], name, {})
        if trial["measured"]:
            controls[name] = {"score": round(trial["score"], 4), "measured": _row(trial | {"asked": {}})["measured"]}
    path = options.out or file_to_write(*reported.tuned_for)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(report(scenarios, options.request, found, controls, options.spaces)))
    if options.add and path.is_file():
        plain = merged(yaml.safe_load(path.read_text(encoding="utf-8")), plain)
    text = yaml.safe_dump(plain, sort_keys=False, width=140)
    path.write_text("# Written by python -m workflow.tuning; do not edit by hand.\n" + text)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
