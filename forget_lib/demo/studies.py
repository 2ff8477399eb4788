"""The studies on disk that can be shown, and the models of one of them, ready to be asked."""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import samples_folder
from forget_lib.datasets import ImageData, Samples
from forget_lib.datasets.mufac import AGES, read_part
from forget_lib.datasets.requests import IDS, NAMED, Request, draw_sets, parse_request, request_for, resolve
from forget_lib.datasets.samples import normalise
from forget_lib.models.recipe import make_recipe
from forget_lib.models.train import predict, set_threads
from forget_lib.study import plugins, records
from forget_lib.study.run import load_model
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, list_methods

ASSETS = Path(__file__).resolve().parent / "assets"
TITLES: dict[str, dict[str, Any]] = json.loads((ASSETS / "titles.json").read_text(encoding="utf-8"))
"""What people read of a data set, in the order of the studies; others follow under their own names. picture: place in
studies.png, which shows embedded samples. one, many: what its classes are."""
DIGITS = "mnist"
PLURAL = {"class": "classes", "person": "people", "family": "families"}
WORDS = {tuple("0123456789"): "digit {}", AGES: "{} years old"}
SEXES = (("woman", "girl"), ("man", "boy"), ("", ""))
ADULT = 18
MOST_COMPARED, UNUSUAL = 2000, 0.05
"""Pictures of pool and test set that `Likeness` looks at, and the share of test pictures that are unusual."""
CONTROLS = ("original", "retrain", "second_retrain")
"""Models that every study has: they are no methods to choose from."""


@dataclass(frozen=True)
class Entry:
    """One study on disk: its retrained model and at least one method are there.

    recipe: as in the record of the retrained model. methods: settings of each recorded method by name.
    """

    dataset: str
    model: str
    request: str
    draw: int
    seed: int
    recipe: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]

    @property
    def label(self) -> str:
        title = TITLES.get(self.dataset, {}).get("title", self.dataset)
        return f"{title}: forget {request_words(self.request, self.dataset)}"

    @property
    def picture(self) -> Tensor:
        """What stands for the data set in the row of studies: uint8 [3, H, W]; grey where nothing is embedded."""
        strip = torch.from_numpy(np.array(Image.open(ASSETS / "studies.png").convert("RGB"))).permute(2, 0, 1)
        place, side = TITLES.get(self.dataset, {}).get("picture"), strip.shape[1]
        if place is None:
            return torch.full((3, side, side), 128, dtype=torch.uint8)
        return strip[:, :, place * side : (place + 1) * side]


def request_words(text: str, dataset: str = "") -> str:
    """What a request asks for, for people: `class:*8` of the digits is "8 digits"."""
    asked = parse_request(text)
    of_class = TITLES.get(dataset, {}) if asked.kind == "class" else {}
    one, many = of_class.get("one", asked.kind), of_class.get("many", PLURAL.get(asked.kind, asked.kind))
    if asked.fraction is not None:
        share = f"{100 * asked.fraction:g} % of the images"
        return f"{share} at random" if asked.kind == "random" else f"the {share} that are mislabelled"
    if asked.count is not None:
        return f"one {one}" if asked.count == 1 else f"{asked.count} {many}"
    if asked.kind == "indices":
        return f"{len(asked.members)} chosen images"
    return "the published list" if asked.kind == "official" else f"{one} {', '.join(asked.members)}"


def find_entries(root: str | Path) -> list[Entry]:
    """The studies under a results folder that can be shown, well-known data sets first; one draw and seed of each."""
    found: dict[tuple[str, str, str], Entry] = {}
    for folder in sorted(Path(root).glob("*/*/draw*/seed*")):
        runs = [run for path in sorted(folder.glob("*/run0")) if (run := _with_model(path))]
        retrained = next((run for run in runs if run["method"] == "retrain"), None)
        methods = {run["method"]: run.get("settings", {}) for run in runs if run["method"] not in CONTROLS}
        if retrained is not None and methods:
            keys = {name: retrained[name] for name in ("dataset", "model", "draw", "seed", "recipe")}
            entry = Entry(request=retrained["request_text"], methods=methods, **keys)
            found.setdefault((entry.dataset, entry.model, entry.request), entry)
    order = {name: place for place, name in enumerate(TITLES)}
    return sorted(found.values(), key=lambda e: (order.get(e.dataset, len(order)), e.dataset, e.model, e.request))


def _with_model(folder: Path) -> dict[str, Any] | None:
    """The record of a folder if it is whole and its model was kept."""
    record = records.read_record(folder)
    done = record is not None and record.get("status") == "done" and "request_text" in record
    return record if done and (folder / "model.safetensors").is_file() else None


class Likeness:
    """How much a picture is like the likeliest of the training pool (correlation), and how much test pictures are."""

    def __init__(self, data: ImageData) -> None:
        self.pool = _small(data.images[:MOST_COMPARED])
        self.usual = float(self._most(data.test_images[:MOST_COMPARED]).quantile(UNUSUAL))

    def _most(self, images: Tensor) -> Tensor:
        return (_small(images) @ self.pool.T).max(1).values

    def unlike(self, image: Tensor) -> bool:
        """Whether an image, uint8 [C, H, W], is less like them than 95 % of test pictures are."""
        return float(self._most(image[None])) < self.usual


def _small(images: Tensor) -> Tensor:
    """Images of 14 pixels a side without brightness and contrast, float32 [N, C·14·14]."""
    small = functional.adaptive_avg_pool2d(images.cpu().float(), 14).flatten(1)
    return functional.normalize(small - small.mean(1, keepdim=True))


@dataclass
class Bench:
    """The models of one study: "original", "retrain", the recorded methods, and what is added later.

    titles: model names and what people read, in order. broken: why a recorded method's model cannot be shown, by name.
    others: models that forgot something else than the study did.
    """

    entry: Entry
    scenario: Scenario
    titles: dict[str, str]
    broken: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    _models: dict[str, nn.Module] = field(default_factory=dict)
    _logits: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    @property
    def data(self) -> ImageData:
        return self.scenario.data

    @cached_property
    def likeness(self) -> Likeness:
        return Likeness(self.data)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What people read for each class."""
        return class_words(self.data)

    @property
    def unlearned(self) -> list[tuple[str, str]]:
        """(title, name) of all models but the original and the retrained one."""
        return [(title, name) for name, title in self.titles.items() if name not in CONTROLS]

    @property
    def shows_faces(self) -> bool:
        """Whether an image for these models is a face, which must be found and cut out first."""
        with_people = self.data.people is not None and not self.data.public
        return with_people or "face" in self.data.name or "identity" in self.data.name

    def model(self, name: str) -> nn.Module:
        """A model by name, loaded on first use. Raises: ForgetError if its record is damaged."""
        if name not in self._models:
            self._models[name] = load_model(self.scenario, name)
        return self._models[name]

    def add(self, name: str, title: str, model: nn.Module, *, same_request: bool = True) -> None:
        """Puts a model beside the recorded ones, or in the place of an older one of that name."""
        (self.others.discard if same_request else self.others.add)(name)
        self._models[name], self.titles[name] = model.eval(), title
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


def method_title(name: str) -> str:
    """What people read for a method: its title, or its name where the plugin that it comes from is not loaded."""
    return get_method(name).title if name in list_methods() else name


def open_bench(entry: Entry, root: str | Path, start: str = "sample", device: str = "cpu") -> Bench:
    """The bench of a study on disk; a method whose recorded model cannot be loaded is left out.

    Args: start: first step of the data chain. device: where the models run.
    Raises: ForgetError if the data are not those of the record, a name is not known any more, or the original or the
        retrained model cannot be loaded.
    """
    set_threads(1)
    keys = {name: getattr(entry, name) for name in ("dataset", "model", "request", "draw", "seed")}
    plugins.load_from_environment()
    scenario = Scenario(Path(root), start=start, device=device, recipe=make_recipe(entry.recipe), attacks=(), **keys)
    with contextlib.redirect_stdout(io.StringIO()):  # where the data came from is shown on the page
        data = scenario.data
    record = records.read_record(scenario.folder("retrain")) or {}
    if record.get("data_checksum") != data.checksum:
        raise ForgetError(
            f"The models of {entry.label} were trained on other data ({record.get('source')}) than {data.source}. "
            "Set start to the step they came from, or run the study again."
        )
    bench = Bench(entry, scenario, {"original": "Original", "retrain": "Retrained"})
    for name in list(bench.titles):
        bench.model(name)
    for name in entry.methods:
        try:
            load_model(scenario, name)  # forgotten again: with all methods' models in memory, a large net fills it
            bench.titles[name] = method_title(name)
        except ForgetError as error:
            bench.broken[name] = str(error)
    return bench


def class_words(data: ImageData) -> tuple[str, ...]:
    """What people read for each class: "digit 5", "20-30 years old", or who a person is."""
    if by_person(data):
        return tuple(person_words(data, name) for name in data.classes)
    form = next((form for group, form in WORDS.items() if set(data.classes) <= set(group)), "{}")
    return tuple(form.format(name) for name in data.classes)


def by_person(data: ImageData) -> bool:
    """Whether each class is a person."""
    return set(data.classes) <= set(data.person_names)


def person_words(data: ImageData, name: str) -> str:
    """Number, sex and age of a person, as far as known: "Person 12, woman, 33"; a user's own keep their names."""
    if data.files or data.people is None or data.sexes is None:
        return name
    number = data.person_names.index(name)
    years = rendered_years().get(name) if data.name == "synthetic_identity" else None
    sexes = data.sexes[data.people == number]
    sex = SEXES[int(sexes[0])][years is not None and years < ADULT] if len(sexes) else ""
    parts = [f"Person {number + 1}", sex, "" if years is None else str(years)]
    return ", ".join(part for part in parts if part)


@cache
def rendered_years() -> dict[str, int]:
    """Age in years of each rendered person of the identity data, from its file names."""
    faces = read_part(samples_folder() / "faces", "identity")
    return {face.person_name: int(face.path.stem.split("_")[-2]) for face in faces}


def live_choices(bench: Bench) -> list[tuple[str, str]]:
    """What can be forgotten live, as (words, request): classes, families and people that the original was trained on.

    Where no original was trained for families, a family is forgotten as all its people that the one for people knows.
    """
    data = bench.data
    classes, families, people = (_trained(bench, kind) for kind in ("class", "family", "person"))
    names = dict(zip(data.classes, bench.words, strict=True))
    found = [(names[name], request_for(data, "class", [name])) for name in classes]
    found += [(f"family {name}", request_for(data, "family", [name])) for name in families]
    if not families:
        found += [(f"family {name}", request_for(data, "person", each)) for name, each in _families(data, people)]
    return found + [(person_words(data, name), request_for(data, "person", [name])) for name in people]


def names_image(data: ImageData, request: str, index: int) -> bool:
    """Whether a request for classes, people or families names that of an image of the pool."""
    asked = resolve(data, parse_request(request))
    names, ids = getattr(data, NAMED[asked.kind]), getattr(data, IDS[asked.kind])
    return names[int(ids[index])] in asked.members


def first_image(data: ImageData, request: str) -> Tensor:
    """A picture of the first class, person or family that a request names: uint8 [C, H, W]."""
    asked = resolve(data, parse_request(request))
    number = getattr(data, NAMED[asked.kind]).index(asked.members[0])
    return data.images[int((getattr(data, IDS[asked.kind]) == number).nonzero()[0])].cpu()


def _trained(bench: Bench, kind: str) -> list[str]:
    """Names of the classes, people or families that the original for such requests knows; none without an original."""
    data, names = bench.data, getattr(bench.data, NAMED[kind])
    folder = bench.scenario.folder("original", request=Request(kind).original_name)
    if len(names) < 2 or not (folder / "model.safetensors").is_file():
        return []
    if kind == "class":
        return list(names)
    ids = data.people if kind == "person" else data.families
    trained = draw_sets(data, Request(kind, count=1), bench.entry.draw).trained
    return [] if ids is None else [names[index] for index in ids[trained].unique().tolist()]


def _families(data: ImageData, people: list[str]) -> list[tuple[str, list[str]]]:
    """The families with at least two of these people, and who they are."""
    if data.people is None or data.families is None:
        return []
    found: dict[str, list[str]] = {}
    for person, family in sorted(dict(zip(data.people.tolist(), data.families.tolist(), strict=True)).items()):
        if data.person_names[person] in people:
            found.setdefault(data.family_names[family], []).append(data.person_names[person])
    return [(name, each) for name, each in found.items() if len(each) > 1]
