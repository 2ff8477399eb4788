"""What is measured on each model of a request, references and candidates alike: margins, accuracies, attacks."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from forget_lib.attacks.relearning import WeightsInput, relearning_curve
from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.deletion.verdict import EMBEDDING, OUTPUTS, probe_margins
from forget_lib.models.train import accuracy, embed, predict
from forget_lib.statistics.scores import phi
from forget_lib.study.measure import relearning_rate
from forget_lib.study.scenario import Scenario

MEASURE_VERSION = 1
"""Raised when the measurements behind a verdict give other numbers; records of before are then made again."""
RELEARNING = (0, 1, 2, 3, 5, 8, 12)
"""Mini-batches after which relearning is looked at; the mean accuracy over them is one number a model."""
RETAINED, DISTRACTORS = 1000, 400
"""Retain samples that teach the new head, and that stand in the gallery; the same ones for all models."""
Measured = Mapping[str, np.ndarray]
"""What `measure` returns."""


def measure(scenario: Scenario, model: nn.Module) -> Measured:
    """Measurements of one model, which is not changed.

    Returns: `outputs` and `embedding`, margins of the forget samples [n]; `controls`, output margins of images of the
    same classes that were never trained on [c]; `<set>_accuracy`; `test_accuracy_kept`, without requested classes;
    `relearning`, mean accuracy on the forget set over the first mini-batches of learning it again; `reidentified`,
    share of forget samples whose nearest neighbour in the embedding is of the same person (or class); scalars are [].
    """
    samples, classes = scenario.samples, len(scenario.data.classes)
    forget, retain = samples["forget"], samples["retain"]
    curve = relearning_curve(WeightsInput(model, forget, 1.0, relearning_rate(scenario)), RELEARNING)
    numbers = {
        f"{name}_accuracy": accuracy(model, samples[name]) for name in ("forget", "retain", "validation", "test")
    }
    numbers["test_accuracy_kept"] = accuracy(model, scenario.test_kept)
    numbers["relearning"] = float(np.mean(list(curve.values())))
    numbers["reidentified"] = reidentified(model, forget, retain)
    held_out = concatenate(concatenate(samples["unseen"], samples["validation"]), samples["population"])
    controls = held_out.subset(torch.isin(held_out.labels, forget.labels.unique()))
    margins = margins_of(model, forget, retain, classes)
    margins["controls"] = _output_margins(model, controls) if len(controls) else np.empty(0)
    return margins | {name: np.array(number) for name, number in numbers.items()}


def margins_of(model: nn.Module, forget: Samples, retain: Samples, classes: int) -> dict[str, np.ndarray]:
    """The two readings of one model: margins of the forget samples, float64 [n]. The model is not changed.

    Raises: ForgetError for a model without `features`.
    """
    teaching = _some(retain, RETAINED, seed=0)
    labels, taught_labels = (samples.labels.cpu().numpy() for samples in (forget, teaching))
    known, taught = (embed(model, samples).numpy() for samples in (forget, teaching))
    embedding = probe_margins(known, labels, taught, taught_labels, classes)
    return {OUTPUTS: _output_margins(model, forget), EMBEDDING: embedding}


def _output_margins(model: nn.Module, samples: Samples) -> np.ndarray:
    return phi(predict(model, samples).numpy(), samples.labels.cpu().numpy())


def _some(samples: Samples, number: int, seed: int) -> Samples:
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:number]
    return samples.subset(order.to(samples.labels.device))


def reidentified(model: nn.Module, forget: Samples, retain: Samples) -> float:
    """Share of forget samples whose nearest other image in the embedding is of the same person, or class; in [0, 1].

    The gallery: the other forget samples and some of those who stay. Not a number where each is alone.
    """
    others = _some(retain, DISTRACTORS, seed=1)
    owners = (forget.labels if forget.people is None else forget.people).cpu()
    if len(owners) < 2 or (torch.bincount(owners) == 1).all():
        return float("nan")
    gallery = torch.nn.functional.normalize(torch.cat([embed(model, forget), embed(model, others)]), dim=1)
    near = gallery[: len(owners)] @ gallery.T
    near.fill_diagonal_(-torch.inf)
    # Those who stay are other people by definition, whatever their ids.
    named = torch.cat([owners, torch.full((len(others),), -1)])
    return float((named[near.argmax(dim=1)] == owners).double().mean())
