"""Checks of a report by somebody else: without the data, and with them.

Without the data: the verdict follows from the numbers and the rule; the page says what the JSON says; the ledger is
whole and holds this report; the model is the one that was judged. With the data: the fingerprints are those of the
requested images, and the model's measurements and the verdict come out again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import evidence, ledger, verdict
from forget_lib.deletion.answer import UNLEARNED
from forget_lib.deletion.case import open_case
from forget_lib.deletion.measure import measure
from forget_lib.deletion.report import file_hash, read_report, report_digest
from forget_lib.deletion.request import read_request
from forget_lib.deletion.verdict import Reading, Rule
from forget_lib.study import run

TOLERANCE = 1e-3
"""How far a number may be off on another machine."""
INCOMPLETE = (KeyError, TypeError, AttributeError, ValueError, ForgetError)
"""What may come of a report that lacks something or holds it in another form."""


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
    return checks + (_with_data(content, folder) if with_data else [])


def passed(checks: list[Check]) -> bool:
    """Whether no check failed."""
    return all(check.outcome != "failed" for check in checks)


def _checked(name: str, right: bool, why_not: str = "", detail: str = "") -> Check:
    return Check(name, "ok", detail) if right else Check(name, "failed", why_not)


def _verdict_follows(content: Mapping[str, Any]) -> Check:
    """The verdict again, from the readings and the rule in the report."""
    name = "the verdict follows from the numbers"
    try:
        readings = {}
        for each, found in content["readings"].items():
            deviation = math.inf if found["deviation"] is None else found["deviation"]
            readings[each] = Reading(found["value"], deviation, found["references"], tuple(found["kept"]))
        about = {key: content[key] for key in ("images", "people", "concerns")}
        again = verdict.decide(readings, Rule(**content["rule"]), **about).outcome
        said = content["verdict"]["outcome"]
    except INCOMPLETE as error:
        return Check(name, "failed", f"the report is not complete ({error})")
    computed = f"computed: {again}, written: {said}"
    return _checked(name, again == said, computed, computed)


def _rule_is_the_configs(content: Mapping[str, Any]) -> Check:
    rule, written = verdict.load_rule().model_dump(), content.get("rule") or {}
    off = [name for name, value in rule.items() if name != "margin" and written.get(name) != value]
    why_not = f"differs in {', '.join(off)}: the known error rates are not this rule's"
    return _checked("the rule is the frozen one", not off, why_not)


def _page(content: Mapping[str, Any], folder: Path) -> Check:
    name, page = "the page belongs to the report", folder / "report.html"
    if not page.is_file():
        return Check(name, "not possible", "there is no report.html beside it")
    return _checked(name, report_digest(content) in page.read_text(encoding="utf-8"), "other digest")


def _ledger(content: Mapping[str, Any], folder: Path) -> Check:
    name, request = "the ledger is whole and holds this report", folder / "request.yaml"
    where = read_request(request).ledger_of(folder) if request.is_file() else folder.parent / "ledger.jsonl"
    if not where.is_file():
        return Check(name, "not possible", "the ledger is not here")
    try:
        entries = ledger.read_ledger(where)
    except ForgetError as error:
        return Check(name, "failed", str(error))
    lines = [entry["number"] for entry in entries if entry.get("report") == report_digest(content)]
    return _checked(name, bool(lines), "no line has this report's digest", f"line {lines[0]}" if lines else "")


def _weights(content: Mapping[str, Any], folder: Path) -> Check:
    name, path = "the model is the one judged", folder / "unlearned" / "model.safetensors"
    if not path.is_file():
        return Check(name, "not possible", "the unlearned model is not here")
    return _checked(name, file_hash(path) == content["model"]["after"], "its SHA-256 differs from the report's")


def _with_data(content: Mapping[str, Any], folder: Path) -> list[Check]:
    """Checks that read the data: fingerprints, the model's accuracies, its readings beside the kept references."""
    try:
        case = open_case(read_request(folder / "request.yaml"), folder)
    except ForgetError as error:
        return [Check("the data are there", "not possible", str(error))]
    same = case.fingerprints == content["data"]["forget"]
    checks = [_checked("the fingerprints are those of the requested images", same)]
    try:
        model = run.read_model(case.scenario, folder / "unlearned")
    except ForgetError as error:
        return [*checks, Check("the model's numbers come out again", "not possible", str(error))]
    measured = measure(case.scenario, model)
    written = {row["accuracy"]: row[UNLEARNED] for row in content["accuracies"]}
    off = [name for name, value in written.items() if abs(float(measured[name]) - value) > TOLERANCE]
    checks.append(_checked("the model's accuracies come out again", not off, f"differs in {', '.join(off)}"))
    name, rule = "the readings come out again", Rule(**content["rule"])
    families = evidence.stored(case, rule, any_key=True)
    if families is None:
        why = "the references' measurements were purged; train them again to check"
        return [*checks, Check(name, "not possible", why)]
    readings = evidence.readings(measured, families, rule)
    off = [each for each, reading in readings.items() if not _same(reading, content["readings"][each])]
    return [*checks, _checked(name, not off, f"differs in {', '.join(off)}")]


def _same(reading: Reading, written: Mapping[str, Any]) -> bool:
    deviation = math.inf if written["deviation"] is None else written["deviation"]
    near = reading.deviation == deviation or abs(reading.deviation - deviation) <= TOLERANCE
    return near and abs(reading.value - written["value"]) <= TOLERANCE
