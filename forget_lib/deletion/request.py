"""The request: a YAML file with a versioned schema; all its mistakes are named at once, each with its line.

`Asked` is the documentation: keys, what they mean, ranges and defaults. Worked examples are in
workflow/config/requests. Every path in a request is relative to its file.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from forget_lib.core.errors import ForgetError
from forget_lib.core.names import located_name, public_name, request_text, seen_from
from forget_lib.core.settings import Settings, Written, faults_of, read_yaml
from forget_lib.datasets.requests import parse_request
from forget_lib.models.recipe import recipe_faults
from forget_lib.unlearning import METHODS
from forget_lib.unlearning.registry import check_settings

EXPLICIT = ("class", "person", "family", "indices")
FILES = "files"
INDICES_OF = "indices:@"
BASE = ".base"
"""Suffix of the note beside a copied request: the folder that its paths are relative to."""


def _names_what_is_to_go(value: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(value, dict) and FILES in value:
        names = value[FILES]
        listed = len(value) == 1 and isinstance(names, list) and len(names) > 0
        if not listed or not all(isinstance(name, str) for name in names):
            raise ValueError("expected files: [name, …]")
        return value
    try:
        request = parse_request(request_text(value))
    except ForgetError as error:
        raise ValueError(str(error)) from error
    if request.kind not in EXPLICIT or request.count is not None:
        raise ValueError(f"a deletion request names what is to go; kinds: {', '.join(EXPLICIT)}, with names or numbers")
    return value


class Data(Settings):
    """The data that the model was trained on."""

    name: str = Field(description="a registered data set, or own:PATH")
    start: str = Field(default="local", description="first step of the data chain: local, official, mirror or sample")


class Model(Settings):
    """The trained model."""

    name: str = Field(description="a registered model, or module:function")
    weights: str = Field(default="", description="file of the trained weights; empty: trained here by the recipe")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the training, where it is trained here")


class HeldOut(Settings):
    """Images that the model never saw."""

    draw: int = Field(default=0, ge=0, le=10**6, description="as the study draws them")
    indices: str = Field(default="", description="or: a file with their pool indices, one a line")
    drop_requested: bool = Field(default=False, description="take requested people or files out of the sets")


class Budget(Settings):
    """How much may be trained."""

    references: int = Field(default=8, ge=3, le=200, description="retrained reference models")
    originals: int = Field(default=4, ge=3, le=100, description="models trained on everything, to measure along")
    kept: int = Field(default=4, ge=0, le=100, description="retrainings that keep a quarter of the forget set")
    shares: int = Field(default=1, ge=0, le=20, description="retrainings for each further share of the error curve")
    trials: int = Field(default=2, ge=1, le=6, description="settings tried for each method of the trial")
    methods: int = Field(default=3, ge=1, le=20, description="methods in the trial")
    method_cost: float = Field(default=0.2, ge=0, le=1, description="most that a method may cost, in retrainings")
    processes: int = Field(default=0, ge=0, le=256, description="trainings at a time; 0: one a core")


class Write(Settings):
    """Where the answer goes, and what it shows."""

    folder: str = Field(default="", description="empty: results/forget/<name of the file>")
    images: bool = Field(default=False, description="show requested images in the report")
    ledger: str = Field(default="", description="empty: ledger.jsonl beside the folder")


class Asked(Settings):
    """All keys of a request."""

    version: int = Field(ge=1, le=1, description="of this schema; this program reads 1")
    title: str = Field(default="", description="a line for the report")
    contact: str = Field(default="", description="who answers questions about the answer, for its first page")
    data: Data
    model: Model
    recipe: dict[str, Any] = Field(description="how the model was trained; keys of forget_lib.models.recipe.Recipe")
    forget: Annotated[str | dict[str, Any], AfterValidator(_names_what_is_to_go)] = Field(
        description="class:NAME, person:NAME, family:NAME, indices:1,2, {person: [NAME, …]}, or {files: [PATH, …]}"
    )
    held_out: HeldOut = HeldOut()
    method: str = Field(default="auto", description="auto, or the name of a method")
    settings: dict[str, Any] = Field(default={}, description="of that method; left out: as tuned, else its defaults")
    budget: Budget = Budget()
    margin: float = Field(default=0.2, gt=0, lt=0.25, description="largest trace at the outputs that counts as none")
    write: Write = Write()
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of references, trials and the method")


@dataclass(frozen=True)
class DeletionRequest(Written):
    """A request as read. values: every key of `Asked`, nested. base: folder that its paths are relative to."""

    base: Path = Path()

    def __getitem__(self, name: str) -> Any:
        """The value of a dotted name, such as `data.name`."""
        value: Any = self.values
        for part in name.split("."):
            value = value[part]
        return value

    @property
    def name(self) -> str:
        """The file's name without suffix: letters, digits and . + _ - only."""
        return "".join(c if c.isalnum() or c in ".+_-" else "_" for c in self.path.stem) or "request"

    def located(self, name: str) -> Path:
        """The path in a value, relative to the request's file, or where that was copied from."""
        return Path(seen_from(self.base, self[name]))

    def ledger_of(self, folder: Path) -> Path:
        """The ledger, where the answer is in this folder."""
        return self.located("write.ledger") if self["write.ledger"] else folder.parent / "ledger.jsonl"

    @contextmanager
    def blaming(self, name: str) -> Iterator[None]:
        """Any mistake within is one of the key of that dotted name."""
        try:
            yield
        except ForgetError as error:
            raise self.error(name, str(error)) from error


def read_request(path: str | Path) -> DeletionRequest:
    """Reads and checks a request file; nothing is computed.

    Raises: ForgetError with every mistake, a line each.
    """
    written = read_yaml(path, "request")
    base = _base(written.path)
    values = _located(written.values, base) if isinstance(written.values, Mapping) else written.values
    faults = faults_of(Asked, values, "request") or _faults_between(Asked.model_validate(values))
    if isinstance(values, Mapping) and isinstance(values.get("recipe"), Mapping):
        faults |= {f"recipe.{name}": words for name, words in recipe_faults(values["recipe"]).items()}
    if faults:
        ordered = sorted(faults.items(), key=lambda fault: written.line(fault[0]))
        raise ForgetError("\n".join(str(written.error(name, words)) for name, words in ordered))
    return DeletionRequest(written.path, Asked.model_validate(values).model_dump(), written.lines, base)


def _faults_between(asked: Asked) -> dict[str, str]:
    """What is wrong with one key beside another, by key."""
    faults = {}
    if asked.held_out.indices and "draw" in asked.held_out.model_fields_set:
        faults["held_out.indices"] = "give held_out.draw or held_out.indices, not both"
    if asked.method == "auto" and asked.settings:
        faults["settings"] = "settings belong to a method; name it in `method`"
    if asked.method != "auto":
        try:
            check_settings(asked.method, asked.settings)
        except ForgetError as error:
            faults["settings" if asked.method in METHODS else "method"] = str(error)
    return faults


def _located(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The values with the paths in names of data, models and functions seen from `base`, wherever the program runs."""
    located = dict(values)
    for key, name in (("data", "name"), ("model", "name"), ("recipe", "function")):
        inner = values.get(key)
        if isinstance(inner, Mapping) and isinstance(inner.get(name), str):
            located[key] = {**inner, name: located_name(inner[name], base)}
    forget = values.get("forget")
    if isinstance(forget, str) and forget.startswith(INDICES_OF):
        located["forget"] = INDICES_OF + seen_from(base, forget.removeprefix(INDICES_OF))
    return located


def _base(path: Path) -> Path:
    note = path.with_suffix(BASE)
    return path.resolve().parent / (note.read_text(encoding="utf-8").strip() if note.is_file() else "")


def keep_copy(path: Path, kept: Path) -> None:
    """Copies a request to `kept`, with a note of the folder that its paths are relative to. Raises: OSError."""
    if path.resolve() != kept.resolve():
        kept.parent.mkdir(parents=True, exist_ok=True)
        base = _base(path)
        kept.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        kept.with_suffix(BASE).write_text(os.path.relpath(base, kept.parent.resolve()), encoding="utf-8")


def as_written(request: DeletionRequest) -> dict[str, Any]:
    """The request for the report: all values, folders left out of paths."""

    def public(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: public(each) for key, each in value.items()}
        return public_name(value) if isinstance(value, str) and "/" in value else value

    asked = request["forget"]
    if isinstance(asked, Mapping) and FILES in asked:
        asked = {FILES: [public_name(name) if name.startswith(("/", "~")) else name for name in asked[FILES]]}
    # A title and names of people may hold a slash that belongs to no path.
    return public(request.values) | {"title": request["title"], "forget": asked}
