"""The report as JSON: everything that the page says, in a form that a program can check."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.paths import sha256_of
from forget_lib.deletion import evidence, ledger
from forget_lib.deletion.case import Case, open_case
from forget_lib.deletion.kind import KIND
from forget_lib.deletion.request_file import as_written, keep_copy, read_request
from forget_lib.deletion.respond import UNLEARNED, Answer, asked, asked_digest, ledger_of, model_asked, plain, returned
from forget_lib.study import records
from forget_lib.study.scenario import EVALUATED

SCHEMA = 1
LIMITS = (
    "A pass says that this statistic saw no difference beyond the margin from models retrained without the data.",
    "It does not say that no other statistic could see one.",
    "The references stand for the recipe: they are as good as the request's description of it.",
    "Deleting the data themselves, their copies and backups is not part of this; see the list of what else must go.",
    "This is a measurement. Whether it is enough is for those to judge who know the law that applies.",
)


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file, or "gone"."""
    return sha256_of(path) if path.is_file() else "gone"


def build(answer: Answer, earlier: pd.DataFrame, times: Mapping[str, Any]) -> dict[str, Any]:
    """The report's content. earlier: of `respond.reevaluate`. times: whatever differs from run to run."""
    case, scenario = answer.case, answer.case.scenario
    key, data = ledger.key_beside(ledger_of(case)), scenario.data
    forget = scenario.samples["forget"]
    curve = answer.curve
    readings = evidence.readings(answer.measured[UNLEARNED], answer.families, answer.rule)
    content = {
        "kind": KIND,
        "schema": SCHEMA,
        "name": case.folder.name,
        "request": as_written(case.request),
        "data": {
            "title": data.label,
            "synthetic": data.synthetic,
            "sampled": data.sampled,
            "caches": data.caches,
            "sizes": {name: len(scenario.samples[name]) for name in EVALUATED},
            "fingerprint_method": "HMAC-SHA-256 with the key beside the ledger, 32 hex digits",
            "fingerprint": ledger.fingerprint(key, data.checksum.encode()),
            "forget": ledger.fingerprints(key, forget.images, forget.labels),
        },
        "model": {
            **model_asked(case),
            "classes": case.classes,
            "before": _original_hash(case),
            "after": file_hash(case.folder / "unlearned" / "model.safetensors"),
        },
        "method": dict(answer.choice) | {"cost_in_retrainings": answer.cost},
        "rule": answer.rule,
        "readings": readings,
        "concerns": answer.concerns,
        "verdict": answer.verdict,
        "controls": answer.controls,
        "accuracies": answer.accuracies,
        "attacks": answer.attacks,
        "error_curve": curve,
        "smallest_noticed": evidence.smallest_noticed(curve, answer.rule.power),
        "earlier_requests": earlier,
        "returned_images": returned(case),
        "notes": case.notes,
        "limits": LIMITS,
        "versions": records.provenance(),
    }
    content["people"], content["images"] = case.people, len(forget)
    return plain(content) | {"times": dict(times)}


def _original_hash(case: Any) -> str:
    """SHA-256 of the weights before unlearning: the given file, or the record of the training here."""
    if case.weights:
        return file_hash(case.weights)
    folder = case.scenario.folder("original", request=case.scenario.parsed.original_name)
    return file_hash(folder / "model.safetensors")


def asked_in(content: Mapping[str, Any]) -> str:
    """What a report answers, as `respond.asked` says it of a case."""
    data = content["data"]
    return asked_digest(data["fingerprint"], data["forget"], content["model"])


def report_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a report without its times: the same for two runs of the same request."""
    return ledger.digest({name: value for name, value in content.items() if name != "times"})


def write(answer: Answer, content: Mapping[str, Any]) -> Path:
    """Writes report.json and adds the request to the ledger, once for each digest; returns the path of the report.

    Raises: ForgetError if it cannot be written; LedgerError if the ledger is damaged.
    """
    case, own = answer.case, report_digest(content)
    path = case.folder / "report.json"
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    where = ledger_of(case)
    if not any(entry.get("report") == own for entry in ledger.read_ledger(where)):
        entry = {
            "kind": "request",
            "time": ledger.now(),
            "name": case.folder.name,
            "folder": os.path.relpath(case.folder, where.parent),
            "request": asked_in(content),
            "outcome": content["verdict"]["outcome"],
            "trace": content["readings"]["outputs"]["value"],
            "forget": content["data"]["forget"],
            "weights": content["model"]["after"],
            "report": own,
        }
        ledger.append(where, entry)
    return path


def read_report(path: Path) -> dict[str, Any]:
    """A report from its file. Raises: ForgetError if it is none, or of another schema."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ForgetError(f"{Path(path).name} cannot be read as a report: {error}.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ForgetError(f"{Path(path).name} is no deletion report; it is the report.json of an answered request.")
    if content.get("schema") != SCHEMA:
        raise ForgetError(f"{Path(path).name} has schema {content.get('schema')}; this program reads {SCHEMA}.")
    return content


def opened(path: str | Path, folder: Path | None = None) -> Case:
    """The case of a request, with everything checked before anything is computed or written.

    Raises: RequestError, also where the folder holds the answer to another request; LedgerError where the ledger is
        damaged.
    """
    case = open_case(read_request(path), folder)
    ledger.read_ledger(ledger_of(case))
    _refuse_folder_of_another(case)
    return case


def _refuse_folder_of_another(case: Case) -> None:
    report = case.folder / "report.json"
    if report.is_file() and asked_in(read_report(report)) != asked(case):
        raise case.request.wrong(
            "write.folder",
            f"{case.folder} holds the answer to another request: other images, other data or another model "
            "(its code, weights, recipe or seed). Give this one a folder of its own (write: {folder: …}); or delete "
            "that folder, if nobody needs the answer in it",
        )


def prepare(path: str | Path, folder: Path | None = None) -> Case:
    """As `opened`, and a copy of the request is kept beside the answer. Raises: as `opened`; ForgetError."""
    case = opened(path, folder)
    try:
        keep_copy(Path(path), case.folder / "request.yaml")
    except OSError as error:
        raise ForgetError(
            f"Cannot write to {case.folder}: {error.strerror}. Mend the rights, or free space."
        ) from error
    return case
