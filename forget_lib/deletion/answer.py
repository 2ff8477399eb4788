"""A request from its case to its answer: train, unlearn, measure, judge. Every step is kept, and can resume."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import evidence, ledger, verdict
from forget_lib.deletion.case import Case, open_case
from forget_lib.deletion.measure import Measured, measure
from forget_lib.deletion.references import CONTROL, Job, planned, train_references
from forget_lib.deletion.request import read_request
from forget_lib.deletion.verdict import Rule, Verdict, load_rule
from forget_lib.models.log import model_key
from forget_lib.study import records, run
from forget_lib.study.scenario import describe
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
    model: nn.Module
    families: evidence.Families
    measured: Mapping[str, Measured]
    verdict: Verdict
    controls: Mapping[str, Verdict]
    concerns: tuple[str, ...]
    cost: float


def respond(case: Case, choice: Mapping[str, Any]) -> Answer:
    """Trains the references, unlearns, measures and judges. choice: of `recommend.choose`.

    Raises: ForgetError and its kinds; what was computed before is kept, and the next call goes on there.
    """
    scenario, rule = case.scenario, load_rule(case.request["margin"])
    original = run.original(scenario)
    model, cost = unlearned_model(case, original, choice)
    found = train_references(case, planned(case, rule.kept_share))
    families = evidence.Families.of(found)
    measured = {name: measure(scenario, each) for name, each in {UNLEARNED: model, ORIGINAL: original}.items()}
    measured[FRESH] = found[Job(CONTROL, 0, 0.0)]
    task = run.make_task(scenario, name="mask_logit")
    if why_not_applicable("mask_logit", original, task) is None:
        measured[MASKED] = measure(scenario, unlearn("mask_logit", original, task))
    concerns = evidence.concerns_of(case, measured[ORIGINAL], families, rule)
    controls = {name: evidence.judge(case, each, families, rule, concerns) for name, each in measured.items()}
    decided = controls.pop(UNLEARNED)
    return Answer(case, rule, choice, model, families, measured, decided, controls, concerns, cost)


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
    cost = task.meter.cost | {"retrainings": task.meter.passes / scenario.retraining}
    about = {"key": key, "method": name, "settings": settings, "cost": cost, "facts": task.facts}
    records.write_record(folder, about, state=model.state_dict())
    return model, cost["retrainings"]


def trace_now(answer: Answer, entry: Mapping[str, Any]) -> verdict.Findings:
    """The trace at the outputs of the present model for an earlier request of the ledger, which was about the same data
    and model: it is measured anew, beside that request's own references.

    Raises: ForgetError with why it cannot be told.
    """
    now = answer.case.scenario
    folder = answer.case.ledger.parent / entry["folder"]
    try:
        earlier = open_case(read_request(folder / "request.yaml"), folder)
    except ForgetError as error:
        raise ForgetError("its data or its request are gone") from error
    if entry["request"] != earlier.asked:
        raise ForgetError("its data or its model have changed, or its folder holds another answer now")
    if (earlier.scenario.dataset, earlier.scenario.model) != (now.dataset, now.model):
        raise ForgetError("another data set or model")
    families = evidence.stored(earlier, answer.rule)
    if families is None:
        raise ForgetError("its references were purged, or its data or the code have changed")
    readings = evidence.readings(measure(earlier.scenario, answer.model), families, answer.rule)
    return verdict.examine(verdict.OUTPUTS, readings[verdict.OUTPUTS], answer.rule)


def earlier_requests(case: Case) -> list[dict[str, Any]]:
    """The ledger's entries about other requests, the last answer to each."""
    last = {entry["request"]: entry for entry in ledger.read_ledger(case.ledger) if entry.get("kind") == "request"}
    last.pop(case.asked, None)
    return list(last.values())


def returned(case: Case) -> int:
    """How many images of the retain set were removed by an earlier request of the ledger, and are back in the data."""
    gone = {each for entry in earlier_requests(case) for each in entry["forget"]}
    if not gone:
        return 0
    retain, key = case.scenario.samples["retain"], ledger.key_beside(case.ledger)
    return sum(each in gone for each in ledger.fingerprints(key, retain.images, retain.labels))
