"""Checks of a report by somebody else: without the data, and with them.

Without the data: the verdict follows from the numbers and the rule; the page says what the JSON says; the ledger is
whole and holds this report; the model is the one that was judged. With the data: the fingerprints are those of the
requested images, and the model's measurements and the verdict come out again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import evidence, ledger, references, verdict
from forget_lib.deletion.case import open_case
from forget_lib.deletion.measure import measure
from forget_lib.deletion.record import file_hash, read_report, report_digest
from forget_lib.deletion.request_file import read_request
from forget_lib.deletion.respond import UNLEARNED, ledger_of
from forget_lib.deletion.trace import Reading
from forget_lib.study import records

TOLERANCE = 1e-3
"""How far a number may be off on another machine."""


class Check(NamedTuple):
    """One check. outcome: ok, failed, or not possible."""

    name: str
    outcome: str
    detail: str = ""


def verify(path: Path, *, with_data: bool = False) -> list[Check]:
    """All checks of a report, those that need nothing but it and its folder first.

    Raises: ForgetError where the file is no report.
    """
    path = Path(path)
    content, folder = read_report(path), path.parent
    checks = [_verdict_follows(content), _rule_is_the_configs(content), _page(content, folder)]
    checks += [_ledger(content, folder), _weights(content, folder)]
    if with_data:
        checks += _with_data(content, folder)
    return checks


def passed(checks: list[Check]) -> bool:
    """Whether no check failed."""
    return all(check.outcome != "failed" for check in checks)


def _reading(content: Mapping[str, Any]) -> Reading:
    deviation = math.inf if content["deviation"] is None else content["deviation"]
    return Reading(content["value"], deviation, content["references"], tuple(content["kept"]))


def _verdict_follows(content: Mapping[str, Any]) -> Check:
    """The verdict again, from the readings and the rule in the report."""
    name = "the verdict follows from the numbers"
    try:
        rule = verdict.Rule(**content["rule"])
        again = verdict.decide(
            {each: _reading(content["readings"][each]) for each in verdict.READINGS},
            rule,
            images=content["images"],
            people=content["people"],
            concerns=content["concerns"],
        )
    except (KeyError, TypeError, ForgetError) as error:
        return Check(name, "failed", f"the report is not complete ({error})")
    said = content["verdict"]["outcome"]
    return Check(name, "ok" if again.outcome == said else "failed", f"computed: {again.outcome}, written: {said}")


def _rule_is_the_configs(content: Mapping[str, Any]) -> Check:
    rule = dataclasses.asdict(verdict.load_rule(content["rule"]["margin"]))
    other = [name for name, value in rule.items() if content["rule"].get(name) != value]
    detail = f"differs in {', '.join(other)}: the known error rates are not this rule's" if other else ""
    return Check("the rule is the frozen one", "failed" if other else "ok", detail)


def _page(content: Mapping[str, Any], folder: Path) -> Check:
    page = folder / "report.html"
    if not page.is_file():
        return Check("the page belongs to the report", "not possible", "there is no report.html beside it")
    there = report_digest(content) in page.read_text(encoding="utf-8")
    return Check("the page belongs to the report", "ok" if there else "failed", "" if there else "other digest")


def _ledger_path(folder: Path) -> Path:
    kept = folder / "request.yaml"
    if kept.is_file():
        request = read_request(kept)
        if request["write.ledger"]:
            return request.located("write.ledger")
    return folder.parent / "ledger.jsonl"


def _ledger(content: Mapping[str, Any], folder: Path) -> Check:
    name, where = "the ledger is whole and holds this report", _ledger_path(folder)
    if not where.is_file():
        return Check(name, "not possible", "the ledger is not here")
    try:
        entries = ledger.read_ledger(where)
    except ForgetError as error:
        return Check(name, "failed", str(error))
    own = [entry["number"] for entry in entries if entry.get("report") == report_digest(content)]
    return Check(name, "ok" if own else "failed", f"line {own[0]}" if own else "no line has this report's digest")


def _weights(content: Mapping[str, Any], folder: Path) -> Check:
    name, path = "the model is the one judged", folder / "unlearned" / "model.safetensors"
    if not path.is_file():
        return Check(name, "not possible", "the unlearned model is not here")
    same = file_hash(path) == content["model"]["after"]
    return Check(name, "ok" if same else "failed", "" if same else "its SHA-256 differs from the report's")


def _with_data(content: Mapping[str, Any], folder: Path) -> list[Check]:
    """Checks that read the data: fingerprints, the model's accuracies, its readings beside the kept references."""
    try:
        case = open_case(read_request(folder / "request.yaml"), folder)
    except ForgetError as error:
        return [Check("the data are there", "not possible", str(error))]
    key, forget = ledger.key_beside(ledger_of(case)), case.scenario.samples["forget"]
    same = ledger.fingerprints(key, forget.images, forget.labels) == content["data"]["forget"]
    checks = [Check("the fingerprints are those of the requested images", "ok" if same else "failed")]
    model = case.scenario.new_model(0)
    try:
        model.load_state_dict(records.read_state(folder / "unlearned"))
    except (ForgetError, RuntimeError) as error:
        return [*checks, Check("the model's numbers come out again", "not possible", str(error))]
    measured = measure(case.scenario, model.eval())
    written = {row["accuracy"]: row[UNLEARNED] for row in content["accuracies"]}
    off = [name for name, value in written.items() if abs(float(measured[name]) - value) > TOLERANCE]
    detail = f"differs in {', '.join(off)}" if off else ""
    checks.append(Check("the model's accuracies come out again", "failed" if off else "ok", detail))
    return [*checks, _readings_again(content, case, folder, measured)]


def _readings_again(content: Mapping[str, Any], case: Any, folder: Path, measured: Mapping[str, np.ndarray]) -> Check:
    name, rule = "the readings come out again", verdict.Rule(**content["rule"])
    jobs = references.planned(case, rule.kept_share)
    found = {job: references.read_arrays(folder / "references" / f"{job.name}.npz", None) for job in jobs}
    if any(arrays is None for arrays in found.values()):
        return Check(name, "not possible", "the references' measurements were purged; train them again to check")
    again = evidence.readings(measured, evidence.Families.of(found), rule)
    off = [
        each
        for each, reading in again.items()
        if abs(reading.value - content["readings"][each]["value"]) > TOLERANCE
        or abs(reading.deviation - (content["readings"][each]["deviation"] or math.inf)) > TOLERANCE
    ]
    return Check(name, "failed" if off else "ok", f"differs in {', '.join(off)}" if off else "")
