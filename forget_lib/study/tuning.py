"""Settings of methods, chosen fairly: as many trials for each, on data and seeds that no reported number uses.

The forget set is another draw (for classes another class), the originals have other seeds, and neither test nor unseen
samples nor a retrained model are looked at. `python -m workflow.tuning` writes the choice to workflow/config/settings.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from scipy.stats import ks_2samp, qmc
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import CONFIG
from forget_lib.datasets import ImageData
from forget_lib.datasets.requests import Request, class_index, request_for
from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter, embed, predict
from forget_lib.statistics.rules import PLACEBOS
from forget_lib.statistics.scores import phi
from forget_lib.study import records
from forget_lib.study.run import make_task, original
from forget_lib.study.scenario import Scenario, describe, seed_of
from forget_lib.unlearning import get_method, unlearn
from forget_lib.unlearning.registry import check_settings, setting_faults, why_not_applicable

SPACES = CONFIG / "tuning" / "spaces.yaml"
DRAWS = (8, 4)
"""Settings drawn for each method: before its ranges may be extended, and after."""
TRIALS = 1 + sum(DRAWS)
"""Trials of each method: the authors' settings, then those drawn."""
EDGE = 1 / 8
"""Outer part of a range, on its logarithmic scale, in which a best value asks for a wider range."""
NEAR_ONE = 0.99
"""Above this, as a weight of two losses, a value is told apart by its distance to 1."""
WIDER, WIDER_WHOLE = 10.0, 2
"""Factors by which a range is extended, once: of decimals, and of whole numbers."""
BUDGET = 0.2
"""Sample passes of a trial, in retrainings."""
LOSS = 0.02
"""Validation accuracy on what is kept that settings may lose against the original."""
TIE = 0.02
"""Scores nearer than this to the best are ties."""
MOVED = 0.01
"""Outputs that changed by less than this share, but for a constant a class, are the original's."""
ALIKE = 1.5
"""Largest ratio of the sizes of the class that is tuned on and of the one asked for, where there is such a class."""
PROBED = 200
"""Validation images of a class below which a probe of a user's own data breaks no tie."""
DRAW, SEED = 100, 100
"""First draw and seed of tuning; reported ones start at 0."""
PROBE_SIZE = 2000
SCORED = ("recall", "mass", "accuracy", "distance", "attack")
"""What is measured and summed to the score; the rest are conditions and what breaks ties."""
CRITERION = (
    f"lowest {' + '.join(SCORED[:2])} (a class) or {' + '.join(SCORED[2:])} (a subset) of the trials that stay within "
    f"the budget, move the outputs by {MOVED:g} or more, lose at most {LOSS:g} of validation accuracy on what is kept "
    f"and score better than doing nothing; within {TIE:g} of the best the lowest probe (a class), then the lowest loss"
)


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


@dataclasses.dataclass(frozen=True)
class Space:
    """What is tried for a method and a kind of request: the authors' settings, and ranges of some of them.

    A range is [low, high], drawn log-uniformly (whole numbers where both ends are), or a list of words, drawn evenly.
    One that comes nearer to 1 than `NEAR_ONE` is drawn log-uniformly in its distance to 1.
    """

    authors: Mapping[str, Any]
    ranges: Mapping[str, Sequence[Any]]

    def draws(self, name: str, part: int) -> list[dict[str, Any]]:
        """The settings of part 0 or 1 of `DRAWS`, a Latin hypercube; always the same for a method of this name."""
        cube = qmc.LatinHypercube(len(self.ranges), rng=seed_of("trials", name, part)).random(DRAWS[part])
        return [
            {**self.authors, **{key: _at(self.ranges[key], float(u)) for key, u in zip(self.ranges, row, strict=True)}}
            for row in cube
        ]

    def edges(self, settings: Mapping[str, Any]) -> list[tuple[str, int]]:
        """The ends of ranges that settings lie at, each as the setting's name and 0 (low) or 1 (high)."""
        found = []
        for key, ends in self.ranges.items():
            if not _numeric(ends) or settings.get(key, 0) <= 0:
                continue
            place = _place(settings[key], ends)
            if not EDGE < place < 1 - EDGE:
                found.append((key, int(place > 0.5)))
        return found

    def extended(self, name: str, edges: Iterable[tuple[str, int]]) -> "Space":
        """The space of method `name` with these ends moved outwards, as far as the method takes such a setting."""
        ranges = {key: list(ends) for key, ends in self.ranges.items()}
        for key, end in edges:
            if key not in ranges:
                continue
            whole = all(isinstance(value, int) for value in ranges[key])
            factor = WIDER_WHOLE if whole else WIDER
            value = ranges[key][end] * factor if end else ranges[key][end] / factor
            if end and _near_one(ranges[key]):
                value = 1 - (1 - ranges[key][end]) / factor
            value = int(value) if whole else float(f"{value:.6g}")
            if value > 0 and not setting_faults(name, {key: value}):
                ranges[key][end] = value
        return dataclasses.replace(self, ranges=ranges)


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _near_one(ends: Sequence[Any]) -> bool:
    return NEAR_ONE < ends[1] < 1


def _place(value: float, ends: Sequence[float]) -> float:
    """Where a value lies in a range, from 0 to 1, on the scale on which it is drawn."""
    low, high = ends
    if _near_one(ends):
        return math.log((1 - value) / (1 - low)) / math.log((1 - high) / (1 - low))
    return math.log(value / low) / math.log(high / low)


def _at(values: Sequence[Any], u: float) -> Any:
    """The value at u, from 0 to 1, of a range or a list of words."""
    if not _numeric(values):
        return values[int(u * len(values))]
    low, high = values
    if _near_one(values):
        return float(f"{1 - (1 - low) * ((1 - high) / (1 - low)) ** u:.4g}")
    if isinstance(low, int) and isinstance(high, int):  # each whole number is the middle of its own part
        low, high = low - 0.5, high + 0.5
        return round(low * (high / low) ** u)
    return float(f"{low * (high / low) ** u:.3g}")


def load_spaces(path: Path = SPACES) -> dict[str, dict[str, Space]]:
    """What is tried, by method and kind of request ("class", "subset"), checked against the registry.

    Raises: ForgetError for settings that a method does not take, and for a range without the authors' value.
    """
    spaces = {
        name: {kind: Space(**given) for kind, given in kinds.items()}
        for name, kinds in yaml.safe_load(path.read_text(encoding="utf-8")).items()
    }
    for name, kinds in spaces.items():
        for kind, space in kinds.items():
            check_settings(name, space.authors)
            defaults = get_method(name).settings
            for key, values in space.ranges.items():
                for value in values:
                    check_settings(name, {key: value})
                authors = space.authors.get(key, defaults[key])
                inside = values[0] <= authors <= values[1] if _numeric(values) else authors in values
                if not inside and authors != 0:  # 0 stands for as much as there is
                    raise ForgetError(
                        f"{name}, {kind}: the range of {key} is {values}, without the authors' {authors}."
                    )
    return spaces


def trials_of(name: str, space: Space) -> list[dict[str, Any]]:
    """The authors' settings, then all draws from ranges as they are."""
    return [dict(space.authors), *space.draws(name, 0), *space.draws(name, 1)]


def tuning_request(request: Request, data: ImageData) -> str:
    """The request to tune on: other classes (each the next one not asked for of about the same size, else those nearest
    in size), or another draw of the same kind and size; for a published list, as many families as it names."""
    if request.kind == "class" and request.count is None:
        asked = [class_index(data, member) for member in request.members]
        others = [(asked[0] + shift) % len(data.classes) for shift in range(1, len(data.classes))]
        free = [index for index in others if index not in asked]
        if len(free) < len(asked):
            raise ForgetError(f"{request.name}: there are too few other classes in {data.name} to tune on.")
        sizes = torch.bincount(data.labels.cpu(), minlength=len(data.classes)).clamp(min=1).double().log()
        ratios = (sizes - sizes[asked].mean()).abs()
        alike = [index for index in free if ratios[index] <= math.log(ALIKE)]
        if len(alike) < len(asked):
            alike = sorted(free, key=lambda index: float(ratios[index]))
        return request_for(data, "class", [data.classes[index] for index in alike[: len(asked)]])
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
    """Sum of what `measure` found of `SCORED`; lower is better."""
    return sum(measured[name] for name in SCORED if name in measured)


def objection(trial: Mapping[str, Any], nothing: float) -> str:
    """Why the settings of a trial cannot be taken, empty where they can. nothing: the score of doing nothing."""
    measured = trial["measured"]
    if trial.get("status", "done") != "done":
        return str(trial["status"])
    if measured["moved"] < MOVED:
        return "leaves the outputs as they are, but for a constant a class"
    if measured["loss"] > LOSS:
        return f"loses {100 * measured['loss']:.1f} points of validation accuracy on what is kept"
    if trial["score"] >= nothing:
        return f"scores {trial['score']:.3f}, no better than doing nothing ({nothing:.3f})"
    return ""


def choose(trials: Sequence[Mapping[str, Any]], nothing: float) -> int | None:
    """Position of the trial to take, see `CRITERION`; None where there is an objection to each."""
    able = [index for index, trial in enumerate(trials) if not objection(trial, nothing)]
    if not able:
        return None
    best = min(trials[index]["score"] for index in able)
    near = [index for index in able if trials[index]["score"] <= best + TIE]

    def preference(index: int) -> tuple[float, float, float]:
        measured = trials[index]["measured"]
        return measured.get("probe", 0.0), measured["loss"], trials[index]["score"]

    return min(near, key=preference)


def nearest(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """Position of the trial that a method runs with where none can be taken: within the budget, and with the lowest
    score and loss together; None where none ran."""
    ran = [index for index, trial in enumerate(trials) if trial.get("status", "done") == "done"]
    return min(ran, key=lambda index: trials[index]["score"] + trials[index]["measured"]["loss"], default=None)


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


def run_trial(
    scenario: Scenario, name: str, settings: Mapping[str, Any], *, uncut: bool = False, most: int | None = None
) -> dict[str, Any]:
    """One trial on one scenario: settings as run, what was measured, the score (infinite if it failed) and the cost.

    A trial that passes its budget is run again with as many epochs as fit; `passes` counts both. With `uncut` it is run
    to its end, measured, and its status is "over budget" where it is. most: epochs that are known to fit.
    """
    before = original(scenario)
    settings, spent, seconds = dict(settings), 0, 0.0
    if most is not None and not uncut and "epochs" in settings:
        settings["epochs"] = min(settings["epochs"], most)
    limit = BUDGET * scenario.retraining
    while True:
        done = [0]
        meter, begun = BudgetMeter(math.inf if uncut else limit), time.process_time()
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
    if status == "done" and meter.passes > limit:
        status = "over budget"
    measured = {} if model is None else measure(model, before, scenario)
    trial: dict[str, Any] = {"settings": settings, "status": status, "measured": measured}
    trial["score"] = score(measured) if measured else math.inf
    return trial | {"relative_cost": meter.passes / scenario.retraining, "passes": spent, "seconds": seconds}


class Trials:
    """Runs trials on scenarios and keeps each in a file (JSON lines), so that a tuning that was stopped goes on."""

    def __init__(self, scenarios: Sequence[Scenario], log: Path | None = None) -> None:
        self.scenarios, self.log = scenarios, log
        self.known: dict[str, dict[str, Any]] = {}
        self.fits: dict[
            str, int
        ] = {}  # epochs within the budget, by method and the settings that an epoch's cost hangs on
        self.about = [describe(scenario) | {"request": scenario.request} for scenario in scenarios]
        if log is not None and log.is_file():
            for line in log.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # the last line of a run that was killed may be cut
                    entry = json.loads(line)
                    self.known[entry["key"]] = entry["row"]

    def row(self, name: str, settings: Mapping[str, Any], *, uncut: bool = False) -> dict[str, Any]:
        """One trial as means over the scenarios, with the settings that were `asked` for and those that ran."""
        code = [records.code_of(get_method(name)), *self.scenarios[0].own_code]
        key = records.key_of(about=self.about, name=name, settings=settings, uncut=uncut, code=code, rule=CRITERION)
        if key not in self.known:
            self.known[key] = self._run(name, settings, uncut)
            if self.log is not None:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                with self.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "method": name, "row": self.known[key]}) + "\n")
        return self.known[key]

    def nothing(self) -> float:
        """The score of doing nothing."""
        return self.row("do_nothing", {})["score"]

    def _run(self, name: str, settings: Mapping[str, Any], uncut: bool) -> dict[str, Any]:
        cost = {key: value for key, value in settings.items() if key != "epochs" and not isinstance(value, float)}
        same = json.dumps([name, cost], sort_keys=True)
        most = self.fits.get(same)
        runs = [run_trial(scenario, name, settings, uncut=uncut, most=most) for scenario in self.scenarios]
        epochs = min(run["settings"].get("epochs", 0) for run in runs)
        if not uncut and 0 < epochs < settings.get("epochs", 0):
            self.fits[same] = epochs
        not_done = [run["status"] for run in runs if run["status"] != "done"]
        without = any(not run["measured"] for run in runs)
        # Rounded before the choice, so that the choice follows from what is written.
        row: dict[str, Any] = {
            key: round(float(np.mean([run[key] for run in runs])), 4) for key in ("score", "relative_cost")
        }
        names = () if without else runs[0]["measured"]
        row["measured"] = {key: round(float(np.mean([run["measured"][key] for run in runs])), 4) for key in names}
        row |= {key: sum(run[key] for run in runs) for key in ("passes", "seconds")}
        row["by_draw"] = [run["score"] + run["measured"].get("loss", 0.0) for run in runs]
        row["settings"] = min(runs, key=lambda run: run["settings"].get("epochs", 0))["settings"]
        return row | {"asked": dict(settings), "status": not_done[0] if not_done else "done"}


def tune(name: str, scenarios: Sequence[Scenario], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs these trials of a method on all scenarios; see `judged` for what it returns."""
    require_tunable(name)
    runner = Trials(scenarios)
    return judged([runner.row(name, settings) for settings in trials], runner.nothing())


def require_tunable(name: str) -> None:
    """Raises: ForgetError for a control or an exact method."""
    entry = get_method(name)
    if entry.control or entry.exact:
        raise ForgetError(f"{name} is {'a control' if entry.control else 'exact'}: there is nothing to tune.")


def judged(rows: Sequence[Mapping[str, Any]], nothing: float) -> dict[str, Any]:
    """What follows from a method's trials.

    Returns: "settings" of the best (None if none is acceptable), "reason" (why none is, else empty), "runs_with" (the
        settings to run with all the same, {} for the defaults), "trials", "passes" and "seconds" spent.
    """
    best, near = choose(rows, nothing), nearest(rows)
    reason = ""
    if best is None:
        what = "" if near is None else f"; the best of them {objection(rows[near], nothing)}"
        reason = f"none of {len(rows)} trials can be taken{what}"
    index = near if best is None else best
    found = {"settings": None if best is None else rows[best]["settings"], "reason": reason}
    found["runs_with"] = {} if index is None else rows[index]["settings"]
    return found | {"trials": rows} | {key: sum(row[key] for row in rows) for key in ("passes", "seconds")}


def no_better(trial: Mapping[str, Any], default: Mapping[str, Any]) -> str:
    """Why a trial does not take the place of the default settings; empty where it does.

    Compared is the score and the lost accuracy together, draw by draw: the gain must exceed its standard deviation over
    two draws or more, and `TIE`. A default that could not be measured is beaten by what could.
    """
    if not default["measured"]:
        return ""
    if len(trial.get("by_draw", ())) < 2:
        return "was tried on fewer than two draws"
    gains = np.subtract(default["by_draw"], trial["by_draw"])
    noise = max(TIE, float(gains.std(ddof=1)))
    if gains.mean() > noise:
        return ""
    return f"is better by {gains.mean():.3f}, which is not above the noise of {noise:.3f}"


def or_default(
    rows: Sequence[Mapping[str, Any]], default: Mapping[str, Any], nothing: float, probed: int
) -> dict[str, Any]:
    """What `judged` returns, for a user's own data: the default settings ({}) stay unless a trial beats them, see
    `no_better`; "kept" says why they stay. probed: validation images behind the probe, see `PROBED`."""
    seen = rows
    if probed < PROBED:
        seen = [{**row, "measured": {k: v for k, v in row["measured"].items() if k != "probe"}} for row in rows]
    found = judged(seen, nothing)
    best = next((row for row in seen if found["settings"] is not None and row["settings"] == found["settings"]), None)
    against = "" if best is None else no_better(best, default)
    why = found["reason"] if best is None else f"the best trial {against}"
    found |= {"trials": [*rows, default], "runs_with": found["runs_with"] if best is not None else {}}
    found |= {key: found[key] + default[key] for key in ("passes", "seconds")}
    if best is not None and not against:
        return found
    if best is None and objection(default, nothing):
        return found | {"reason": f"{why}; the default settings stay"}
    return found | {"settings": {}, "runs_with": {}, "reason": "", "kept": why}


def criterion_check(scenario: Scenario) -> pd.DataFrame:
    """Tests the criterion, for tests and benchmarks and never while tuning: a retrained model must score better than
    the original and than every placebo that the conditions do not refuse.

    Returns: columns row, score, loss, objection, passes; a row for the retrained model and each placebo that applies.
    """
    rows: list[dict[str, Any]] = [
        {"row": name} | run_trial(scenario, name, {}, uncut=True) | {"status": "done"}
        for name in ("retrain", *PLACEBOS, "untrained")
        if why_not_applicable(name, original(scenario), make_task(scenario, name=name)) is None
    ]
    by_name = {row["row"]: row for row in rows}
    retrained, nothing = by_name["retrain"]["score"], by_name["do_nothing"]["score"]
    for row in rows:
        row["loss"], row["objection"] = row["measured"]["loss"], objection(row, nothing)
        refused = row["objection"] != "" and row["row"] not in ("retrain", "do_nothing")
        row["passes"] = refused or retrained < (nothing if row["row"] == "retrain" else row["score"])
    return pd.DataFrame(rows)[["row", "score", "loss", "objection", "passes"]]


def tune_all(
    runner: Trials,
    names: Sequence[str],
    spaces: Mapping[str, Mapping[str, Space]],
    say: Callable[[str], None] = print,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Tunes methods, each with the authors' settings uncut and `DRAWS`: the first draws of all of them, then, where
    the best of a method lies at an edge, that end of the range is extended for its whole family, then the other draws.

    defaults: settings by method that stay unless a trial beats them, see `or_default`; for a user's own data.
    Returns: what `judged` says by method, with its "ranges" as drawn from last; and the extensions, each a method,
        setting, its range before and after, and the methods of its family "by" which it came.
    """
    kind, nothing = kind_of(runner.scenarios[0].parsed), runner.nothing()
    rows: dict[str, list[dict[str, Any]]] = {}
    by: dict[tuple[str, str, int], list[str]] = {}
    for number, name in enumerate(names, 1):
        require_tunable(name)
        space = spaces[name][kind]
        rows[name] = [runner.row(name, space.authors, uncut=True)]
        rows[name] += [runner.row(name, settings) for settings in space.draws(name, 0)]
        for edge in space.edges(judged(rows[name], nothing)["runs_with"]):
            by.setdefault((get_method(name).family, *edge), []).append(name)
        say(f"{number}/{len(names)} {name}: first draws, {_scores(rows[name])}")
    results, extensions = {}, []
    for number, name in enumerate(names, 1):
        before = spaces[name][kind]
        edges = {(key, end): why for (family, key, end), why in by.items() if family == get_method(name).family}
        after = before.extended(name, edges)
        for key, ends in after.ranges.items():
            if ends != before.ranges[key]:
                why = sorted({each for (setting, _), names_of in edges.items() if setting == key for each in names_of})
                change = {"method": name, "setting": key, "from": list(before.ranges[key]), "to": list(ends)}
                extensions.append(change | {"by": why})
        rows[name] += [runner.row(name, settings) for settings in after.draws(name, 1)]
        found = results[name] = judged(rows[name], nothing)
        if defaults is not None:
            default = runner.row(name, defaults[name], uncut=True)
            found = results[name] = or_default(rows[name], default, nothing, probed(runner.scenarios))
        found["ranges"] = {key: list(ends) for key, ends in after.ranges.items()}
        what = found["settings"] or f"no acceptable setting, {found['reason']}"
        what = f"the default settings stay: {found['kept']}" if "kept" in found else what
        say(f"{number}/{len(names)} {name}: {what} ({_scores(rows[name])}; {found['seconds']:.0f} s)")
    return results, extensions


def probed(scenarios: Sequence[Scenario]) -> int:
    """Validation images of the classes to forget, in the scenario that has fewest."""
    counts = [
        torch.isin(scenario.samples["validation"].labels.cpu(), torch.tensor(scenario.classes, dtype=torch.int64)).sum()
        for scenario in scenarios
    ]
    return int(min(counts))


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    return "scores " + ", ".join(f"{row['score']:.3f}" for row in rows)
