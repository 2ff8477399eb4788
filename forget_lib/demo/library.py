"""What the demo can show: the scenarios on disk, and the models of one of them ready to be asked."""

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import ImageData, Samples, load
from forget_lib.datasets.requests import KINDS, Request, draw_sets, request_for
from forget_lib.datasets.samples import normalise
from forget_lib.models.recipe import make_recipe
from forget_lib.models.train import predict, set_threads
from forget_lib.study import records
from forget_lib.study.run import load_model
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, list_methods

TITLES = {
    "mnist": "Digits (MNIST)",
    "synthetic_faces32": "Faces by age (synthetic, 32×32)",
    "synthetic_faces": "Faces by age (synthetic)",
    "synthetic_identity": "Faces by person (synthetic)",
    "cifar10": "Objects (CIFAR-10)",
    "cifar16": "Objects (CIFAR-10, 16×16)",
    "mufac": "Faces by age (MUFAC)",
    "orl": "Faces by person (ORL)",
    "lfw": "Faces by person (LFW)",
}
"""What people read in the list of studies, in its order; other data sets follow under their own names."""
MISSING = (
    "There is nothing to show yet: no models in {folder}. Run ./run_all.sh quick first, then open this page again."
)


@dataclass(frozen=True)
class Entry:
    """One scenario on disk: its retrained model and at least one method are there.

    Attributes: dataset, model, draw, seed: as in the records. request_name: the name of its folder.
        recipe: how the original was trained. methods: settings of each recorded method by name.
    """

    dataset: str
    model: str
    request_name: str
    draw: int
    seed: int
    recipe: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]

    @property
    def label(self) -> str:
        """For the list of studies: data set, model and what was forgotten."""
        return f"{TITLES.get(self.dataset, self.dataset)}: forget {request_words(self.request_name)} ({self.model})"


def request_words(name: str) -> str:
    """What the folder of a request means, for people: `class-any8` is "8 classes drawn at random"."""
    kind, _, what = name.partition("-")
    if kind == "random":
        return f"{100 * float(what):g} % of the images, drawn at random"
    if kind == "mislabelled":
        return f"the {100 * float(what):g} % of the images that are mislabelled"
    if re.fullmatch(r"any\d+", what):
        plural = {"class": "classes", "person": "people", "family": "families"}.get(kind, kind)
        return f"{what[3:]} {plural} drawn at random"
    return f"{kind} {what.replace('+', ', ')}"


def find_entries(root: str | Path) -> list[Entry]:
    """The scenarios under a results folder that can be shown, well-known data sets first; one draw and seed of each.

    Requests by sample index are left out: the folder's name does not say which samples they were.
    """
    found: dict[tuple[str, str, str], Entry] = {}
    for folder in sorted(Path(root).glob("*/*/draw*/seed*/retrain/run0")):
        record = records.read_record(folder)
        if record is None or record.get("status") != "done" or not (folder / "model.safetensors").is_file():
            continue
        key = (record["dataset"], record["model"], record["request"])
        methods = _methods(folder.parent.parent)
        # The folder `retrain` sorts draws and seeds as text; the first one found is the one shown.
        if key in found or not methods or record["request"].split("-")[0] in ("indices", "all"):
            continue
        keys = {name: record[name] for name in ("dataset", "model", "draw", "seed", "recipe")}
        found[key] = Entry(request_name=record["request"], methods=methods, **keys)
    order = {name: place for place, name in enumerate(TITLES)}
    return sorted(found.values(), key=lambda e: (order.get(e.dataset, len(order)), e.dataset, e.model, e.request_name))


def _methods(folder: Path) -> dict[str, Mapping[str, Any]]:
    found = {}
    for path in sorted(folder.glob("*/run0/model.safetensors")):
        record = records.read_record(path.parent)
        if record and record["status"] == "done" and record["method"] not in ("original", "retrain", "second_retrain"):
            found[record["method"]] = record.get("settings", {})
    return found


def request_text(name: str, data: ImageData) -> str:
    """The request that a folder is named after, such as `class:5` for `class-5`.

    Raises: ForgetError where no class, person or family of the data set gives that name.
    """
    kind, _, what = name.partition("-")
    if kind in ("random", "mislabelled"):
        return f"{kind}:{what}"
    known = {Request(kind, (member,)).name.partition("-")[2]: member for member in members(data, kind)}
    if re.fullmatch(r"any\d+", what):  # no folder of a name is called so
        return f"{kind}:*{what[3:]}"
    parts = [known.get(part) for part in what.split("+")]
    if kind not in KINDS or None in parts:
        raise ForgetError(f"The records of request {name} do not fit {data.name} any more; run the study again.")
    return request_for(data, kind, parts)


def members(data: ImageData, kind: str) -> tuple[str, ...]:
    """Names of all classes, people or families of a data set."""
    return {"class": data.classes, "person": data.person_names, "family": data.family_names}.get(kind, ())


@lru_cache(maxsize=4)
def shared_data(name: str, start: str) -> ImageData:
    """A data set, loaded once for all scenarios of the page; where it came from is shown there and not printed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return load(name, start)


@dataclass
class Bench:
    """The models of one scenario: "original", "retrain", the recorded methods, and what is added later.

    Attributes: entry, scenario. titles: model names and what people read, in order. broken: why a recorded
        method's model cannot be shown, by its name. models: those loaded so far.
    """

    entry: Entry
    scenario: Scenario
    titles: dict[str, str]
    broken: dict[str, str] = field(default_factory=dict)
    models: dict[str, nn.Module] = field(default_factory=dict)
    _logits: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    @property
    def data(self) -> ImageData:
        """The data set."""
        return self.scenario.data

    @property
    def unlearned(self) -> list[tuple[str, str]]:
        """(title, name) of all models but the original and the retrained one."""
        return [(title, name) for name, title in self.titles.items() if name not in ("original", "retrain")]

    @property
    def shows_faces(self) -> bool:
        """Whether an image for these models is a face, which must be found and cut out first."""
        return self.data.people is not None or "face" in self.data.name or "identity" in self.data.name

    def model(self, name: str) -> nn.Module:
        """A model by name, loaded on first use.

        Raises: ForgetError if its record is damaged.
        """
        if name not in self.models:
            loaded = load_original(self.scenario) if name == "original" else load_model(self.scenario, name)
            self.models[name] = loaded.eval()
        return self.models[name]

    def add(self, name: str, title: str, model: nn.Module) -> None:
        """Puts a model beside the recorded ones, or in the place of an older one of that name."""
        self.models[name], self.titles[name] = model.eval(), title
        self._logits = {key: value for key, value in self._logits.items() if key[0] != name}

    def probabilities(self, name: str, images: Tensor) -> Tensor:
        """Class probabilities float32 [N, K] of uint8 images [N, C, H, W] under a model."""
        return probabilities(self.model(name), images)

    def logits(self, name: str, part: str) -> Tensor:
        """Logits float32 [N, K] of one of the six sets ("test", "forget", "unseen", …) under a model, computed once."""
        if (name, part) not in self._logits:
            self._logits[name, part] = predict(self.model(name), self.samples(part))
        return self._logits[name, part]

    def samples(self, part: str) -> Samples:
        """One of the six sets."""
        return self.scenario.samples[part]


@torch.inference_mode()
def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """Class probabilities float32 [N, K] of uint8 images [N, C, H, W]; the model is in eval mode."""
    device = next(model.parameters()).device
    return model(normalise(images.to(device))).softmax(1).float().cpu()


def load_original(scenario: Scenario) -> nn.Module:
    """The recorded original, in eval mode; unlike `study.original` it never trains.

    Raises: ForgetError if there is no record.
    """
    model = scenario.new_model(0)
    model.load_state_dict(records.read_state(original_folder(scenario)))
    return model.eval()


def original_folder(scenario: Scenario) -> Path:
    """Where the original of a scenario is recorded."""
    return scenario.folder("original", request=scenario.parsed.original_name)


def open_bench(entry: Entry, root: str | Path, start: str = "sample", device: str = "cpu") -> Bench:
    """The bench of a scenario on disk.

    Args: start: first step of the data chain. device: where the models run.
    A method whose recorded model cannot be loaded is left out.
    Raises: ForgetError if the data are not those of the record, a name is not known any more, or the original or the
        retrained model cannot be loaded.
    """
    data = shared_data(entry.dataset, start)
    scenario = scenario_for(entry, root, request_text(entry.request_name, data), start, device)
    record = records.read_record(scenario.folder("retrain")) or {}
    if record.get("data_checksum") != data.checksum:
        raise ForgetError(
            f"The models of {entry.label} were trained on other data ({record.get('source')}) than {data.source}. "
            "Set start to the step they came from, or run the study again."
        )
    bench = Bench(entry, scenario, {"original": "Original", "retrain": "Retrained"})
    for name in bench.titles:
        bench.model(name)
    for name in entry.methods:
        try:
            load_model(scenario, name)
            bench.titles[name] = method_title(name)
        except ForgetError as error:
            bench.broken[name] = str(error)
    return bench


def method_title(name: str) -> str:
    """What people read for a method: its title, or its name where the plugin that it comes from is not loaded."""
    return get_method(name).title if name in list_methods() else name


def scenario_for(entry: Entry, root: str | Path, request: str, start: str, device: str) -> Scenario:
    """The scenario of an entry with another request, on the same data, draw, seed and recipe."""
    keys = {name: getattr(entry, name) for name in ("dataset", "model", "draw", "seed")}
    set_threads(1)
    scenario = Scenario(
        Path(root), request=request, start=start, device=device, recipe=make_recipe(entry.recipe), attacks=(), **keys
    )
    # The data stay in memory once, however many requests are tried.
    scenario.__dict__["data"] = shared_data(entry.dataset, start)
    _ = scenario.sets
    return scenario


def live_choices(bench: Bench) -> list[tuple[str, str]]:
    """What can be forgotten live, as (words, request): classes, families and people that the original was trained on.

    Where no original was trained for families, a family is forgotten as all its people that the one for people knows.
    """
    data = bench.data
    found = []
    if _has_original(bench, "class"):
        kind = "person" if set(data.classes) <= set(data.person_names) else "class"
        found += [(f"{kind} {name}", request_for(data, "class", [name])) for name in data.classes]
    if _has_original(bench, "family"):
        found += [(f"family {name}", request_for(data, "family", [name])) for name in _trained(bench, "family")]
    if _has_original(bench, "person"):
        people = _trained(bench, "person")
        if not _has_original(bench, "family"):
            families = _families(data, people).items()
            found += [(f"family {name}", request_for(data, "person", each)) for name, each in families]
        found += [(f"person {name}", request_for(data, "person", [name])) for name in people]
    return found


def _has_original(bench: Bench, kind: str) -> bool:
    names = members(bench.data, kind)
    folder = bench.scenario.folder("original", request=Request(kind, names[:1]).original_name)
    return len(names) > 1 and (folder / "model.safetensors").is_file()


def _trained(bench: Bench, kind: str) -> list[str]:
    """Names of the people or families that the original for such requests was trained on."""
    data = bench.data
    sets = draw_sets(data, Request(kind, count=1), bench.entry.draw)
    ids = data.people if kind == "person" else data.families
    return [members(data, kind)[index] for index in ids[sets.trained].unique().tolist()]


def _families(data: ImageData, people: list[str]) -> dict[str, list[str]]:
    """The people of each family with at least two of them, by the family's name."""
    if data.families is None:
        return {}
    home = dict(zip(data.people.tolist(), data.families.tolist(), strict=True))
    found: dict[str, list[str]] = {}
    for index, person in enumerate(data.person_names):
        if person in people and index in home:
            found.setdefault(data.family_names[home[index]], []).append(person)
    return {name: each for name, each in found.items() if len(each) > 1}
