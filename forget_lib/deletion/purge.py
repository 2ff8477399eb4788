"""What else still carries the forgotten data: unlearning a model is not deleting the data.

Lists, and on request removes, everything derived from them that an answer left behind, and says what is kept and why.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.names import OWN, is_code, is_own, split_options
from forget_lib.core.paths import data_folder, find
from forget_lib.datasets.own import caches_of
from forget_lib.deletion import ledger
from forget_lib.deletion.report import read_report, report_digest
from forget_lib.deletion.request import read_request
from forget_lib.deletion.verdict import FAIL, PASS, UNDECIDED

REMOVE, STRIP, KEEP, BY_HAND = "remove", "strip", "keep", "by hand"
DERIVED = {
    "records": "the original model and its records: it was trained on the requested images",
    "references": "measurements of all models on the requested images, some of them trained on these",
    "trial": "models and records of the trial, trained on the requested images",
    "tried": "models of answers that failed, and their reports: they still carry the data",
    "notebook": "executed notebooks and logs of the report, with the images they show",
}
MODEL = {
    PASS: "the answer itself: the model without the data",
    FAIL: "the model of an answer that failed: it still carries the data; do not use it, and retrain without them",
    UNDECIDED: "the model of an answer without enough evidence: it is not shown that the data are gone from it",
}
"""What the unlearned model is, by outcome of the verdict."""
KEPT = {
    "report.json": "the evidence: keyed hashes and numbers, no image",
    "report.html": "the same for people; pictures of requested images are taken out",
    "request.yaml": "what was asked; it may name a person, delete it by hand if that must go too",
    "request.base": "the folder that paths in the request start from, as seen from here",
    "purge.json": "this list, with dates",
}
CHAIN = "the chain of all requests; a gap would look like tampering"
KEY = "needed to check fingerprints and to find an image that comes back; remove it last"
CACHED = "cached copies of these images, made again when needed"
OF_OWN = re.compile(r"own-[A-Za-z0-9_.]+_[0-9a-f]{6}-")
"""What `own.caches_of` gives; of nothing else that a report says is a file removed."""
PICTURES = re.compile(r'<img[^>]*alt="Requested images[^"]*"[^>]*>', re.IGNORECASE)


@dataclass(frozen=True)
class Artefact:
    """A file or folder. action: remove, strip (pictures), keep, or by hand (nothing here may touch it)."""

    path: Path
    action: str
    why: str

    @property
    def size(self) -> int:
        """Bytes, of everything in it; 0 where it is not there."""
        files = [self.path] if self.path.is_file() else self.path.rglob("*")
        return sum(each.stat().st_size for each in files if each.is_file())

    def act(self) -> None:
        """Does what `action` says. Raises: OSError."""
        if self.action == STRIP:
            text = self.path.read_text(encoding="utf-8")
            write_text(self.path, PICTURES.sub("<em>Pictures of requested images were removed.</em>", text))
        elif self.action == REMOVE and self.path.is_dir():
            shutil.rmtree(self.path)
        elif self.action == REMOVE:
            self.path.unlink()


def artefacts(folder: Path, *, given_weights: bool = False) -> list[Artefact]:
    """Everything that an answer left and that came before it, and what is to happen to each.

    folder: of the answer. given_weights: whether the file of weights that the request gave may be removed too.
    Raises: ForgetError where there is no answer.
    """
    folder = Path(folder)
    if not (folder / "report.json").is_file():
        raise ForgetError(f"{folder.name} holds no report.json; name the folder of an answered request.")
    content, request = read_report(folder / "report.json"), read_request(folder / "request.yaml")
    found = [Artefact(folder / name, REMOVE, why) for name, why in DERIVED.items() if (folder / name).exists()]
    found += _remains(folder, {each.path for each in found})
    kept = {"unlearned": MODEL[content["verdict"]["outcome"]], **KEPT}
    page = folder / "report.html"
    if page.is_file() and PICTURES.search(page.read_text(encoding="utf-8")):
        found.append(Artefact(page, STRIP, "shows requested images"))
        del kept[page.name]
    found += [Artefact(folder / name, KEEP, why) for name, why in kept.items() if (folder / name).exists()]
    if request["model.weights"]:
        path, what = request.located("model.weights"), "the original model, as it was given"
        action, why = REMOVE if given_weights else BY_HAND, f"{what}; add --weights to remove it here"
        gone = Artefact(path, BY_HAND, f"{what}, was not found there: removed or moved since")
        found.append(Artefact(path, action, why) if path.exists() else gone)
    found += _data(request["data.name"], content["data"].get("caches"))
    where = request.ledger_of(folder)
    for path, why in ((where, CHAIN), (where.with_suffix(".key"), KEY)):
        gone = Artefact(path, BY_HAND, "not found there: the answer, or this, was moved since")
        found.append(Artefact(path, KEEP, why) if path.exists() else gone)
    return found


def _remains(folder: Path, removed: set[Path]) -> Iterator[Artefact]:
    """Hidden files and folders that a killed run was still writing: outermost ones, outside of what goes anyway."""
    for path in sorted(folder.rglob(".*")):
        if path.suffix != ".lock" and not removed & set(path.parents):
            removed = {*removed, path}
            yield Artefact(path, REMOVE, "half written by a run that was killed; it may hold weights or images")


def _data(name: str, told: str | None) -> Iterator[Artefact]:
    """The data themselves and their caches. told: what names of caches begin with by the report, which holds wherever
    data and answer have gone since; None in reports of before it was kept."""
    if not is_own(name):
        for path in sorted(data_folder().glob("*")):
            if path.is_dir() and name.startswith(path.name):
                yield Artefact(path, BY_HAND, "the data themselves, as fetched")
        if name.startswith(("mufac", "utkface")) and (data_folder() / "cache").exists():
            yield Artefact(data_folder() / "cache", REMOVE, CACHED)
        return
    base = split_options(name.removeprefix(OWN))[0]
    source = find(base)
    begun = {caches_of(source), *filter(OF_OWN.fullmatch, [told or ""])}
    for cache in sorted({cache for each in begun for cache in data_folder().glob(f"{each}*")}):
        yield Artefact(cache, REMOVE, CACHED)
    why = "the data themselves, their copies and backups"
    if not is_code(base) and not source.exists():
        why = "the data were not found there: removed or moved since; look for them, their copies and backups"
        if told is None:
            why += "; the answer is older and does not name its caches; look for own-… in the data folder"
    why += "; caches of other folders or tables that hold the same pictures are not known here"
    yield Artefact(source, BY_HAND, why)


def table(found: list[Artefact]) -> pd.DataFrame:
    """Artefacts as a table: what, bytes, action, why; folders above are left out."""
    rows = [[each.path.name, each.size, each.action, each.why] for each in found]
    return pd.DataFrame(rows, columns=["what", "bytes", "action", "why"])


def purge(folder: Path, *, given_weights: bool = False) -> dict[str, Any]:
    """Removes what is to be removed, takes pictures out of the page, writes purge.json, and adds it to the ledger.

    Returns: the content of purge.json. Raises: LedgerError before anything is removed; ForgetError naming what could
    not be removed (the rest is).
    """
    folder = Path(folder)
    found = artefacts(folder, given_weights=given_weights)
    where = read_request(folder / "request.yaml").ledger_of(folder)
    ledger.read_ledger(where)
    rows, failed = [], []
    for each in found:
        row = {"what": each.path.name, "action": each.action, "why": each.why, "bytes": each.size, "time": ledger.now()}
        try:
            each.act()
        except OSError as error:
            failed.append(f"{each.path.name} ({error.strerror})")
            row["action"] = "failed"
        rows.append(row)
    content = {"kind": "forget purge", "name": folder.name, "artefacts": rows}
    earlier = folder / "purge.json"
    if earlier.is_file():
        content["earlier"] = json.loads(earlier.read_text(encoding="utf-8"))
    write_text(earlier, json.dumps(content, indent=1) + "\n")
    removed = [row["what"] for row in rows if row["action"] in (REMOVE, STRIP)]
    report = report_digest(read_report(folder / "report.json"))
    entry = {"kind": "purge", "time": ledger.now(), "name": folder.name, "removed": removed, "report": report}
    ledger.append(where, entry)
    if failed:
        raise ForgetError(f"Could not be removed: {', '.join(failed)}. Mend the rights and purge again.")
    return content
