"""A scenario: a data set, a model, a request, a draw and a seed, checked before anything trains."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from forget_lib.attacks import get_attack
from forget_lib.core.errors import ForgetError
from forget_lib.core.names import is_own, listed_request, public_name, short_name
from forget_lib.core.paths import sha256_of
from forget_lib.datasets import ImageData, Samples, load, requests
from forget_lib.datasets.requests import Request, Sets
from forget_lib.models.given_weights import put_weights, require_described, weights_file
from forget_lib.models.nets import build
from forget_lib.models.own import parse_spec
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.train import choose_device, require_trainable, set_threads
from forget_lib.study import plugins
from forget_lib.study.records import record_folder

EVALUATED = ("forget", "retain", "validation", "unseen", "population", "test")


@dataclass(frozen=True)
class Scenario:
    """A data set, a model, a request, a draw and a seed: everything that methods are compared on.

    root: results folder of the profile. start: first step of the data chain. request: as text, see `parse_request`.
    draw: which forget set of that kind. seed: of the original's training. recipe: how it is trained. attacks: names of
    the attacks on each model. device: "cpu", "cuda", "mps" or "auto".
    """

    root: Path
    dataset: str
    model: str
    request: str
    draw: int = 0
    seed: int = 0
    start: str = "local"
    device: str = "cpu"
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    attacks: tuple[str, ...] = ("loss_regression",)

    @cached_property
    def data(self) -> ImageData:
        """The data set, loaded once."""
        return load(self.dataset, self.start)

    def asking(self, request: str) -> "Scenario":
        """The same with another request, on the data that are loaded already."""
        return self._changed(request=request)

    def _changed(self, **fields: Any) -> "Scenario":
        other = dataclasses.replace(self, **fields)
        other.__dict__["data"] = self.data
        return other

    def pair(self, number: int) -> "Scenario":
        """The same with the draw and the seed so many further on; 0 is the scenario itself."""
        return self._changed(draw=self.draw + number, seed=self.seed + number) if number else self

    @cached_property
    def parsed(self) -> Request:
        """The request, with the data's own names."""
        return requests.resolve(self.data, requests.parse_request(self.request))

    @cached_property
    def request_text(self) -> str:
        """The request in the data's own names, as records hold it: no file is needed to read it again."""
        asked = self.parsed
        if asked.fraction is not None:
            return f"{asked.kind}:{asked.fraction!r}"
        if asked.count is not None:
            return f"{asked.kind}:*{asked.count}"
        if asked.kind in requests.NAMED:
            text = requests.request_for(self.data, asked.kind, asked.members)
            alike = requests.parse_request(text).members == asked.members
            return text if alike else listed_request(asked.kind, asked.members)
        return f"{asked.kind}:{','.join(asked.members)}"

    @cached_property
    def sets(self) -> Sets:
        """Indices of the six sets."""
        return requests.draw_sets(self.data, self.parsed, self.draw)

    @cached_property
    def samples(self) -> dict[str, Samples]:
        """The six sets by name, on the device, and "trained" (forget and retain together)."""
        data = self.data
        by_people = self.groups_people or not data.public
        people, test_people = (data.people, data.test_people) if by_people else (None, None)
        common: dict[str, Any] = {"batch_size": self.recipe.batch_size, "augmentation": self.recipe.augmentation}
        found = {}
        for name in ("forget", "retain", "validation", "unseen", "population", "trained"):
            rows = getattr(self.sets, name)
            of_people = None if people is None else people[rows]
            found[name] = Samples(data.images[rows], self.sets.labels[rows], people=of_people, **common)
        found["test"] = Samples(data.test_images, data.test_labels, people=test_people, **common)
        return {name: samples.to(self.torch_device) for name, samples in found.items()}

    @cached_property
    def torch_device(self) -> torch.device:
        """Where models and samples are."""
        return choose_device(self.device)

    @property
    def tuned_for(self) -> tuple[str, str, str, str]:
        """What chosen settings go by, see `chosen.settings_file`: data set, model, kind of request, data checksum."""
        return self.dataset, self.model, self.parsed.kind, self.data.checksum

    @property
    def retraining(self) -> int:
        """Sample passes of training anew without the forget set."""
        return 3 * self.recipe.epochs * len(self.samples["retain"])

    @property
    def own_code(self) -> list[str]:
        """Hashes of the user's own code and weights behind a model of this scenario, for the key of a record."""
        found = plugins.own_code(self.model, self.recipe.function)
        return [*found, sha256_of(weights_file(self.weights))] if self.weights else found

    @property
    def weights(self) -> str:
        """File of the weights that the original model is given, or empty where it is trained here."""
        return parse_spec(self.model).options.weights if is_own(self.model) else ""

    @property
    def classes(self) -> tuple[int, ...]:
        """Requested classes of a class request, else empty."""
        return requests.requested_classes(self.data, self.parsed, self.draw)

    @property
    def forgotten(self) -> str:
        """Index and name of every class, person, family or file that is to go."""
        return requests.forgotten_words(self.data, self.parsed, self.sets)

    @property
    def test_kept(self) -> Samples:
        """The test samples of classes that stay."""
        test = self.samples["test"]
        gone = torch.isin(test.labels, torch.tensor(self.classes, dtype=torch.int64, device=test.labels.device))
        return test.subset(~gone)

    @property
    def groups_people(self) -> bool:
        """Whether the request is about whole people or families, so that the person is the unit of an interval."""
        return requests.parse_request(self.request).kind in ("person", "family", "official")

    def new_model(self, seed: int) -> nn.Module:
        """An untrained model on the device. Raises: ForgetError for a name, or for batches that it cannot train on."""
        channels, height, width = self.data.images.shape[1:]
        model = build(self.model, (channels, height, width), len(self.data.classes), seed)
        try:
            require_trainable(model, self.recipe)
        except ForgetError as error:
            raise ForgetError(f"{public_name(self.model)}: {error}") from error
        return model.to(self.torch_device)

    def folder(self, method: str, run: int = 0, *, request: str | None = None) -> Path:
        """Folder of a record of this scenario."""
        keys = {"dataset": self.dataset, "model": self.model, "draw": self.draw, "seed": self.seed}
        return record_folder(self.root, request=request or self.parsed.name, method=method, run=run, **keys)


def make_scenario(
    root: str | Path,
    recipe: Mapping[str, Any] | None = None,
    attacks: tuple[str, ...] | list[str] = ("loss_regression",),
    **fields: Any,
) -> Scenario:
    """A `Scenario` from a notebook's parameters; everything that can be wrong is checked before anything trains.

    recipe: settings of a `Recipe`. fields: dataset, model, request, draw, seed, start, device. Plugins that the
    environment names are loaded first.
    """
    set_threads(1)
    plugins.load_from_environment()
    for name in attacks:
        get_attack(name)
    scenario = Scenario(Path(root), recipe=make_recipe(recipe), attacks=tuple(attacks), **fields)
    if not scenario.recipe.known and not scenario.weights:
        raise ForgetError("Without a recipe the original model cannot be trained: give weights, model?weights=FILE.")
    model = scenario.new_model(0)
    _ = scenario.sets
    if scenario.weights:
        require_described(model, scenario.model, scenario.data, scenario.dataset)
        put_weights(model, scenario.weights, scenario.model)
    return scenario


def seed_of(*parts: object) -> int:
    """A seed below 2^31 that belongs to these parts alone."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big") >> 1


def describe(scenario: Scenario) -> dict[str, Any]:
    """What a record says of its scenario."""
    data = scenario.data
    about = names_for_records(scenario.dataset, scenario.model) | {"draw": scenario.draw, "seed": scenario.seed}
    about |= {"source": data.source, "synthetic": data.synthetic, "sampled": data.sampled}
    about["data_checksum"] = data.checksum
    if data.notes:
        about["data_notes"] = list(data.notes)
    about["recipe"] = public_recipe(dataclasses.asdict(scenario.recipe))
    about["sizes"] = {name: len(scenario.samples[name]) for name in EVALUATED}
    return about | {"device": str(scenario.torch_device)}


def public_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings without the folder of its function; for records."""
    return {key: public_name(value) if key == "function" else value for key, value in recipe.items()}


def names_for_records(dataset: str, model: str) -> dict[str, Any]:
    """What a record calls its data set and model: short names, and for a user's own what was given, without folders."""
    names = {"dataset": dataset, "model": model}
    given = {f"{key}_given": public_name(name) for key, name in names.items() if is_own(name)}
    return {key: short_name(name) for key, name in names.items()} | given
