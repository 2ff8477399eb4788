"""Did it only hide it? What a model says after a little training on what it forgot, and what its features still hold.

Each check is read beside the model that never saw the data, and beside the original: where the check does not tell even
the original from the retrained model, it can tell nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from torch import nn

from forget_lib.attacks import WeightsInput
from forget_lib.attacks.relearning import relearned
from forget_lib.demo import parts
from forget_lib.models.train import accuracy, predict
from forget_lib.statistics.intervals import Interval, clopper_pearson, sign_flip_test
from forget_lib.statistics.scores import phi
from forget_lib.study.measure import probe, relearning_rate
from forget_lib.study.scenario import Scenario

STEPS = 5
"""Mini-batches of relearning that are shown."""
LEVEL = 0.05
LEFT, NOTHING, UNKNOWN = "left", "nothing", "unknown"
STATES = {LEFT: "Something is left", NOTHING: "Nothing found", UNKNOWN: "Cannot be told here"}
ONE_REFERENCE = "This is by one retrained model; ./run_all.sh forget compares with several."


@dataclass(frozen=True)
class Lamp:
    """The result of one check. state: of `STATES`. words: one sentence."""

    title: str
    state: str
    words: str


def state_of(told: bool, control: bool) -> str:
    """Told, control: whether the check tells the unlearned model, and the original, from the retrained one."""
    if not control:
        return UNKNOWN
    return LEFT if told else NOTHING


def surer(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether scores float [n] of the same images are higher in `one`, by a sign-flip test at the 5 % level."""
    return len(one) > 1 and one.mean() > two.mean() and sign_flip_test(one - two) < LEVEL


def relearning(scenario: Scenario, models: Mapping[str, nn.Module]) -> tuple[Lamp, dict[str, list[float]]]:
    """Five steps of SGD on the forget set. models: original, unlearned, retrained, in this order, by title.

    Returns: the lamp, and the accuracy on the forget set after 0 to 5 steps by title.
    """
    forget, rate = scenario.samples["forget"], relearning_rate(scenario)
    if len(forget) < 2:
        return Lamp("Relearning", UNKNOWN, "One image is too few for this check."), {}
    labels = forget.labels.cpu().numpy()
    curves: dict[str, list[float]] = {}
    scores = []
    for title, model in models.items():
        inputs = WeightsInput(model, forget, 1.0, rate)
        looks = islice(relearned(model, forget, rate, inputs.batch_size, inputs.seed), STEPS + 1)
        logits = []
        curves[title] = []
        for student in looks:
            logits.append(phi(predict(student, forget).numpy(), labels))
            curves[title].append(accuracy(student, forget))
        scores.append(np.mean(logits, axis=0))
    original, unlearned, retrained = scores
    state = state_of(surer(unlearned, retrained), surer(original, retrained))
    _, after, never = (values[-1] for values in curves.values())
    known, never_seen = parts.percent(after), parts.percent(never)
    words = (
        f"After {STEPS} steps on these {len(forget)} images it knows {known} of them; the model that never saw them "
        f"knows {never_seen}."
    )
    return Lamp("Relearning", state, words), curves


def probing(scenario: Scenario, models: Mapping[str, nn.Module]) -> Lamp:
    """A new last layer on the frozen features, tested on images of the class that no model was trained on."""
    if not scenario.classes:
        return Lamp("Probe", UNKNOWN, "A probe needs a whole class or a person whom the model names.")
    shares: list[Interval] = []
    for model in models.values():
        rows = probe(scenario, "linear_probe", model, {})
        recall = next(row for row in rows if row.metric == "probe_recall_forgotten")
        queries = recall.n or 0
        shares.append(clopper_pearson(round(recall.value * queries), queries))
    original, unlearned, retrained = shares
    state = state_of(unlearned.low > retrained.high, original.low > retrained.high)
    words = (
        f"A new last layer finds {parts.percent(unlearned.value)} of {unlearned.n} other images of it in the features; "
        f"in those of the model that never saw it {parts.percent(retrained.value)}."
    )
    return Lamp("Probe", state, words)


def share_left(scenario: Scenario, models: Mapping[str, nn.Module]) -> Lamp:
    """How far the answers on the forget set are on the way from the retrained model back to the original."""
    forget = scenario.samples["forget"]
    labels = forget.labels.cpu().numpy()
    original, unlearned, retrained = (phi(predict(model, forget).numpy(), labels) for model in models.values())
    control = surer(original, retrained)
    if not control:
        return Lamp(
            "Share left", UNKNOWN, "The original's answers differ too little from those of the retrained model."
        )
    share = (unlearned - retrained).mean() / (original - retrained).mean()
    state = state_of(surer(unlearned, retrained), control)
    if share < 0:
        words = "It is less sure of these images than the model that never saw them, and that shows too."
    else:
        words = f"Of the way from “never seen” to the original, {parts.percent(share)} is left in its answers."
    return Lamp("Share left", state, f"{words} {ONE_REFERENCE}")
