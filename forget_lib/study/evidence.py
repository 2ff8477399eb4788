"""What is measured on the models themselves for the study's figures: likeness of layers, embeddings, relearning.

It belongs to the job of a scenario, where the models are; figures are drawn from the records afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from forget_lib.attacks import WeightsInput, get_attack
from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.models.train import accuracy, as_half, embed
from forget_lib.statistics import metrics
from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records
from forget_lib.study.scenario import Scenario, seed_of

MAP_FORGET, MAP_KEPT = 120, 240
"""Samples of an embedding map: test images of forgotten classes (or forget samples), and others."""
CKA_SAMPLES = 300
"""Test samples on which layers are compared: more than twice the width of the layers of the small nets."""
EPOCH_SAMPLES = 500
"""The first so many samples of each set are looked at after an epoch of unlearning."""
RATES = {"class": 0.002, "other": 0.05}
"""Rates of relearning by kind of request, at which a retrained model needs about 20 mini-batches: a class that a net
has never seen comes in a few steps, single samples take longer. The same for all models of a scenario."""


def epoch_accuracies(scenario: Scenario, model: nn.Module) -> dict[str, float]:
    """What is looked at after each epoch of unlearning: accuracy in [0, 1] on the first samples of three sets."""
    found = {}
    for part in ("forget", "retain", "validation"):
        samples = scenario.samples[part]
        found[f"{part}_accuracy"] = accuracy(model, samples.subset(torch.arange(min(EPOCH_SAMPLES, len(samples)))))
    return found


def map_samples(scenario: Scenario) -> tuple[Samples, int]:
    """The samples of the embedding map and how many of them, the first, are forgotten ones: test images where classes
    are forgotten, else forget samples. The same ones for all models of a scenario."""
    test = scenario.samples["test"]
    gone = torch.isin(test.labels, torch.tensor(scenario.classes, dtype=torch.int64, device=test.labels.device))
    rest = test.subset(torch.nonzero(~gone).flatten()[:MAP_KEPT])
    pool, places = (test, torch.nonzero(gone).flatten()) if scenario.classes else (scenario.samples["forget"], None)
    places = torch.arange(len(pool), device=pool.labels.device) if places is None else places
    first = pool.subset(places[:MAP_FORGET])
    images, labels = torch.cat([first.images, rest.images]), torch.cat([first.labels, rest.labels])
    return Samples(images, labels), len(first)


def embeddings(scenario: Scenario, model: nn.Module) -> dict[str, np.ndarray]:
    """Arrays for the embedding map: "map_embedding" float16 [n, D], "map_labels" int [n], "map_forgotten" bool [n].

    Empty for a model without one penultimate layer, such as an ensemble.
    """
    samples, forgotten = map_samples(scenario)
    try:
        seen = embed(model, samples)
    except ForgetError:  # a model without one penultimate layer
        return {}
    return {
        "map_embedding": as_half(seen),
        "map_labels": samples.labels.cpu().numpy(),
        "map_forgotten": np.arange(len(samples)) < forgotten,
    }


@lru_cache(maxsize=4)
def recorded_activations(scenario: Scenario, folder: Path, key: str) -> dict[str, np.ndarray]:
    """Activations by layer of a record's model on the test images that are compared; made once, for all methods of a
    scenario are compared with the same two models.

    Args: folder: of the record. key: the record's, so that what was made again is read again.
    """
    model = scenario.new_model(0)
    model.load_state_dict(records.read_state(folder))
    return metrics.layer_activations(model, scenario.samples["test"].images[:CKA_SAMPLES])


def layer_likeness(scenario: Scenario, model: nn.Module, others: Mapping[str, Path]) -> list[Measurement]:
    """Linear CKA of each layer with the same layer of other models, on test images; nothing where the architecture is
    another one.

    Args: others: folder of the record by name.
    """
    images = scenario.samples["test"].images[:CKA_SAMPLES]
    own = metrics.layer_activations(model, images)
    found = []
    for name, folder in others.items():
        theirs = recorded_activations(scenario, folder, records.read_record(folder)["key"])
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


def relearned(scenario: Scenario, model: nn.Module, original: nn.Module, reference: Path | None) -> list[Measurement]:
    """The attacks of the scenario that train the model on, and AIN against the retrained model's record.

    AIN is left out where the retrained model needs no step, since nothing has to be relearned there.
    """
    names = [name for name in scenario.attacks if get_attack(name).needs == "weights"]
    forget = scenario.samples["forget"]
    if not names:
        return []
    seed = seed_of("relearning", scenario.seed, scenario.draw)
    try:
        before = accuracy(original, forget)
        inputs = WeightsInput(model, forget, before, relearning_rate(scenario), seed=seed)
        found = [measurement for name in names for measurement in get_attack(name)(inputs)]
    except ForgetError as error:
        print(f"attack {', '.join(names)}: no result, {error}")
        return []
    steps = [measurement.value for measurement in found if measurement.metric == "relearning_steps"]
    record = None if reference is None else records.read_record(reference)
    counts = [m["value"] for m in (record or {}).get("measurements", []) if m["metric"] == "relearning_steps"]
    if steps and counts and counts[0] > 0:
        value = metrics.anamnesis_index(steps[0], counts[0])
        found.append(Measurement("anamnesis_index", value, unit="", attack="relearning", n=len(forget)))
    return found


def model_evidence(
    scenario: Scenario, model: nn.Module, original: nn.Module, reference: Path | None
) -> tuple[list[Measurement], dict[str, np.ndarray]]:
    """Everything of this module on one model: measurements, and arrays for predictions.npz.

    reference: folder of the retrained model's record, or None for that model itself.
    """
    found = relearned(scenario, model, original, reference)
    folder = scenario.folder("original", request=scenario.parsed.original_name)
    others = {} if model is original else {"original": folder}
    if reference is not None:
        others["retrain"] = reference
    return found + layer_likeness(scenario, model, others), embeddings(scenario, model)
