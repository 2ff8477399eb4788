"""A request from its file to its answer: train, unlearn, measure, judge, write. Every step is kept, and can resume."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.core.names import public_name
from forget_lib.core.paths import sha256_of
from forget_lib.deletion import evidence, ledger, references, verdict
from forget_lib.deletion.case import Case, open_case, original_of
from forget_lib.deletion.measure import measure
from forget_lib.deletion.references import CONTROL, Job, planned, read_arrays, train_references, write_arrays
from forget_lib.deletion.request_file import read_request
from forget_lib.deletion.verdict import Rule, Verdict, load_rule
from forget_lib.models.log import model_key
from forget_lib.study import plugins, records, run
from forget_lib.study.scenario import describe, public_recipe
from forget_lib.unlearning import unlearn, why_not_applicable
from forget_lib.unlearning.registry import check_settings

UNLEARNED, ORIGINAL, MASKED = "unlearned", "original", "class hidden at the output"
FRESH = "retrained, another one"


@dataclass(frozen=True)
class Answer:
    """All that was found: the choice of method, the models' measurements, the verdict and the one on each control.

    measured: unlearned, original, a further retrained model and, for a class, the original with its output hidden.
    cost: sample passes of the method, in retrainings.
    """

    case: Case
    rule: Rule
    choice: Mapping[str, Any]
    families: evidence.Families
    measured: Mapping[str, Mapping[str, np.ndarray]]
    verdict: Verdict
    controls: Mapping[str, Verdict]
    concerns: tuple[str, ...]
    cost: float

    @property
    def accuracies(self) -> pd.DataFrame:
        """See `evidence.accuracy_table`."""
        return evidence.accuracy_table(self.measured, self.families)

    @property
    def attacks(self) -> pd.DataFrame:
        """See `evidence.attack_table`."""
        return evidence.attack_table(self.measured, self.families)

    @property
    def curve(self) -> pd.DataFrame:
        """See `evidence.error_curve`."""
        return evidence.error_curve(self.families, self.rule.alpha)


def respond(case: Case, choice: Mapping[str, Any]) -> Answer:
    """Trains the references, unlearns, measures and judges. choice: of `recommend.choose`.

    Raises: ForgetError and its kinds; what was computed before is kept, and the next call goes on there.
    """
    rule = load_rule(case.request["margin"])
    if "retain" not in case.request["available"]:
        raise case.request.wrong(
            "available", "without the retain set no reference model can be retrained, so nothing can be shown"
        )
    original = original_of(case)
    model, cost = unlearned_model(case, original, choice)
    found = train_references(case, planned(case, rule.kept_share))
    families = evidence.Families.of(found)
    measured = {UNLEARNED: _measured(case, UNLEARNED, model), ORIGINAL: _measured(case, ORIGINAL, original)}
    measured[FRESH] = found[Job(CONTROL, 0, 0.0)]
    task = run.make_task(case.scenario, name="mask_logit")
    if why_not_applicable("mask_logit", original, task) is None:
        hidden = unlearn("mask_logit", original, task)
        measured[MASKED] = _measured(case, "masked", hidden)
    concerns = evidence.concerns_of(case, measured[ORIGINAL], families, rule)
    decided = {name: evidence.judge(case, each, families, rule, concerns) for name, each in measured.items()}
    controls = {name: each for name, each in decided.items() if name != UNLEARNED}
    return Answer(case, rule, choice, families, measured, decided[UNLEARNED], controls, concerns, cost)


def unlearned_model(case: Case, original: nn.Module, choice: Mapping[str, Any]) -> tuple[nn.Module, float]:
    """The unlearned model and its cost in retrainings, from `unlearned/` where it is there, else made now."""
    scenario, name, settings = case.scenario, choice["method"], dict(choice["settings"])
    check_settings(name, settings)
    about = {"scenario": describe(scenario), "forget": scenario.sets.forget.tolist(), "start": model_key(original)}
    key = records.key_of(**about, method=name, settings=settings, seed=case.request["seed"])
    folder = case.folder / "unlearned"
    record = records.read_record(folder)
    if record is not None and record.get("key") == key:
        return run.read_model(scenario, folder), record["cost"]["retrainings"]
    task = run.make_task(scenario, case.request["seed"], name=name)
    model = unlearn(name, original, task, **settings)
    retrainings = task.meter.passes / (3 * scenario.recipe.epochs * len(scenario.samples["retain"]))
    cost = task.meter.cost | {"retrainings": retrainings}
    about = {"key": key, "method": name, "settings": settings, "cost": cost}
    records.write_record(folder, about, state=model.state_dict())
    return model, retrainings


def _measured(case: Case, name: str, model: nn.Module) -> dict[str, np.ndarray]:
    """Measurements of a candidate, kept beside those of the references."""
    found = measure(case.scenario, model)
    write_arrays(case.folder / "references" / f"{name}.npz", "candidate", found)
    return found


def ledger_of(case: Case) -> Path:
    """Where the ledger of this request is."""
    given = case.request["write.ledger"]
    return case.request.located("write.ledger") if given else case.folder.parent / "ledger.jsonl"


def asked(case: Case) -> str:
    """SHA-256 (hex) of what is asked: which images of which data, and of which model. Two files with the same name are
    told apart by it; the method and the budget are no part of it."""
    key, data, forget = ledger.key_beside(ledger_of(case)), case.scenario.data, case.scenario.samples["forget"]
    prints = ledger.fingerprints(key, forget.images, forget.labels)
    return asked_digest(ledger.fingerprint(key, data.checksum.encode()), prints, model_asked(case))


def asked_digest(data: str, forget: Sequence[str], model: Mapping[str, Any]) -> str:
    """The digest of `asked` from its parts: fingerprints of the data and of the images, and what `model_asked` says."""
    return ledger.digest([data, list(forget), [model.get(key) for key in MODEL]])


MODEL = ("name", "code", "weights", "training")
"""What tells one model from another, see `model_asked`."""


def model_asked(case: Case) -> dict[str, Any]:
    """The model for the report: its name without folders, hashes of the user's code behind it, and the SHA-256 of the
    given weights or, where it is trained here, of its training (recipe, seed and indices of the images)."""
    scenario, weights, training = case.scenario, "", ""
    if case.weights:
        weights = sha256_of(case.weights)
    else:
        recipe = public_recipe(dataclasses.asdict(scenario.recipe))
        training = ledger.digest([recipe, scenario.seed, scenario.sets.trained.tolist()])
    code = plugins.own_code(scenario.model, "" if case.weights else scenario.recipe.function)
    return dict(zip(MODEL, (public_name(scenario.model), code, weights, training), strict=True))


def reevaluate(case: Case, model: nn.Module, rule: Rule) -> pd.DataFrame:
    """Does this model know again what earlier requests of the ledger removed? One row an earlier request.

    Earlier requests with the same data and model are measured anew on the present model, beside their own references.
    Columns: line (of the ledger; a name may be a person's), outcome (then), trace_then, trace_now (outputs), revived
    (bool, or None where it cannot be told).
    """
    rows = []
    for entry in earlier_requests(case):
        row = {"line": entry["number"], "outcome": entry["outcome"], "trace_then": entry["trace"]}
        rows.append(row | _again(case, entry, model, rule))
    return pd.DataFrame(rows, columns=["line", "outcome", "trace_then", "trace_now", "revived", "why"])


def earlier_requests(case: Case) -> list[dict[str, Any]]:
    """The ledger's entries about other requests, the last answer to each."""
    entries = [entry for entry in ledger.read_ledger(ledger_of(case)) if entry.get("kind") == "request"]
    # Entries of before requests had a digest are told apart by their report's.
    last = {entry.get("request", entry["report"]): entry for entry in entries}
    last.pop(asked(case), None)
    return list(last.values())


def returned(case: Case) -> int:
    """How many images of the retain set were removed by an earlier request of the ledger, and are back in the data."""
    gone = {each for entry in earlier_requests(case) for each in entry["forget"]}
    if not gone:
        return 0
    retain = case.scenario.samples["retain"]
    key = ledger.key_beside(ledger_of(case))
    return sum(each in gone for each in ledger.fingerprints(key, retain.images, retain.labels))


def _again(case: Case, entry: Mapping[str, Any], model: nn.Module, rule: Rule) -> dict[str, Any]:
    """The trace of the present model for an earlier request."""
    folder = ledger_of(case).parent / entry.get("folder", entry["name"])
    unknown = {"trace_now": float("nan"), "revived": None}
    try:
        earlier = open_case(read_request(folder / "request.yaml"), folder)
    except ForgetError:
        return unknown | {"why": "its data or its request are gone"}
    if entry.get("request", asked(earlier)) != asked(earlier):
        return unknown | {"why": "its data or its model have changed, or its folder holds another answer now"}
    same = (earlier.scenario.dataset, earlier.scenario.model) == (case.scenario.dataset, case.scenario.model)
    if not same:
        return unknown | {"why": "another data set or model"}
    jobs = planned(earlier, rule.kept_share)
    found = {
        job: read_arrays(folder / "references" / f"{job.name}.npz", references.key_of(earlier, job)) for job in jobs
    }
    if any(arrays is None for arrays in found.values()):
        return unknown | {"why": "its references were purged, or its data or the code have changed"}
    readings = evidence.readings(measure(earlier.scenario, model), evidence.Families.of(found), rule)
    traces = verdict.examine(verdict.OUTPUTS, readings[verdict.OUTPUTS], rule, len(readings))
    revived = traces.value > traces.critical and traces.value - entry["trace"] > rule.margin
    return {"trace_now": traces.value, "revived": bool(revived), "why": ""}


class Stopwatch:
    """Wall and processor seconds of an answer, this process and those it started."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), _processor()

    def read(self) -> dict[str, float]:
        """Seconds so far."""
        return {
            "seconds": round(time.perf_counter() - self._wall, 1),
            "processor_seconds": round(_processor() - self._processor, 1),
        }


def _processor() -> float:
    import resource

    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: floats to 6 digits, NaN and infinity as None, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, pd.DataFrame):
        return plain(json.loads(value.reset_index().to_json(orient="records", double_precision=10)))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
