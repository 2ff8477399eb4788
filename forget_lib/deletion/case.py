"""A request made concrete: data, model, sets, and everything that can be wrong with them, checked before training."""

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forget_lib.core.errors import ForgetError, first_few
from forget_lib.core.names import composed, public_name, request_text
from forget_lib.core.paths import RESULTS, sha256_of
from forget_lib.datasets import ImageData, load
from forget_lib.datasets.requests import NAMED, Request, Sets, draw_sets, requested_classes
from forget_lib.datasets.samples import Samples
from forget_lib.deletion import ledger
from forget_lib.deletion.request import FILES, DeletionRequest
from forget_lib.models.given_weights import put_weights, require_described
from forget_lib.models.recipe import make_recipe
from forget_lib.models.train import set_threads
from forget_lib.study import plugins
from forget_lib.study.scenario import Scenario, public_recipe

FOLDER = RESULTS / "forget"
HELD_OUT_ADVICE = (
    "If it did see them, name images that it never saw: in held_out (indices: FILE), and for the test set in a folder "
    "or part `test`. If all of it was training, add new images first: what the model saw cannot stand for unseen ones."
)
GROUPS = {"person": "people", "family": "families"}
"""Kinds of request about people, and where the data hold whom an image shows."""


@dataclass(frozen=True)
class RequestedScenario(Scenario):
    """A scenario of the study whose held-out images may be given one by one.

    given: file of the trained weights, in place of those in the model's name. held_out: pool indices that the model
    never saw; None: as the study draws them. drop: take test and held-out images of the requested people out of the
    sets, instead of refusing the request. requested_test: test images that are requested one by one, and taken out.
    """

    given: str = ""
    held_out: tuple[int, ...] | None = None
    drop: bool = False
    requested_test: tuple[int, ...] = ()

    @property
    def weights(self) -> str:
        """File of the weights that the original model is given, or empty where it is trained here."""
        return self.given or super().weights

    @cached_property
    def sets(self) -> Sets:
        if self.held_out is None:
            return draw_sets(self.data, self.parsed, self.draw)
        return sets_with(self.data, self.parsed, torch.tensor(sorted(self.held_out), dtype=torch.int64), self.drop)

    @cached_property
    def samples(self) -> dict[str, Samples]:
        """The six sets by name, without requested test images where these are dropped."""
        found = dict(super().samples)
        standing = also_in_test(self.data, self.parsed)
        standing[list(self.requested_test)] = True
        if self.drop and standing.any():
            found["test"] = found["test"].subset((~standing).to(found["test"].labels.device))
        return found


@dataclass(frozen=True)
class Case:
    """A request with its scenario. folder: where everything is written. notes: what was found that the report says."""

    request: DeletionRequest
    scenario: RequestedScenario
    folder: Path
    notes: tuple[str, ...] = ()

    @property
    def ledger(self) -> Path:
        return self.request.ledger_of(self.folder)

    @property
    def people(self) -> int | None:
        """People who stay, where a person or family is to be forgotten; else None."""
        staying = self.scenario.samples["retain"].people
        return len(staying.unique()) if self.scenario.groups_people and staying is not None else None

    @property
    def weights(self) -> Path | None:
        """File of the trained weights that the request gives, or None where the model is trained here."""
        return Path(self.scenario.weights) if self.scenario.weights else None

    @cached_property
    def fingerprints(self) -> list[str]:
        """Keyed hashes of the requested images, see `ledger.fingerprints`."""
        forget = self.scenario.samples["forget"]
        return ledger.fingerprints(ledger.key_beside(self.ledger), forget.images, forget.labels)

    @property
    def data_fingerprint(self) -> str:
        """Keyed hash of the whole data set."""
        return ledger.fingerprint(ledger.key_beside(self.ledger), self.scenario.data.checksum.encode())

    @property
    def model(self) -> dict[str, Any]:
        """What tells one model from another: its name without folders, hashes of the user's code behind it, and the
        SHA-256 of the given weights or, where it is trained here, of its training (recipe, seed and images)."""
        scenario, weights, training = self.scenario, "", ""
        if self.weights:
            weights = sha256_of(self.weights)
        else:
            recipe = public_recipe(dataclasses.asdict(scenario.recipe))
            training = ledger.digest([recipe, scenario.seed, scenario.sets.trained.tolist()])
        code = plugins.own_code(scenario.model, "" if self.weights else scenario.recipe.function)
        return {"name": public_name(scenario.model), "code": code, "weights": weights, "training": training}

    @property
    def asked(self) -> str:
        """SHA-256 (hex) of what is asked: which images of which data, and of which model. Two files with the same name
        are told apart by it; the method and the budget are no part of it."""
        return ledger.digest([self.data_fingerprint, self.fingerprints, list(self.model.values())])


def open_case(request: DeletionRequest, folder: Path | None = None) -> Case:
    """Loads the data, draws the sets, and builds the model once to see that it can be built.

    folder: in place of the request's own. Raises: RequestError with the line of the key that does not fit.
    """
    set_threads(1)
    plugins.load_from_environment()
    where = folder or (request.located("write.folder") if request["write.folder"] else FOLDER / request.name)
    with request.blaming("data.name"):
        data = load(request["data.name"], request["data.start"])
    text, requested_test = _request_text(request, data)
    scenario = RequestedScenario(
        Path(where) / "records",
        dataset=request["data.name"],
        model=request["model.name"],
        request=text,
        draw=request["held_out.draw"],
        seed=request["model.seed"],
        start=request["data.start"],
        device=request["device"],
        recipe=make_recipe(request["recipe"]),
        attacks=(),
        given=str(request.located("model.weights")) if request["model.weights"] else "",
        held_out=_held_out(request, len(data.labels)),
        drop=request["held_out.drop_requested"],
        requested_test=requested_test,
    )
    with request.blaming("model.name"):
        model = scenario.new_model(0)
        if scenario.weights:
            require_described(model, scenario.model, data, scenario.dataset)
    with request.blaming("model.weights"):
        if scenario.weights:
            put_weights(model, scenario.weights, scenario.model)
    with request.blaming("forget"):
        check_held_out(scenario)
        _ = scenario.samples
    return Case(request, scenario, Path(where), tuple(_notes(scenario)))


def _request_text(request: DeletionRequest, data: ImageData) -> tuple[str, tuple[int, ...]]:
    """The request as the study writes it, with files as indices, and the test images that it names."""
    asked = request["forget"]
    if isinstance(asked, str) or FILES not in asked:
        return request_text(asked), ()
    if not data.files:
        raise request.error("forget", "files can be named for own data (own:PATH) only; give indices instead")
    with request.blaming("forget"):
        pool, test = find_files(data, asked[FILES], request.base)
    if test and not request["held_out.drop_requested"]:
        names = first_few([data.test_files[index] for index in test])
        raise request.error(
            "forget",
            f"{len(test)} of the files lie in the test set, which the model never saw: {names}. Leave them out of the "
            "request, or set drop_requested under held_out to leave them out of all sets; they have to be deleted too",
        )
    if not pool:
        raise request.error("forget", "all of the files lie in the test set: there is nothing to forget")
    return "indices:" + ",".join(map(str, pool)), tuple(test)


def find_files(data: ImageData, asked: Sequence[str], base: Path) -> tuple[list[int], list[int]]:
    """Indices of files in the pool and in the test set. A file is named by its path within the data set, from `base`,
    or in full, or by a bare name that no other file has; accents may be written either way.

    Raises: ForgetError with every name that fits no file or several, and the files that come near.
    """
    pool, test = (
        {os.path.normpath(name): index for index, name in enumerate(names)} for names in (data.files, data.test_files)
    )
    files = {*pool, *test}
    of_name: dict[str, list[str]] = {}
    of_path: dict[str, list[str]] = {}
    for path in sorted(files):
        of_name.setdefault(composed(os.path.basename(path)), []).append(path)
        of_path.setdefault(composed(path), []).append(path)
    found: dict[str, None] = {}
    problems: list[str] = []
    for name in dict.fromkeys(map(os.path.normpath, asked)):
        bare, alike = not os.path.dirname(name), of_name.get(composed(os.path.basename(name)), [])
        within = _paths_within(data.folder, name, base)
        paths = [path for path in within if path in files]
        paths = paths or [path for way in within for path in of_path.get(composed(way), [])]
        places = {os.path.realpath(os.path.join(data.folder, path)) for path in paths}
        if len(places) == 1 or (bare and not paths and len(alike) == 1):
            found[(paths or alike)[0]] = None
        elif paths:
            problems.append(f"{name!r} fits {len(places)} files: {first_few(sorted(places))}; write the whole path")
        elif bare and alike:
            problems.append(
                f"{name!r} is the name of {len(alike)} files: {first_few(alike)}; write the path of the one meant"
            )
        else:
            near = alike or (difflib.get_close_matches(name, files, 3) if len(problems) < 10 else [])
            problems.append(f"there is no file {name!r}" + (f" (near: {first_few(near)})" if near else ""))
    if problems:
        raise ForgetError(first_few(problems, separator="; "))
    return [pool[path] for path in found if path in pool], [test[path] for path in found if path in test]


def _paths_within(folder: str, name: str, base: Path) -> list[str]:
    """What a name may stand for within the data's folder, the likeliest first, links followed and not."""
    full = os.path.join(base, os.path.expanduser(name))
    return [name, *(os.path.relpath(way(full), way(folder)) for way in (os.path.abspath, os.path.realpath))]


def requested(data: ImageData, request: Request) -> Tensor:
    """Which images of the pool the request is about, bool [N].

    Raises: UnknownNameError for a class, person or family that does not exist; ForgetError for another kind.
    """
    if request.kind == "class":
        return torch.isin(data.labels, torch.tensor(requested_classes(data, request)))
    if request.kind == "indices":
        indices = torch.tensor([int(member) for member in request.members])
        if int(indices.max()) >= len(data.labels):
            raise ForgetError(f"Index {indices.max()} is not in {data.name}: its pool has {len(data.labels)} samples.")
        return torch.isin(torch.arange(len(data.labels)), indices)
    ids = getattr(data, GROUPS[request.kind])
    if ids is None:
        raise ForgetError(f"{data.name} has no {request.kind} ids; name a class or indices instead.")
    return _shows(data, request, ids)


def also_in_test(data: ImageData, request: Request) -> Tensor:
    """Which test images show a requested person or family, bool [T]; none for other requests."""
    ids = getattr(data, f"test_{GROUPS[request.kind]}") if request.kind in GROUPS else None
    return torch.zeros(len(data.test_labels), dtype=torch.bool) if ids is None else _shows(data, request, ids)


def _shows(data: ImageData, request: Request, ids: Tensor) -> Tensor:
    names = getattr(data, NAMED[request.kind])
    return torch.isin(ids, torch.tensor([names.index(member) for member in request.members]))


def _held_out(request: DeletionRequest, pool: int) -> tuple[int, ...] | None:
    """Pool indices of the file that the request names, if it does."""
    if not request["held_out.indices"]:
        return None
    path = request.located("held_out.indices")
    with request.blaming("held_out.indices"):
        try:
            found = tuple(int(word) for word in path.read_text(encoding="utf-8-sig").replace(",", " ").split())
        except (OSError, ValueError) as error:
            raise ForgetError(f"{path.name} cannot be read as indices, one a line ({error})") from error
        outside = [index for index in found if not 0 <= index < pool]
        if outside:
            raise ForgetError(f"{path.name}: index {outside[0]} is not in the pool of {pool}")
        if len(set(found)) != len(found) or len(found) < 2:
            raise ForgetError(f"{path.name}: two or more different indices are needed")
    return found


def check_held_out(scenario: RequestedScenario) -> None:
    """Refuses a request about a person, family or images that also stand in the held-out or the test set.

    Raises: ForgetError that says where, and what to do.
    """
    data, request = scenario.data, scenario.parsed
    if request.kind == "class":
        return
    about = requested(data, request)
    held = torch.zeros_like(about)
    if scenario.held_out is not None:
        held[list(scenario.held_out)] = True
    elif request.kind in GROUPS:  # whole people or families are held out, so all or nothing of one
        other = draw_sets(data, Request(request.kind, count=1), scenario.draw)
        held = ~torch.isin(torch.arange(len(about)), other.trained)
    counts = {"held-out": int((about & held).sum()), "test": int(also_in_test(data, request).sum())}
    standing = [f"{number} {name} images" for name, number in counts.items() if number]
    if standing and not scenario.drop:
        raise ForgetError(
            f"{request.name} also stands in {' and '.join(standing)}: they have to be deleted too, and cannot serve as "
            "images that the model never saw. Set drop_requested under held_out to leave them out of all sets."
        )
    if not (about & ~held).any():
        raise ForgetError(f"{request.name}: the model never saw these images, there is nothing to forget.")


def sets_with(data: ImageData, request: Request, held: Tensor, drop: bool) -> Sets:
    """The six sets where the held-out images are given: the first half validation, the others unseen; no population.

    Unseen images of other classes than the forget set's are left in validation. Raises: ForgetError for a request that
    would forget nothing or everything.
    """
    about = requested(data, request)
    trained = torch.ones(len(data.labels), dtype=torch.bool)
    trained[held] = False
    held = held[~about[held]] if drop and request.kind != "class" else held
    forget, retain = (torch.nonzero(trained & side).flatten() for side in (about, ~about))
    if len(forget) == 0 or len(retain) == 0:
        what = "nothing" if len(forget) == 0 else "the whole training set"
        raise ForgetError(f"Request {request.name} on {data.name} would forget {what}; ask for another part.")
    order = held[torch.randperm(len(held), generator=torch.Generator().manual_seed(0))]
    alike = torch.isin(data.labels[order], data.labels[forget].unique())
    unseen = torch.zeros(len(order), dtype=torch.bool)
    unseen[torch.nonzero(alike).flatten()[::2]] = True
    population = torch.empty(0, dtype=torch.int64)
    return Sets(forget, retain, order[~unseen].sort().values, order[unseen].sort().values, population, data.labels)


def _notes(scenario: RequestedScenario) -> list[str]:
    """What the report has to say about the sets."""
    images, sets = scenario.data.images, scenario.sets
    seen = {images[index].numpy().tobytes() for index in sets.forget.tolist()}
    copies = sum(images[index].numpy().tobytes() in seen for index in sets.retain.tolist())
    found = list(scenario.data.notes)
    if copies:
        found.append(
            f"{copies} images that stay are exact copies of requested ones: the model goes on learning from them. Name "
            "them in the request too, or say why they may stay."
        )
    if scenario.weights and scenario.held_out is None:
        unseen = len(scenario.data.labels) - len(sets.trained)
        found.append(
            f"The model came with its weights. {unseen} images of the pool were drawn here and are taken, as are the "
            f"{len(scenario.data.test_labels)} test images, for images that it never saw. {HELD_OUT_ADVICE}"
        )
    if scenario.drop:
        found.append("Held-out and test images of the request were left out of all sets; they have to be deleted too.")
    return found
