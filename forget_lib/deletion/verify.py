"""Checks of a report by somebody else: without the data, and with them.

Without the data: the verdict follows from the numbers and the rule; the page says what the JSON says; the ledger is
whole and holds this report; the model is the one that was judged. With the data: the fingerprints are those of the
requested images, and the model's measurements and the verdict come out again.
"""

import math
from collections.abc import Iterator, Mapping
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

OK, FAILED, NOT_POSSIBLE = "ok", "failed", "not possible"
TOLERANCE = 1e-3
"""How far a number may be off on another machine."""
INCOMPLETE = (KeyError, TypeError, AttributeError, ValueError, ForgetError)
"""What may come of a report that lacks something or holds it in another form."""
Content = Mapping[str, Any]


class Check(NamedTuple):
    """One check. outcome: ok, failed, or not possible."""

    name: str
    outcome: str
    detail: str = ""


def verify(path: Path, *, with_data: bool = False) -> list[Check]:
    """All checks of a report, those that need nothing but it and its folder first.

    Raises: ForgetError where the file is no report.
    """
    content, folder = read_report(path), Path(path).parent
    return [*_without_data(content, folder), *(_with_data(content, folder) if with_data else ())]


def _checked(name: str, right: bool, why_not: str = "", detail: str = "") -> Check:
    return Check(name, OK, detail) if right else Check(name, FAILED, why_not)


def _without_data(content: Content, folder: Path) -> Iterator[Check]:
    """Checks of a report and of what lies beside it."""
    name, digest = "the verdict follows from the numbers", report_digest(content)
    try:
        readings = {each: _reading(written) for each, written in content["readings"].items()}
        about = {key: content[key] for key in ("images", "people", "concerns")}
        computed, written = verdict.decide(readings, Rule(**content["rule"]), **about), content["verdict"]["outcome"]
    except INCOMPLETE as error:
        yield Check(name, FAILED, f"the report is not complete ({error})")
    else:
        both = f"computed: {computed.outcome}, written: {written}"
        yield _checked(name, computed.outcome == written, both, both)

    rule, written = verdict.load_rule().model_dump(exclude={"margin"}), content.get("rule") or {}
    off = [name for name, value in rule.items() if written.get(name) != value]
    why_not = f"differs in {', '.join(off)}: the known error rates are not this rule's"
    yield _checked("the rule is the frozen one", not off, why_not)

    name, page = "the page belongs to the report", folder / "report.html"
    if page.is_file():
        yield _checked(name, digest in page.read_text(encoding="utf-8"), "other digest")
    else:
        yield Check(name, NOT_POSSIBLE, "there is no report.html beside it")
    yield _ledger(digest, folder)

    name, weights = "the model is the one judged", folder / "unlearned" / "model.safetensors"
    if weights.is_file():
        right = file_hash(weights) == content["model"]["after"]
        yield _checked(name, right, "its SHA-256 differs from the report's")
    else:
        yield Check(name, NOT_POSSIBLE, "the unlearned model is not here")


def _ledger(digest: str, folder: Path) -> Check:
    name, request = "the ledger is whole and holds this report", folder / "request.yaml"
    where = read_request(request).ledger_of(folder) if request.is_file() else folder.parent / "ledger.jsonl"
    if not where.is_file():
        return Check(name, NOT_POSSIBLE, "the ledger is not here")
    try:
        entries = ledger.read_ledger(where)
    except ForgetError as error:
        return Check(name, FAILED, str(error))
    lines = [entry["number"] for entry in entries if entry.get("report") == digest]
    return _checked(name, bool(lines), "no line has this report's digest", f"line {lines[0]}" if lines else "")


def _with_data(content: Content, folder: Path) -> Iterator[Check]:
    """Checks that read the data: fingerprints, the model's accuracies, its readings beside the kept references."""
    try:
        case = open_case(read_request(folder / "request.yaml"), folder)
    except ForgetError as error:
        yield Check("the data are there", NOT_POSSIBLE, str(error))
        return
    same = case.fingerprints == content["data"]["forget"]
    yield _checked("the fingerprints are those of the requested images", same)
    try:
        model = run.read_model(case.scenario, folder / "unlearned")
    except ForgetError as error:
        yield Check("the model's numbers come out again", NOT_POSSIBLE, str(error))
        return
    measured = measure(case.scenario, model)
    written = {row["accuracy"]: row[UNLEARNED] for row in content["accuracies"]}
    off = [name for name, value in written.items() if not _near(float(measured[name]), value)]
    yield _checked("the model's accuracies come out again", not off, f"differs in {', '.join(off)}")
    name, rule = "the readings come out again", Rule(**content["rule"])
    families = evidence.stored(case, rule, any_key=True)
    if families is None:
        yield Check(name, NOT_POSSIBLE, "the references' measurements were purged; train them again to check")
        return
    off = []
    for reading, found in evidence.readings(measured, families, rule).items():
        before = _reading(content["readings"][reading])
        if not (_near(found.deviation, before.deviation) and _near(found.value, before.value)):
            off.append(reading)
    yield _checked(name, not off, f"differs in {', '.join(off)}")


def _reading(written: Content) -> Reading:
    """A reading as the report holds it, where an infinite deviation is null."""
    deviation = math.inf if written["deviation"] is None else written["deviation"]
    return Reading(written["value"], deviation, written["references"], tuple(written["kept"]))


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=0, abs_tol=TOLERANCE)
