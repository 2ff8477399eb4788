"""Settings of methods, chosen fairly: as many trials for each, on data and seeds that no reported number uses.

The forget set is another draw (for classes another class), the originals have other seeds, and neither test nor unseen
samples nor a retrained model are looked at. `python -m workflow.tuning` writes the choice to workflow/config/settings.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
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

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets import ImageData
from forget_lib.datasets.requests import Request, class_index, request_for
from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, embed, predict
from forget_lib.statistics.scores import phi
from forget_lib.study.run import make_task, original
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, unlearn
from forget_lib.unlearning.registry import check_settings

SPACES = REPOSITORY / "workflow" / "config" / "tuning"
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
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "passes" and value > self.limit:
            raise OverBudgetError


def kind_of(request: Request) -> str:
    """ "class" where the class is to be gone, else "subset"."""
    return "class" if request.kind == "class" else "subset"


def load_spaces(path: Path = SPACES / "spaces.yaml") -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Settings to try, by method and kind of request: `TRIALS` each, checked against the registry."""
    spaces = yaml.safe_load(path.read_text())
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
    if request.kind == "class" and request.count is None:
        asked = [class_index(data, member) for member in request.members]
        others = [(asked[0] + shift) % len(data.classes) for shift in range(1, len(data.classes))]
        free = [data.classes[index] for index in others if index not in asked]
        if len(free) < len(asked):
            raise ForgetError(f"{request.name}: there are too few other classes in {data.name} to tune on.")
        return request_for(data, "class", free[: len(asked)])
    if request.kind in ("class", "person", "family"):  # other draws take others
        return f"{request.kind}:*{request.count or len(request.members)}"
    if request.kind == "official":
        if data.official is None or data.families is None:
            raise ForgetError(f"{data.name} has no published list of families; ask for a person or random:0.1.")
        return f"family:*{len(data.families[data.official].unique())}"
    fraction = request.fraction or min(0.5, len(request.members) / len(data.labels))
    return f"{'mislabelled' if request.kind == 'mislabelled' else 'random'}:{fraction:.3g}"


def measure(model: nn.Module, before: nn.Module, scenario: Scenario) -> dict[str, float]:
    """What the criterion looks at (EVALUATION 5 A), each 0 at best but for `moved`; forget and validation samples only.

    A class: `recall` and mean softmax `mass` of the forgotten classes on validation images of these classes, and the
    `loss` of validation accuracy on the others; `probe`, the recall of a linear probe of the features, only breaks
    ties. A subset: differences between forget samples and validation samples of the same classes in `accuracy` and
    in the distribution of the margin (`distance`, Kolmogorov-Smirnov), the same `loss`, and `attack`, |2 AUC - 1| of
    the margin. Both: `moved`, how far the outputs are from those of `before`, the original (see `moved_share`).
    """
    validation = scenario.samples["validation"]
    old, new, labels = predict(before, validation), predict(model, validation), validation.labels.cpu()
    if kind_of(scenario.parsed) == "class":
        gone = torch.isin(labels, torch.tensor(scenario.classes))
        mass = new[gone].softmax(1)[:, list(scenario.classes)].sum(1).mean()
        found = {"recall": _right(new[gone], labels[gone]), "mass": float(mass)}
        found["loss"] = max(0.0, _right(old[~gone], labels[~gone]) - _right(new[~gone], labels[~gone]))
        found["probe"] = _probe(model, scenario, validation.subset(gone.to(validation.labels.device)))
    else:
        samples = (scenario.samples["forget"], _alike(scenario))
        forget, alike = (phi(predict(model, part).numpy(), part.labels.cpu().numpy()) for part in samples)
        truth = np.repeat([1, 0], [len(forget), len(alike)])
        area = float(roc_auc_score(truth, np.concatenate([forget, alike])))
        found = {"accuracy": abs(float((forget > 0).mean()) - float((alike > 0).mean()))}
        found |= {"distance": float(ks_2samp(forget, alike).statistic), "attack": abs(2 * area - 1)}
        found["loss"] = max(0.0, _right(old, labels) - _right(new, labels))
    return found | {"moved": moved_share(old, new)}


def moved_share(before: Tensor, after: Tensor) -> float:
    """How much logits [N, K] of the same images changed, beyond one constant for each class (whoever adds it undoes
    that): root mean square of the centred difference, as a share of the centred logits of before."""
    change, size = after - before, before - before.mean(0)
    return float((change - change.mean(0)).norm() / size.norm())


def score(measured: Mapping[str, float]) -> float:
    """Sum of all that `measure` found but the probe and `moved`; lower is better."""
    return sum(value for name, value in measured.items() if name not in ("probe", "moved"))


def choose(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """Position of the trial to take: the lowest score, and among scores within `TIE` of it the lowest probe; None if
    none ran. Trials whose outputs are the original's, but for a constant a class, are no candidates."""
    able = [trial["measured"].get("moved", math.inf) >= MOVED for trial in trials]
    ran = [index for index, trial in enumerate(trials) if able[index] and math.isfinite(trial["score"])]
    if not ran:
        return None
    best = min(trials[index]["score"] for index in ran)
    near = [index for index in ran if trials[index]["score"] <= best + TIE]
    return min(near, key=lambda index: (trials[index]["measured"].get("probe", 0.0), trials[index]["score"]))


def _right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def _probe(model: nn.Module, scenario: Scenario, here: Samples) -> float:
    """Recall on validation images of the forgotten classes by a linear probe, trained on part of the training set."""
    trained = scenario.samples["trained"]
    chosen = torch.randperm(len(trained), generator=torch.Generator().manual_seed(0))[:PROBE_SIZE]
    part = trained.subset(chosen.to(trained.labels.device))
    fitted = make_pipeline(StandardScaler(), RidgeClassifier()).fit(embed(model, part), part.labels.cpu())
    return float((fitted.predict(embed(model, here)) == here.labels.cpu().numpy()).mean())


def _alike(scenario: Scenario) -> Samples:
    """Validation samples of the classes in the forget set, mislabelled the same way where that is the request."""
    validation, forget = scenario.samples["validation"], scenario.samples["forget"]
    if scenario.parsed.kind != "mislabelled":
        return validation.subset(torch.isin(validation.labels, forget.labels.unique()))
    classes, generator = len(scenario.data.classes), torch.Generator().manual_seed(scenario.draw)
    shift = torch.randint(1, classes, (len(validation),), generator=generator).to(validation.labels.device)
    return validation.with_labels((validation.labels + shift) % classes)


def _note(done: list[int], epoch: int, _model: nn.Module) -> None:
    done.append(epoch)


def run_trial(scenario: Scenario, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One trial on one scenario: settings as run, what was measured, the score (infinite if it failed) and the cost.
    A trial that passes its budget is run again with as many epochs as fit; `passes` counts both."""
    before = original(scenario)
    settings, spent, seconds = dict(settings), 0, 0.0
    while True:
        done = [0]
        meter, begun = BudgetMeter(BUDGET * scenario.retraining), time.process_time()
        task = make_task(scenario, on_epoch=partial(_note, done), name=name)
        status, model = "done", None
        try:
            model = unlearn(name, before, dataclasses.replace(task, meter=meter), **settings)
        except OverBudgetError:
            status = "over budget"
        except ForgetError as error:
            status = f"failed: {error}"
        spent, seconds = spent + meter.passes, seconds + time.process_time() - begun
        fits = min(max(done), (settings.get("epochs") or scenario.recipe.epochs) - 1)
        if status != "over budget" or "epochs" not in settings or fits < 1:
            break
        settings["epochs"] = fits
    measured = {} if model is None else measure(model, before, scenario)
    trial: dict[str, Any] = {"settings": settings, "status": status, "measured": measured}
    trial["score"] = score(measured) if measured else math.inf
    return trial | {"relative_cost": meter.passes / scenario.retraining, "passes": spent, "seconds": seconds}


def tune(name: str, scenarios: Sequence[Scenario], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs the trials of a method on all scenarios. Returns: "settings" of the best (None if none ran), "trials" (means
    over the scenarios), "passes" and "seconds" spent."""
    entry = get_method(name)
    if entry.control or entry.exact:
        raise ForgetError(f"{name} is {'a control' if entry.control else 'exact'}: there is nothing to tune.")
    rows = []
    for settings in trials:
        runs = [run_trial(scenario, name, settings) for scenario in scenarios]
        failed = [run["status"] for run in runs if run["status"] != "done"]
        # Rounded before the choice, so that the choice follows from what is written.
        names = () if failed else runs[0]["measured"]
        row: dict[str, Any] = {
            key: round(float(np.mean([run[key] for run in runs])), 4) for key in ("score", "relative_cost")
        }
        row["measured"] = {key: round(float(np.mean([run["measured"][key] for run in runs])), 4) for key in names}
        row |= {key: sum(run[key] for run in runs) for key in ("passes", "seconds")}
        row["settings"] = min(runs, key=lambda run: run["settings"].get("epochs", 0))["settings"]
        rows.append(row | {"asked": dict(settings), "status": failed[0] if failed else "done"})
    best = choose(rows)
    spent = {key: sum(row[key] for row in rows) for key in ("passes", "seconds")}
    return {"settings": None if best is None else rows[best]["settings"], "trials": rows, **spent}
