"""What is measured on each model of a request, references and candidates alike: margins, accuracies, attacks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from forget_lib.attacks.relearning import WeightsInput, relearning_curve
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.deletion.margins import margins_of
from forget_lib.models.train import accuracy, embed, predict
from forget_lib.statistics.scores import phi
from forget_lib.study.evidence import relearning_rate
from forget_lib.study.scenario import Scenario

MEASURE_VERSION = 1
"""Raised when the measurements behind a verdict give other numbers; records of before are then made again."""

RELEARNING = (0, 1, 2, 3, 5, 8, 12)
"""Mini-batches after which relearning is looked at; the mean accuracy over them is one number a model."""
SETS = ("forget", "retain", "validation", "test")
DISTRACTORS = 400


def measure(scenario: Scenario, model: nn.Module) -> dict[str, np.ndarray]:
    """Measurements of one model, which is not changed.

    Returns: `outputs` and `embedding`, margins of the forget samples [n]; `controls`, output margins of images of the
    same classes that were never trained on [c]; `<set>_accuracy`; `test_accuracy_kept`, without requested classes;
    `relearning`, mean accuracy on the forget set over the first mini-batches of learning it again; `reidentified`,
    share of forget samples whose nearest neighbour in the embedding is of the same person (or class); scalars are [].
    """
    samples, classes = scenario.samples, len(scenario.data.classes)
    found = margins_of(model, samples["forget"], samples["retain"], classes)
    controls = control_samples(scenario)
    labels = controls.labels.cpu().numpy()
    found["controls"] = phi(predict(model, controls).numpy(), labels) if len(labels) else np.empty(0)
    for name in SETS:
        found[f"{name}_accuracy"] = np.array(accuracy(model, samples[name]))
    found["test_accuracy_kept"] = np.array(accuracy(model, scenario.test_kept))
    found["relearning"] = np.array(relearning(scenario, model))
    found["reidentified"] = np.array(reidentified(scenario, model))
    return found


def control_samples(scenario: Scenario) -> Samples:
    """Images of the forget set's classes that no model was trained on: unseen, validation and population."""
    samples = scenario.samples
    every = concatenate(concatenate(samples["unseen"], samples["validation"]), samples["population"])
    return every.subset(torch.isin(every.labels, samples["forget"].labels.unique()))


def relearning(scenario: Scenario, model: nn.Module) -> float:
    """Mean accuracy on the forget set over the first mini-batches of learning it again, in [0, 1]."""
    inputs = WeightsInput(model, scenario.samples["forget"], 1.0, relearning_rate(scenario))
    curve = relearning_curve(inputs, RELEARNING)
    return float(np.mean(list(curve.values())))


def reidentified(scenario: Scenario, model: nn.Module) -> float:
    """Share of forget samples whose nearest other image in the embedding is of the same person, or class; in [0, 1].

    The gallery: the other forget samples and some of those who stay. Not a number where each is alone.
    """
    forget, retain = scenario.samples["forget"], scenario.samples["retain"]
    order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(1))[:DISTRACTORS]
    others = retain.subset(order.to(retain.labels.device))
    owners = _owner(forget)
    if len(owners) < 2 or (torch.bincount(owners) == 1).all():
        return float("nan")
    gallery = torch.nn.functional.normalize(torch.cat([embed(model, forget), embed(model, others)]), dim=1)
    near = gallery[: len(owners)] @ gallery.T
    near.fill_diagonal_(-torch.inf)
    # Those who stay are other people by definition, whatever their ids.
    named = torch.cat([owners, torch.full((len(others),), -1)])
    return float((named[near.argmax(dim=1)] == owners).double().mean())


def _owner(samples: Samples) -> Tensor:
    return (samples.labels if samples.people is None else samples.people).cpu()
