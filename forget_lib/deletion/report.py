"""The report as JSON: everything that the page says, in a form that a program can check."""

import dataclasses
import json
import os
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.paths import sha256_of
from forget_lib.deletion import evidence, ledger
from forget_lib.deletion.answer import UNLEARNED, Answer, returned
from forget_lib.deletion.case import Case, open_case
from forget_lib.deletion.request import as_written, keep_copy, read_request
from forget_lib.study import records
from forget_lib.study.scenario import EVALUATED

KIND = "forget deletion report"
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


def build(answer: Answer, tables: Mapping[str, Any], times: Mapping[str, Any]) -> dict[str, Any]:
    """The report's content.

    tables: accuracies, attacks, error_curve, smallest_noticed and earlier_requests, as the notebook makes them. times:
    whatever differs from run to run.
    """
    case, scenario = answer.case, answer.case.scenario
    original = scenario.folder("original", request=scenario.parsed.original_name) / "model.safetensors"
    content = {
        "kind": KIND,
        "schema": SCHEMA,
        "name": case.folder.name,
        "asked": case.asked,
        "request": as_written(case.request),
        "data": {
            "title": scenario.data.label,
            "synthetic": scenario.data.synthetic,
            "sampled": scenario.data.sampled,
            "caches": scenario.data.caches,
            "sizes": {name: len(scenario.samples[name]) for name in EVALUATED},
            "fingerprint_method": "HMAC-SHA-256 with the key beside the ledger, 32 hex digits",
            "fingerprint": case.data_fingerprint,
            "forget": case.fingerprints,
        },
        "model": {
            **case.model,
            "classes": len(scenario.data.classes),
            "before": file_hash(case.weights or original),
            "after": file_hash(case.folder / "unlearned" / "model.safetensors"),
        },
        "method": {**answer.choice, "cost_in_retrainings": answer.cost},
        "rule": answer.rule,
        "readings": evidence.readings(answer.measured[UNLEARNED], answer.families, answer.rule),
        "concerns": answer.concerns,
        "verdict": answer.verdict,
        "controls": answer.controls,
        **tables,
        "returned_images": returned(case),
        "notes": case.notes,
        "limits": LIMITS,
        "versions": records.provenance(),
        "people": case.people,
        "images": len(scenario.samples["forget"]),
    }
    text = json.dumps(content, default=_as_json)
    plain = json.loads(text, parse_float=lambda number: round(float(number), 6), parse_constant=lambda _: None)
    return plain | {"times": dict(times)}


def _as_json(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return value.reset_index().to_dict("records")
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return dict(value) if isinstance(value, Mapping) else value.item()


def report_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a report without its times: the same for two runs of the same request."""
    return ledger.digest({name: value for name, value in content.items() if name != "times"})


def write(case: Case, content: Mapping[str, Any]) -> Path:
    """Writes report.json and adds the request to the ledger, once for each digest; returns the path of the report.

    Raises: ForgetError if it cannot be written; LedgerError if the ledger is damaged.
    """
    digest, path = report_digest(content), case.folder / "report.json"
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if not any(entry.get("report") == digest for entry in ledger.read_ledger(case.ledger)):
        entry = {
            "kind": "request",
            "time": ledger.now(),
            "name": case.folder.name,
            "folder": os.path.relpath(case.folder, case.ledger.parent),
            "request": content["asked"],
            "outcome": content["verdict"]["outcome"],
            "trace": content["readings"]["outputs"]["value"],
            "forget": content["data"]["forget"],
            "weights": content["model"]["after"],
            "report": digest,
        }
        ledger.append(case.ledger, entry)
    return path


def read_report(path: Path) -> dict[str, Any]:
    """A report from its file. Raises: ForgetError if it is none, or of another schema."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ForgetError(f"{path.name} cannot be read as a report: {error}.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ForgetError(f"{path.name} is no deletion report; it is the report.json of an answered request.")
    if content.get("schema") != SCHEMA:
        raise ForgetError(f"{path.name} has schema {content.get('schema')}; this program reads {SCHEMA}.")
    return content


def opened(path: str | Path, folder: Path | None = None) -> Case:
    """The case of a request, with everything checked before anything is computed or written.

    Raises: ForgetError, also where the folder holds the answer to another request; LedgerError for a damaged ledger.
    """
    case = open_case(read_request(path), folder)
    ledger.read_ledger(case.ledger)
    report = case.folder / "report.json"
    if report.is_file() and read_report(report).get("asked") != case.asked:
        raise case.request.error(
            "write.folder",
            f"{case.folder} holds the answer to another request: other images, other data or another model "
            "(its code, weights, recipe or seed). Give this one a folder of its own (write: {folder: …}); or delete "
            "that folder, if nobody needs the answer in it",
        )
    return case


def prepare(path: str | Path, folder: Path | None = None) -> Case:
    """As `opened`, and a copy of the request is kept beside the answer."""
    case = opened(path, folder)
    try:
        keep_copy(Path(path), case.folder / "request.yaml")
    except OSError as error:
        message = f"Cannot write to {case.folder}: {error.strerror}. Mend the rights, or free space."
        raise ForgetError(message) from error
    return case


def safe(text: object) -> str:
    """Text of somebody else's for a Markdown cell: no HTML, no Markdown, no maths.

    Only Markdown's own escape is used: HTML is escaped once, by what renders the cell.
    """
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", " ".join(str(text).split()))
