"""All that is measured on a model of the study: accuracies, attacks, cost, distances from the retrained model, likeness
of layers, embeddings and relearning."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forget_lib.attacks import AttackInput, ProbeInput, Side, WeightsInput, get_attack
from forget_lib.attacks.parts.inputs import known_outside
from forget_lib.core.errors import ForgetError
from forget_lib.core.user_code import failure
from forget_lib.datasets.samples import Samples
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import accuracy, as_half, embed, predict, train
from forget_lib.statistics import metrics
from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records
from forget_lib.study.scenario import EVALUATED, Scenario, seed_of

MAP_FORGET, MAP_KEPT = 120, 240
"""Samples of an embedding map: test images of forgotten classes (or forget samples), and others."""
CKA_SAMPLES = 300
"""Test samples on which layers are compared: more than twice the width of the layers of the small nets."""
EPOCH_SAMPLES = 500
"""The first so many samples of each set are looked at after an epoch of unlearning."""
RATES = {"class": 0.002, "other": 0.05}
"""Rates of relearning by kind of request, at which a retrained model needs about 20 mini-batches: a class that a net
has never seen comes in a few steps, single samples take longer. The same for all models of a scenario."""
HELPER = Recipe(epochs=10, learning_rate=1e-3, optimizer="adam", schedule="cosine", weight_decay=0.0)
"""How the helper net of `known_of` is trained where nobody knows how the original was."""
LEARNING = ("linear_probe", "nearest_class_mean")
"""Probes that learn something of each class from the training images, forgotten ones included."""
LENGTHS = (2, 5, 10, 20)
"""Epochs of the shorter retrained models that relearning is compared with, where the recipe has more."""
FEWEST_BATCHES, FACTORS = 20, (4, 2, 1, 0.5, 0.25, 0.125, 0.0625)
"""Mini-batches that the retrained model should need to relearn, and factors of the rate that are tried for it."""
Arrays = dict[str, np.ndarray]


def measure(
    scenario: Scenario,
    model: nn.Module,
    original: nn.Module,
    cost: Mapping[str, float],
    reference: Path | None,
    shorter: Callable[[int], nn.Module] | None = None,
) -> tuple[list[Measurement], Arrays]:
    """All measurements of a model, and the arrays to keep.

    cost: what the method took; empty for the original. reference: folder of the retrained model's record, if there is.
    shorter: for the retrained model itself, makes one that is retrained for fewer epochs.
    """
    found, arrays = evaluate(scenario, model)
    found += costs(scenario, cost)
    if reference is not None:
        found += against_retrained(arrays, records.read_predictions(reference))
    found += relearned(scenario, model, original, cost, reference, shorter)
    others = {}
    if model is not original:
        others["original"] = scenario.folder("original", request=scenario.parsed.original_name)
    if reference is not None:
        others["retrain"] = reference
    found += layer_likeness(scenario, model, others)
    return found, arrays | embeddings(scenario, model)


def evaluate(
    scenario: Scenario, model: nn.Module, parts: tuple[str, ...] = EVALUATED, attacks: tuple[str, ...] | None = None
) -> tuple[list[Measurement], Arrays]:
    """Accuracies on the sets of samples, per class on the test set, and the attacks (all of the scenario by default).

    Returns: measurements, and logits (float32 [N, K]) and labels by "<set>_logits" and "<set>_labels".
    """
    logits = {part: predict(model, scenario.samples[part]) for part in parts}
    labels = {part: scenario.samples[part].labels.cpu() for part in parts}
    right = {part: (logits[part].argmax(1) == labels[part]).float() for part in parts}
    found = [_share(f"{part}_accuracy", right[part]) for part in parts if len(right[part])]
    if "test" in parts:
        found += _of_classes(scenario, right["test"], labels["test"])
    embedded: Arrays = {}
    for name in scenario.attacks if attacks is None else attacks:
        needs = get_attack(name).needs
        if needs == "embeddings":
            found += probe(scenario, name, model, embedded)
        elif needs != "weights":  # those see the original too, see `relearned`
            found += attack(scenario, name, logits, labels)
    arrays = {f"{part}_logits": logits[part].numpy() for part in parts}
    return found, arrays | {f"{part}_labels": labels[part].numpy() for part in parts}


def _share(metric: str, right: Tensor, item: str = "") -> Measurement:
    return Measurement(metric, float(right.mean()), n=len(right), item=item)


def _of_classes(scenario: Scenario, right: Tensor, labels: Tensor) -> Iterator[Measurement]:
    """Test accuracy of the forgotten classes, of the others, and of each class."""
    gone = torch.isin(labels, torch.tensor(scenario.classes, dtype=torch.int64))
    if gone.any():
        yield _share("test_accuracy_forgotten", right[gone])
        yield _share("test_accuracy_retained", right[~gone])
    for index, title in enumerate(scenario.data.classes):
        here = labels == index
        if here.any():
            yield _share("class_accuracy", right[here], title)


@contextmanager
def _naming_attack(name: str) -> Iterator[None]:
    """An attack, or a net, of the user's can raise anything: it has no result then, and the log says why."""
    try:
        yield
    except Exception as error:
        print(f"attack {name}: no result, {error if isinstance(error, ForgetError) else failure(error)}")


def attack(
    scenario: Scenario, name: str, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]
) -> list[Measurement]:
    """An attack on forget samples against exchangeable unseen ones; empty, with a printed reason, where it fails."""

    def side(part: str, rows: Tensor) -> Side:
        people = scenario.samples[part].people if scenario.groups_people else None
        return Side(logits[part], labels[part], rows, people, known=known.get(part))

    found: list[Measurement] = []
    with _naming_attack(name):
        known = known_of(scenario) if get_attack(name).needs == "population" else {}
        forget, unseen = side("forget", scenario.sets.forget), side("unseen", scenario.sets.unseen)
        others = side("population", scenario.sets.population) if known else None
        seed = seed_of("attack", name, scenario.seed, scenario.draw)
        inputs = AttackInput(forget, unseen, others, seed=seed)
        found += [measurement._replace(attack=name) for measurement in get_attack(name).function(inputs)]
    return found


@lru_cache(maxsize=1)
def known_of(scenario: Scenario) -> Arrays:
    """What is known of forget, unseen and population samples without the model, see `known_outside`.

    The helper net is trained on the retain set, so that it has seen none of them: by the recipe, or where that is not
    known by `HELPER`, which is not meant to give the same model. It costs one training a scenario.
    """
    seed = seed_of("helper", scenario.seed, scenario.draw)
    helper = scenario.new_model(seed)
    train(helper, scenario.samples["retain"], scenario.recipe if scenario.recipe.known else HELPER, seed)
    return known_outside(helper, {part: scenario.samples[part] for part in ("forget", "unseen", "population")})


def probe(scenario: Scenario, name: str, model: nn.Module, embedded: Arrays) -> list[Measurement]:
    """A probe of the embedding, where whole classes (digits, people) are forgotten; else empty.

    Gallery: validation images, or for those that learn (`LEARNING`) the training images. Queries: test images.
    embedded: embeddings by set, which all probes of a model share; missing ones are put in.
    """
    found: list[Measurement] = []
    if not scenario.classes:
        return found
    parts = ("trained" if name in LEARNING else "validation", "test")
    gallery, queries = (scenario.samples[part].labels.cpu().numpy() for part in parts)
    with _naming_attack(name):
        for part in parts:
            if part not in embedded:
                embedded[part] = embed(model, scenario.samples[part]).numpy()
        inputs = ProbeInput(embedded[parts[0]], gallery, embedded["test"], queries, scenario.classes)
        found += get_attack(name)(inputs)
    return found


def costs(scenario: Scenario, cost: Mapping[str, float]) -> list[Measurement]:
    """Seconds and sample passes of a method, and these as a share of retraining where the recipe is known."""
    if not cost:
        return []
    seconds, passes = cost["seconds"], cost["sample_passes"]
    found = [Measurement("seconds", seconds, unit="s"), Measurement("sample_passes", passes, unit="passes")]
    if scenario.recipe.known:
        found.append(Measurement("relative_cost", passes / scenario.retraining, unit="retrainings"))
    return found


def against_retrained(arrays: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> list[Measurement]:
    """Distances of a model's predictions from the retrained model's, both as `evaluate` returns them; the second
    retrain's values are the floor."""

    def accuracies(of: Mapping[str, np.ndarray]) -> dict[str, float]:
        parts = ("forget", "retain", "test")
        return {part: metrics.accuracy(of[f"{part}_logits"], of[f"{part}_labels"]) for part in parts}

    forget = arrays["forget_logits"], reference["forget_logits"]
    test = arrays["test_logits"], reference["test_logits"]
    return [
        Measurement("tug_of_war", metrics.tug_of_war(accuracies(arrays), accuracies(reference))),
        Measurement("completeness", metrics.completeness(*test), n=len(test[0])),
        Measurement("activation_distance_forget", metrics.activation_distance(*forget), unit="", n=len(forget[0])),
        Measurement("js_divergence_forget", metrics.js_divergence(*forget), unit="nats", n=len(forget[0])),
    ]


def epoch_accuracies(scenario: Scenario, model: nn.Module) -> dict[str, float]:
    """What is looked at after each epoch of unlearning: accuracy in [0, 1] on the first samples of three sets."""
    found = {}
    for part in ("forget", "retain", "validation"):
        samples = scenario.samples[part]
        found[f"{part}_accuracy"] = accuracy(model, samples.subset(torch.arange(min(EPOCH_SAMPLES, len(samples)))))
    return found


def map_samples(scenario: Scenario) -> tuple[Samples, int]:
    """The samples of the embedding map and how many of them, the first, are forgotten ones (test images where classes
    are forgotten, else forget samples)."""
    test = scenario.samples["test"]
    gone = torch.isin(test.labels, torch.tensor(scenario.classes, dtype=torch.int64, device=test.labels.device))
    rest = test.subset(torch.nonzero(~gone).flatten()[:MAP_KEPT])
    forgotten = test.subset(torch.nonzero(gone).flatten()) if scenario.classes else scenario.samples["forget"]
    number = min(MAP_FORGET, len(forgotten))
    images = torch.cat([forgotten.images[:number], rest.images])
    return Samples(images, torch.cat([forgotten.labels[:number], rest.labels])), number


def embeddings(scenario: Scenario, model: nn.Module) -> Arrays:
    """Arrays for the embedding map: "map_embedding" float16 [n, D], "map_labels" int [n], "map_forgotten" bool [n];
    empty for a model without one penultimate layer, such as an ensemble."""
    samples, forgotten = map_samples(scenario)
    try:
        embedding = as_half(embed(model, samples))
    except ForgetError:  # a model without one penultimate layer
        return {}
    marks = np.arange(len(samples)) < forgotten
    return {"map_embedding": embedding, "map_labels": samples.labels.cpu().numpy(), "map_forgotten": marks}


@lru_cache(maxsize=4)
def recorded_activations(scenario: Scenario, folder: Path, key: str) -> Arrays:
    """Activations by layer of a record's model on the test images that are compared; made once for all methods of a
    scenario. key: the record's, so that what was made again is read again."""
    model = scenario.new_model(0)
    model.load_state_dict(records.read_state(folder))
    return metrics.layer_activations(model, scenario.samples["test"].images[:CKA_SAMPLES])


def layer_likeness(scenario: Scenario, model: nn.Module, others: Mapping[str, Path]) -> list[Measurement]:
    """Linear CKA of each layer with the same layer of other models (folder of the record by name), on test images;
    nothing where the architecture is another one."""
    images = scenario.samples["test"].images[:CKA_SAMPLES]
    own = metrics.layer_activations(model, images)
    found = []
    for name, folder in others.items():
        theirs = recorded_activations(scenario, folder, (records.read_record(folder) or {})["key"])
        for layer in own if list(own) == list(theirs) else ():
            try:
                value = metrics.linear_cka(own[layer], theirs[layer])
            except ForgetError:  # a dead layer is constant, and alike to nothing
                value = 0.0
            found.append(Measurement(f"cka_to_{name}", value, unit="", n=len(images), item=layer))
    return found


def relearning_rate(scenario: Scenario) -> float:
    """The rate of relearning for the scenario's kind of request, see `RATES`."""
    return RATES["class" if scenario.classes else "other"]


def relearned(
    scenario: Scenario,
    model: nn.Module,
    original: nn.Module,
    cost: Mapping[str, float],
    reference: Path | None,
    shorter: Callable[[int], nn.Module] | None = None,
) -> list[Measurement]:
    """The attacks of the scenario that train the model on, and AIN: its mini-batches over those of a model retrained
    for as long.

    How fast a net relearns depends on how long it was trained. So beside the full retrained model stand retrained ones
    of `LENGTHS` epochs, and a model is compared with the one whose epochs are nearest to what its method spent: its
    sample passes over those of an epoch on the retain set; of two as near the longer (`relearning_null_epochs`). There
    is no AIN where that one needs no mini-batch, or more than are tried. shorter: for the retrained model itself, see
    `relearning_nulls`.
    """
    names = [name for name in scenario.attacks if get_attack(name).needs == "weights"]
    if not names:
        return []
    try:
        nulls = relearning_nulls(scenario, model, original, shorter) if shorter and "relearning" in names else []
        known = [each._asdict() for each in nulls]
        if reference is not None:
            known = (records.read_record(reference) or {}).get("measurements", [])
        rate = next((each["value"] for each in known if each["metric"] == "relearning_rate"), relearning_rate(scenario))
        inputs = _relearning(scenario, model, original, rate)
        found = [measurement for name in names for measurement in get_attack(name)(inputs)]
    except ForgetError as error:
        print(f"attack {', '.join(names)}: no result, {error}")
        return []
    steps = [measurement.value for measurement in found if measurement.metric == "relearning_steps"]
    counts = {int(each["item"]): each["value"] for each in known if each["metric"] == "retrain_relearning_steps"}
    cut = {int(each["item"]): each["value"] for each in known if each["metric"] == "retrain_relearning_cut"}
    if steps and counts and shorter is None:
        spent = cost.get("sample_passes", 0) / (3 * len(scenario.samples["retain"]))
        epochs = min(counts, key=lambda length: (abs(length - spent), -length))
        about: dict[str, Any] = {"unit": "", "attack": "relearning", "n": len(inputs.forget)}
        found.append(Measurement("relearning_null_epochs", float(epochs), **about))
        if counts[epochs] > 0 and not cut[epochs]:
            found.append(Measurement("anamnesis_index", metrics.anamnesis_index(steps[0], counts[epochs]), **about))
    return found + nulls


def relearning_nulls(
    scenario: Scenario, retrained: nn.Module, original: nn.Module, shorter: Callable[[int], nn.Module]
) -> list[Measurement]:
    """What relearning is compared with, measured once a scenario, into the retrained model's record: the rate, and for
    models retrained for fewer epochs and the full one their mini-batches and whether these are censored, by epochs
    (`item`). The rate is the largest of `RATES` times `FACTORS` at which the retrained model needs `FEWEST_BATCHES`.
    """

    def counted(model: nn.Module) -> tuple[float, float]:
        found = get_attack("relearning")(_relearning(scenario, model, original, rate))
        values = {measurement.metric: measurement.value for measurement in found}
        return values["relearning_steps"], values["relearning_cut"]

    counts = {}
    for factor in FACTORS:
        rate = factor * relearning_rate(scenario)
        steps, cut = counts[scenario.recipe.epochs] = counted(retrained)
        if steps >= FEWEST_BATCHES and not cut:
            break
    for epochs in LENGTHS:
        if epochs < scenario.recipe.epochs:
            counts[epochs] = counted(shorter(epochs))
    about: dict[str, Any] = {"attack": "relearning", "n": len(scenario.samples["forget"])}
    found = [Measurement("relearning_rate", rate, unit="", **about)]
    for epochs, (steps, cut) in sorted(counts.items()):
        found.append(Measurement("retrain_relearning_steps", steps, unit="batches", item=str(epochs), **about))
        found.append(Measurement("retrain_relearning_cut", cut, unit="", item=str(epochs), **about))
    return found


def _relearning(scenario: Scenario, model: nn.Module, original: nn.Module, rate: float) -> WeightsInput:
    forget, seed = scenario.samples["forget"], seed_of("relearning", scenario.seed, scenario.draw)
    return WeightsInput(model, forget, accuracy(original, forget), rate, seed=seed)
