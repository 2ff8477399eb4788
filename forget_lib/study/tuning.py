"""Settings of methods, chosen fairly: as many trials for each, on data and seeds that no reported number uses.

    python -m forget_lib.study.tuning --dataset mnist --model mlp --request class:5
        --recipe "{epochs: 10, learning_rate: 0.02}"

tries the settings of workflow/config/tuning/spaces.yaml for each method and writes the best, and all trials behind
it, to workflow/config/settings/<dataset>-<model>-<kind>.yaml, or, where that one was made on another version of the
data, to a file of their own beside it. The forget set is another draw (for classes another
class), the originals have other seeds, and neither test nor unseen samples nor a retrained model are looked at.
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

import numpy as np
import torch
import yaml
from scipy.stats import ks_2samp
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from forget_lib.core import paths
from forget_lib.core.errors import DivergedError, ForgetError, NotApplicableError, unknown
from forget_lib.core.names import public_name
from forget_lib.datasets import ImageData
from forget_lib.datasets.requests import Request, class_index, request_for
from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, embed, predict
from forget_lib.statistics.scores import phi
from forget_lib.study import records
from forget_lib.study import run as study
from forget_lib.study.chosen import file_to_write
from forget_lib.study.scenario import public_recipe
from forget_lib.unlearning import get_method, list_methods, unlearn
from forget_lib.unlearning.registry import check_settings, why_not_applicable

CONFIG = paths.REPOSITORY / "workflow" / "config"
TRIALS = 6
BUDGET = 0.2  # sample passes of a trial, in retrainings
TIE = 0.02  # scores nearer than this to the best are ties
MOVED = 0.01  # outputs that changed by less than this share, but for a constant a class, are the original's
DRAW, SEED = 100, 100  # first draw and seed of tuning; reported ones start at 0
PROBE_SIZE = 2000


class OverBudgetError(Exception):
    """A trial used up its sample passes."""


class BudgetMeter(Meter):
    """A meter that stops a method as soon as it has used more than `limit` sample passes."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._passes = 0
        super().__init__()

    @property
    def passes(self) -> int:
        """Sample passes so far."""
        return self._passes

    @passes.setter
    def passes(self, value: int) -> None:
        self._passes = value
        if value > self.limit:
            raise OverBudgetError


def kind_of(request: Request) -> str:
    """ "class" where the class is to be gone, else "subset"."""
    return "class" if request.removes_class else "subset"


def load_spaces(path: Path | None = None) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Settings to try, by method and kind of request; each is checked against the registry.

    Raises: ForgetError for an unknown method or setting, or another number of trials than `TRIALS`.
    """
    spaces = yaml.safe_load((path or CONFIG / "tuning" / "spaces.yaml").read_text())
    for name, kinds in spaces.items():
        for kind, trials in kinds.items():
            if len(trials) != TRIALS:
                raise ForgetError(f"{name}, {kind}: {len(trials)} trials; every method gets {TRIALS}.")
            for settings in trials:
                check_settings(name, settings)
    return spaces


def tuning_request(request: Request, data: ImageData) -> str:
    """The request to tune on: other classes (each the next one not asked for), or another draw of the same kind
    and size; for a published list, as many families as it names."""
    if request.kind == "class":
        if request.count is not None:  # other draws take other classes
            return f"class:*{request.count}"
        asked = [class_index(data, member) for member in request.members]
        others = [(asked[0] + shift) % len(data.classes) for shift in range(1, len(data.classes))]
        free = [data.classes[index] for index in others if index not in asked][: len(asked)]
        if len(free) < len(asked) or len(free) + len(asked) > len(data.classes):
            raise ForgetError(f"{request.name}: there are too few other classes in {data.name} to tune on.")
        return request_for(data, "class", free)
    if request.kind in ("person", "family"):
        return f"{request.kind}:*{request.count or len(request.members)}"
    if request.kind == "official":
        if data.official is None or data.families is None:
            raise ForgetError(f"{data.name} has no published list of families; ask for a person or random:0.1.")
        return f"family:*{len(data.families[data.official].unique())}"
    fraction = request.fraction or min(0.5, len(request.members) / len(data.labels))
    return f"{'mislabelled' if request.kind == 'mislabelled' else 'random'}:{fraction:.3g}"


def measure(model: nn.Module, original: nn.Module, scenario: study.Scenario) -> dict[str, float]:
    """What the criterion looks at (EVALUATION 5 A), each 0 at best but for `moved`; forget and validation samples only.

    A class: `recall` and mean softmax `mass` of the forgotten classes on validation images of these classes, and the
    `loss` of validation accuracy on the others; `probe`, the recall of a linear probe of the features, only breaks
    ties. A subset: differences between forget samples and validation samples of the same classes in `accuracy` and
    in the distribution of the margin (`distance`, Kolmogorov-Smirnov), the same `loss`, and `attack`, |2 AUC - 1| of
    the margin. Both: `moved`, how far the outputs are from the original's (see `moved_share`).
    """
    validation = scenario.samples["validation"]
    before, after, labels = predict(original, validation), predict(model, validation), validation.labels.cpu()
    moved = {"moved": moved_share(before, after)}
    if scenario.parsed.removes_class:
        gone = torch.isin(labels, torch.tensor(scenario.classes))
        probabilities = after[gone].softmax(1)[:, list(scenario.classes)]
        found = {"recall": _right(after[gone], labels[gone]), "mass": float(probabilities.sum(1).mean())}
        found |= {"loss": max(0.0, _right(before[~gone], labels[~gone]) - _right(after[~gone], labels[~gone]))}
        return found | {"probe": _probe(model, scenario, validation.subset(gone.to(validation.labels.device)))} | moved
    forget, alike = scenario.samples["forget"], _alike(scenario)
    margins = [phi(predict(model, samples).numpy(), samples.labels.cpu().numpy()) for samples in (forget, alike)]
    shares = [float((margin > 0).mean()) for margin in margins]
    truth = np.repeat([1, 0], [len(margin) for margin in margins])
    attack = abs(2 * float(roc_auc_score(truth, np.concatenate(margins))) - 1)
    distance = float(ks_2samp(*margins).statistic)
    found = {"accuracy": abs(shares[0] - shares[1]), "distance": distance, "attack": attack}
    return found | {"loss": max(0.0, _right(before, labels) - _right(after, labels))} | moved


def moved_share(before: Tensor, after: Tensor) -> float:
    """How much logits [N, K] of the same images changed, beyond one constant for each class: root mean square over the
    images of the centred difference, as a share of the centred logits of before; 0 for an added constant.

    Whoever can add a constant to a logit undoes what is not more than that, so it has forgotten nothing.
    """
    change, size = after - before, before - before.mean(0)
    return float((change - change.mean(0)).norm() / size.norm())


def score(measured: Mapping[str, float]) -> float:
    """Sum of all that `measure` found but the probe and `moved`; lower is better."""
    return sum(value for name, value in measured.items() if name not in ("probe", "moved"))


def choose(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """Position of the trial to take: the lowest score, and among scores within `TIE` of it the lowest probe; None
    if none ran.

    Trials whose outputs are the original's, but for a constant a class, are no candidates whatever they score: such
    are doing nothing and masking a logit.
    """
    able = [trial["measured"].get("moved", math.inf) >= MOVED for trial in trials]
    ran = [index for index, trial in enumerate(trials) if able[index] and math.isfinite(trial["score"])]
    if not ran:
        return None
    best = min(trials[index]["score"] for index in ran)
    near = [index for index in ran if trials[index]["score"] <= best + TIE]
    return min(near, key=lambda index: (trials[index]["measured"].get("probe", 0.0), trials[index]["score"]))


def _right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def _probe(model: nn.Module, scenario: study.Scenario, here: Samples) -> float:
    """Recall on validation images of the forgotten classes by a linear probe, trained on part of the training set."""
    trained = scenario.samples["trained"]
    chosen = torch.randperm(len(trained), generator=torch.Generator().manual_seed(0))[:PROBE_SIZE]
    part = trained.subset(chosen.to(trained.labels.device))
    fitted = make_pipeline(StandardScaler(), RidgeClassifier()).fit(embed(model, part), part.labels.cpu())
    return float((fitted.predict(embed(model, here)) == here.labels.cpu().numpy()).mean())


def _alike(scenario: study.Scenario) -> Samples:
    """Validation samples of the classes in the forget set, mislabelled the same way where that is the request."""
    validation, forget = scenario.samples["validation"], scenario.samples["forget"]
    if scenario.parsed.kind != "mislabelled":
        return validation.subset(torch.isin(validation.labels, forget.labels.unique()))
    classes, generator = len(scenario.data.classes), torch.Generator().manual_seed(scenario.draw)
    shift = torch.randint(1, classes, (len(validation),), generator=generator).to(validation.labels.device)
    return validation.with_labels((validation.labels + shift) % classes)


def run_trial(scenario: study.Scenario, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One trial on one scenario: the settings as run, what was measured, the score (infinite if it failed) and the
    cost.

    A trial that passes its budget is run again with as many epochs as fit; `passes` counts both.
    """
    original, retraining = study.original(scenario), 3 * scenario.recipe.epochs * len(scenario.samples["retain"])
    settings, spent, seconds = dict(settings), 0, 0.0
    while True:
        done: list[int] = [0]
        meter, begun = BudgetMeter(BUDGET * retraining), time.process_time()
        task = study.make_task(scenario, on_epoch=lambda epoch, _, done=done: done.append(epoch), name=name)
        status, model = "done", None
        try:
            model = unlearn(name, original, dataclasses.replace(task, meter=meter), **settings)
        except OverBudgetError:
            status = "over budget"
        except (DivergedError, NotApplicableError, ForgetError) as error:
            status = f"failed: {error}"
        spent, seconds = spent + meter.passes, seconds + time.process_time() - begun
        asked = settings.get("epochs") or scenario.recipe.epochs
        fits = min(max(done), asked - 1)
        if status != "over budget" or "epochs" not in settings or fits < 1:
            break
        settings["epochs"] = fits
    measured = measure(model, original, scenario) if model is not None else {}
    value = score(measured) if measured else math.inf
    cost = {"relative_cost": meter.passes / retraining, "passes": spent, "seconds": seconds}
    return {"settings": settings, "status": status, "measured": measured, "score": value, **cost}


def tune(name: str, scenarios: Sequence[study.Scenario], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs the trials of a method on all scenarios.

    Returns: "settings" of the best (None if none ran), "trials" (means over the scenarios), "passes" and "seconds"
    spent.
    Raises: ForgetError for a control or an exact method, which have nothing to tune.
    """
    entry = get_method(name)
    if entry.control or entry.exact:
        raise ForgetError(f"{name} is {'a control' if entry.control else 'exact'}: there is nothing to tune.")
    rows = []
    for settings in trials:
        runs = [run_trial(scenario, name, settings) for scenario in scenarios]
        failed = [run["status"] for run in runs if run["status"] != "done"]
        names = () if failed else runs[0]["measured"]
        # Rounded before the choice, so that the choice follows from what is written.
        measured = {key: round(float(np.mean([run["measured"][key] for run in runs])), 4) for key in names}
        mean = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in ("score", "relative_cost")}
        total = {key: sum(run[key] for run in runs) for key in ("passes", "seconds")}
        fewest = min(runs, key=lambda run: run["settings"].get("epochs", 0))["settings"]
        row = {"asked": dict(settings), "settings": fewest, "status": failed[0] if failed else "done"}
        rows.append(row | {"measured": measured, **mean, **total})
    best = choose(rows)
    spent = {key: sum(row[key] for row in rows) for key in ("passes", "seconds")}
    return {"settings": None if best is None else rows[best]["settings"], "trials": rows, **spent}


def tune_all(
    scenarios: Sequence[study.Scenario],
    methods: Sequence[str],
    say: Callable[[str], None] = print,
    spaces: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] | None = None,
) -> dict[str, dict[str, Any]]:
    """`tune` for each method that applies; methods that do not are left out, with the reason said."""
    spaces, kind, found = spaces or load_spaces(), kind_of(scenarios[0].parsed), {}
    for number, name in enumerate(methods, 1):
        task = study.make_task(scenarios[0], name=name)
        reason = why_not_applicable(name, study.original(scenarios[0]), task)
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
    scenarios: Sequence[study.Scenario],
    asked: str,
    found: Mapping[str, Mapping[str, Any]],
    controls: Mapping[str, Any],
    space: str = "spaces",
) -> dict[str, Any]:
    """What goes into the settings file: the choice, what it was made on, its cost, and each trial."""
    first = scenarios[0]
    retraining = 3 * first.recipe.epochs * len(first.samples["retain"]) * len(scenarios)
    about = {
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
    }
    return about | {"controls": controls, "trials": {name: [_row(t) for t in e["trials"]] for name, e in found.items()}}


SAME = ("dataset", "model", "kind", "tuned_on", "draws", "seeds", "checksum", "recipe", "criterion")
"""What two reports of tuning must have in common to stand in one file."""


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
    parser = argparse.ArgumentParser(
        prog="python -m forget_lib.study.tuning", description=(__doc__ or "").split("\n")[0]
    )
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
    reported = study.make_scenario(options.results, recipe, (), request=options.request, **common)
    request = tuning_request(reported.parsed, reported.data)
    scenarios = [
        study.make_scenario(options.results, recipe, (), request=request, draw=DRAW + i, seed=SEED + i, **common)
        for i in range(max(1, options.repeats))
    ]
    spaces = load_spaces(CONFIG / "tuning" / f"{options.spaces}.yaml")
    names = options.methods or [name for name in list_methods(controls=False) if name in spaces]
    found, controls = tune_all(scenarios, names, spaces=spaces), {}
    for name in ("do_nothing", "mask_logit"):
        trial = run_trial(scenarios[0], name, {})
        if trial["measured"]:
            controls[name] = {"score": round(trial["score"], 4), "measured": _row(trial | {"asked": {}})["measured"]}
    path = options.out or file_to_write(*reported.tuned_for)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(report(scenarios, options.request, found, controls, options.spaces)))
    if options.add and path.is_file():
        plain = merged(yaml.safe_load(path.read_text(encoding="utf-8")), plain)
    text = yaml.safe_dump(plain, sort_keys=False, width=140)
    path.write_text("# Written by python -m forget_lib.study.tuning; do not edit by hand.\n" + text)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
