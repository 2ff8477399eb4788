"""What public code and papers say, tried on one small problem: a behaviour as found beside the corrected one.

Each behaviour is made anew here from its description, in as few lines as show it; nothing is copied. Sources name the
repository and, where it was read, the commit.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from forget_lib import datasets
from forget_lib.attacks import neurips_score
from forget_lib.models.recipe import Recipe
from forget_lib.models.stacked import BatchedMlp, mlp_classifier, train_batched
from forget_lib.models.train import accuracy, predict, train
from forget_lib.statistics import metrics
from forget_lib.statistics.intervals import auc
from forget_lib.statistics.scores import modified_entropy, phi
from forget_lib.study import run as study
from forget_lib.study.chosen import with_chosen
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import unlearn
from forget_lib.unlearning.common import epochs_of, sgd, step
from forget_lib.unlearning.parts.dampening import dampen
from forget_lib.unlearning.parts.importance import importance_by_batch, sample_cross_entropy
from forget_lib.unlearning.random_label import random_labels
from forget_lib.unlearning.salun import forget_gradient, top_share

PEERS = ("do_nothing", "finetune", "random_label", "delete_distillation")
UNCLIPPED = {"negative_gradient": {"clip_norm": 1e6}}  # as published: this library clips gradients by default
CLASS, SUBSET = "class:5", "random:0.1"
FORGET, RETAIN, FAMILY = 40, 400, 16  # samples and models behind one challenge score


@dataclass
class Problem:
    """One seed of the small problem: a class and a random request on one original, with models made when asked for."""

    root: Path
    seed: int
    start: str = "sample"
    dataset: str = "mnist"
    net: str = "mlp"
    recipe: dict = field(default_factory=lambda: {"epochs": 10, "batch_size": 64, "learning_rate": 0.02})

    def __post_init__(self) -> None:
        self._models: dict[tuple[str, str, bool], nn.Module] = {}
        self._accuracies: dict[tuple[str, nn.Module], dict[str, float]] = {}

    @cached_property
    def scenarios(self) -> dict[str, Scenario]:
        """The requests: a class of digits and random samples, or random samples alone for other data."""
        options = {"dataset": self.dataset, "model": self.net, "seed": self.seed, "start": self.start}
        requests = (CLASS, SUBSET) if self.dataset == "mnist" else (SUBSET,)
        return {text: study.make_scenario(self.root, self.recipe, (), request=text, **options) for text in requests}

    def model(self, request: str, name: str, *, tuned: bool = False) -> nn.Module:
        """A method's model; "original", and "second_retrain" for another seed.

        Args: tuned: with the settings that tuning chose for this data, net and kind of request; else the defaults.
        """
        if (request, name, tuned) not in self._models:
            scenario, original = self.scenarios[request], study.original(self.scenarios[request])
            run = int(name == "second_retrain")
            method = "retrain" if run else name
            chosen = with_chosen(method, {}, *scenario.tuned_for)
            settings = chosen if tuned else UNCLIPPED.get(method, {})
            self._models[request, name, tuned] = (
                original
                if name == "original"
                else unlearn(method, original, study.make_task(scenario, run, name=method), **settings)
            )
        return self._models[request, name, tuned]

    def accuracies(self, request: str, model: nn.Module) -> dict[str, float]:
        """Accuracy on forget and retain set and on test samples of the classes that stay; measured once a model, which
        nothing changes once it is made."""
        if (request, model) not in self._accuracies:
            samples = self.scenarios[request].samples
            gone = torch.isin(samples["test"].labels, torch.tensor(self.scenarios[request].classes, dtype=torch.int64))
            parts = {"forget": samples["forget"], "retain": samples["retain"], "test": samples["test"].subset(~gone)}
            self._accuracies[request, model] = {name: accuracy(model, part) for name, part in parts.items()}
        return self._accuracies[request, model]

    def logits(self, request: str, model: nn.Module, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Logits [N, K] and labels [N] of one of the six sets."""
        samples = self.scenarios[request].samples[part]
        return predict(model, samples).double().numpy(), samples.labels.numpy()

    def gap(self, request: str, model: nn.Module, reference: nn.Module | None = None) -> float:
        """|forget accuracy - retrained| + |test accuracy - retrained|."""
        goal = self.accuracies(request, reference or self.model(request, "retrain"))
        own = self.accuracies(request, model)
        return abs(own["forget"] - goal["forget"]) + abs(own["test"] - goal["test"])

    def ranked(self, scores: dict[str, float]) -> tuple[str, ...]:
        """Names from the lowest score to the highest."""
        return tuple(sorted(scores, key=lambda name: (round(scores[name], 6), name)))

    def by_gap(self, request: str, **others: nn.Module) -> tuple[str, ...]:
        """The peers and other models, the nearest to the retrained model first."""
        models = {name: self.model(request, name) for name in PEERS} | others
        return self.ranked({name: self.gap(request, model) for name, model in models.items()})


@dataclass(frozen=True)
class Outcome:
    """A number as found and as corrected, and the order of methods that follows from each (empty if none does)."""

    found: float
    corrected: float
    order_found: tuple[str, ...] = ()
    order_corrected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Behaviour:
    """One behaviour of public code: where it was read, what is measured, what that can be, and how to measure it."""

    name: str
    source: str
    quantity: str
    bounds: tuple[float, float]
    measure: Callable[[Problem], Outcome]


BEHAVIOURS: list[Behaviour] = []


def behaviour(name: str, source: str, quantity: str, bounds: tuple[float, float] = (0, 1)) -> Callable:
    """Registers a function of a `Problem` that returns an `Outcome`."""

    def register(function: Callable[[Problem], Outcome]) -> Callable[[Problem], Outcome]:
        BEHAVIOURS.append(Behaviour(name, source, quantity, bounds, function))
        return function

    return register


@behaviour(
    "Retraining that keeps the backbone",
    "if-loops/selective-synaptic-dampening@cdfdc0e, retrain()",
    "forget accuracy of the reference, random tenth",
)
def kept_backbone(problem: Problem) -> Outcome:
    """Only direct children that own `reset_parameters` are reset: here the head, and the body keeps its weights."""
    scenario = problem.scenarios[SUBSET]
    reference = copy.deepcopy(problem.model(SUBSET, "original"))
    torch.manual_seed(problem.seed)
    for child in reference.children():
        if hasattr(child, "reset_parameters"):
            child.reset_parameters()
    train(reference, scenario.samples["retain"], scenario.recipe, problem.seed)
    right = problem.model(SUBSET, "retrain")
    orders = [
        problem.ranked({n: problem.gap(SUBSET, problem.model(SUBSET, n), against) for n in PEERS})
        for against in (reference, right)
    ]
    values = [problem.accuracies(SUBSET, model)["forget"] for model in (reference, right)]
    return Outcome(*values, *orders)


def _of_class(problem: Problem, name: str, found: nn.Module, corrected: nn.Module) -> Outcome:
    """Forget accuracy of the class request, and the method's place among the peers, by both versions."""
    values = [problem.accuracies(CLASS, model)["forget"] for model in (found, corrected)]
    return Outcome(*values, *(problem.by_gap(CLASS, **{name: model}) for model in (found, corrected)))


@behaviour("SCRUB that trains a copy", "cspartalis/LoTUS@35ae25e", "forget accuracy, class")
def scrub_of_a_copy(problem: Problem) -> Outcome:
    """Losses are those of a copy, the optimiser holds the model's own weights, and the model is returned as it was."""
    return _of_class(problem, "scrub", problem.model(CLASS, "original"), problem.model(CLASS, "scrub"))


@behaviour("NegGrad+ that never climbs", "cspartalis/LoTUS@35ae25e", "forget accuracy, class")
def ascent_before_backward(problem: Problem) -> Outcome:
    """Gradients are multiplied by -1 before `backward` makes them: what is left is training on both sets."""
    task = study.make_task(problem.scenarios[CLASS], name="negative_gradient_plus")
    model = copy.deepcopy(problem.model(CLASS, "original"))
    optimizer = sgd(model, 2e-3)
    for _ in epochs_of(task, model, 2):
        for samples in (task.forget, task.retain):
            for images, labels in samples.batches():
                step(optimizer, functional.cross_entropy(model(images), labels))
    right = problem.model(CLASS, "negative_gradient_plus")
    return _of_class(problem, "negative_gradient_plus", model.eval(), right)


@behaviour(
    "A mask on gradients alone",
    "OPTML-Group/Unlearn-Saliency before February 2026 (commit 'Fix weight decay (#33)')",
    "share of masked weights that move",
)
def mask_on_gradients(problem: Problem) -> Outcome:
    """Weight decay moves weights whose gradient is masked; SalUn as it is now puts them back."""
    original = problem.model(CLASS, "original")
    task, model = study.make_task(problem.scenarios[CLASS], name="salun"), copy.deepcopy(original)
    mask = top_share(forget_gradient(model, task), 0.5)
    optimizer = sgd(model, 0.01)
    for _ in epochs_of(task, model, 1):
        for samples in (task.forget.with_labels(random_labels(task, allow_true=True)), task.retain):
            for images, labels in samples.batches():
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                for name, parameter in model.named_parameters():
                    parameter.grad.mul_(mask[name])
                optimizer.step()

    def moved(after: nn.Module) -> float:
        pairs = [(p != original.get_parameter(n))[~mask[n]] for n, p in after.named_parameters()]
        return float(torch.cat(pairs).float().mean())

    return Outcome(moved(model), moved(problem.model(CLASS, "salun")))


def wrong_modified_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """As found: log p where log(1 - p) is meant, and the columns of all labels of the batch overwritten in each row."""
    p = torch.from_numpy(logits).softmax(1).clamp(min=1e-30)
    modified = p.clone()
    modified[:, labels] = (1 - p)[:, labels]
    return -(modified * p.log()).sum(1).numpy()


def _attack_order(problem: Problem, request: str, score: Callable[[nn.Module], float]) -> tuple[str, ...]:
    """Retrained model and peers by the distance of an AUC from 0.5."""
    names = ("retrain", *PEERS)
    return problem.ranked({name: abs(score(problem.model(request, name)) - 0.5) for name in names})


@behaviour(
    "Modified entropy with whole columns",
    "OPTML-Group/Unlearn-Saliency@a6e89fd, evaluation/SVC_MIA.py",
    "AUC of the score on the original, random tenth",
)
def modified_entropies(problem: Problem) -> Outcome:
    """Forget samples against unseen ones."""

    def area(score: Callable, model: nn.Module) -> float:
        forget, unseen = (-score(*problem.logits(SUBSET, model, part)) for part in ("forget", "unseen"))
        return auc(forget, unseen)

    scores = [lambda m, s=s: area(s, m) for s in (wrong_modified_entropy, modified_entropy)]
    original = problem.model(SUBSET, "original")
    return Outcome(*(score(original) for score in scores), *(_attack_order(problem, SUBSET, s) for s in scores))


def reversed_js(logits: np.ndarray, reference: np.ndarray) -> float:
    """As found: KL(m ‖ p) and KL(m ‖ q), averaged over classes as well as samples."""
    p, q = (torch.from_numpy(z).log_softmax(1) for z in (logits, reference))
    m = (p.exp() + q.exp()) / 2
    return float(sum((m * (m.log() - logs)).mean() for logs in (p, q)) / 2)


@behaviour(
    "JS divergence reversed and averaged over classes",
    "vikram2000b/bad-teaching-unlearning@f1aa988, metrics.py",
    "JS of two retrained models on the forget set, random tenth (nats)",
)
def js_divergences(problem: Problem) -> Outcome:
    """The smaller number looks like two models that agree."""
    goal, _ = problem.logits(SUBSET, problem.model(SUBSET, "retrain"), "forget")

    def apart(distance: Callable, name: str) -> float:
        return distance(problem.logits(SUBSET, problem.model(SUBSET, name), "forget")[0], goal)

    both = (reversed_js, metrics.js_divergence)
    orders = [problem.ranked({name: apart(distance, name) for name in PEERS}) for distance in both]
    return Outcome(*(apart(distance, "second_retrain") for distance in both), *orders)


@behaviour(
    "ZRF by the reversed divergence",
    "vikram2000b/bad-teaching-unlearning@f1aa988, metrics.py",
    "ZRF of the original minus ZRF of the retrained model, class",
    (-1, 1),
)
def zero_retrain_forgetting(problem: Problem) -> Outcome:
    """ZRF is 1 minus a divergence from an untrained net; the smaller the divergence, the more alike all models look."""
    fresh, _ = problem.logits(CLASS, problem.scenarios[CLASS].new_model(problem.seed + 1), "forget")

    def score(distance: Callable, name: str) -> float:
        return 1 - distance(problem.logits(CLASS, problem.model(CLASS, name), "forget")[0], fresh)

    both = (reversed_js, metrics.js_divergence)
    goals = [score(distance, "retrain") for distance in both]
    pairs = list(zip(both, goals, strict=True))
    orders = [problem.ranked({name: abs(score(d, name) - goal) for name in PEERS}) for d, goal in pairs]
    return Outcome(*(score(d, "original") - goal for d, goal in pairs), *orders)


@behaviour(
    "SSD with two batch sizes",
    "if-loops/selective-synaptic-dampening@cdfdc0e, forget_random_main.py",
    "share of weights dampened, class",
)
def batch_sizes_of_ssd(problem: Problem) -> Outcome:
    """Importances are squared gradients of batches: 128 for the forget set against 64 for all, then 64 for both."""
    scenario, models, shares = problem.scenarios[CLASS], [], []
    for size in (128, 64):
        model = copy.deepcopy(problem.model(CLASS, "original"))
        parts = ((scenario.samples["forget"], size), (scenario.samples["trained"], 64))
        own, everything = (importance_by_batch(model, s, sample_cross_entropy, 2, b) for s, b in parts)
        shares.append(dampen(model, own, everything, 10.0, 1.0) / sum(p.numel() for p in model.parameters()))
        models.append(model)
    return Outcome(*shares, *(problem.by_gap(CLASS, ssd=model) for model in models))


@behaviour(
    "A class compared with other classes",
    "loss attacks on class requests with the whole test set as non-members",
    "AUC of the loss on the retrained model, class",
)
def held_out_sets(problem: Problem) -> Outcome:
    """The forgotten class against test images of all classes, then against unseen images of the same class."""

    def area(part: str, model: nn.Module) -> float:
        losses = []
        for name in ("forget", part):
            logits, labels = map(torch.from_numpy, problem.logits(CLASS, model, name))
            losses.append(-functional.cross_entropy(logits, labels, reduction="none").numpy())
        return auc(*losses)

    scores = [lambda m, p=part: area(p, m) for part in ("test", "unseen")]
    retrained = problem.model(CLASS, "retrain")
    return Outcome(*(score(retrained) for score in scores), *(_attack_order(problem, CLASS, s) for s in scores))


@behaviour(
    "An average gap that rewards doing nothing",
    "Avg. Gap of Unlearn-Sparse and SalUn (here without its attack)",
    "place of doing nothing among four methods, 1 is best: by Avg. Gap, then by |AUC - 0.5| of the loss, random tenth",
    (1, len(PEERS)),
)
def average_gaps(problem: Problem) -> Outcome:
    """Two of three gaps are about utility, which doing nothing keeps; an attack on the forget set sees it."""
    goal = problem.accuracies(SUBSET, problem.model(SUBSET, "retrain"))

    def gap(name: str) -> float:
        return metrics.average_gap(problem.accuracies(SUBSET, problem.model(SUBSET, name)), goal)

    def seen(name: str) -> float:
        forget, unseen = (
            phi(*problem.logits(SUBSET, problem.model(SUBSET, name), part)) for part in ("forget", "unseen")
        )
        return abs(auc(forget, unseen) - 0.5)

    orders = [problem.ranked({name: score(name) for name in PEERS}) for score in (gap, seen)]
    return Outcome(*(float(order.index("do_nothing") + 1) for order in orders), *orders)


def family(problem: Problem, number: int) -> np.ndarray:
    """Margins [FAMILY, FORGET] on forget samples of nets retrained without them; families differ by their seeds."""
    data = datasets.load("mnist14", start=problem.start)
    order = np.random.default_rng(problem.seed).permutation(len(data.labels))[: FORGET + RETAIN]
    chosen = torch.as_tensor(order)
    images, labels = data.images[chosen], data.labels[chosen]
    seeds = range(FAMILY * number, FAMILY * (number + 1))
    nets = BatchedMlp.of([mlp_classifier(tuple(images.shape[1:]), 10, 64, seed) for seed in seeds])
    retain = torch.arange(FORGET, FORGET + RETAIN).expand(FAMILY, -1)
    recipe = Recipe(20, 64, 1e-3, weight_decay=0.0, schedule="cosine", optimizer="adam")
    logits = train_batched(nets, images, labels, retain, recipe, seeds).logits(images[:FORGET])
    return phi(logits.numpy(), labels[:FORGET].numpy())


@behaviour(
    "The challenge's score of retraining itself",
    "google-deepmind/unlearning_evaluation, metric.py",
    "score of retrained models: as published, then relative to another family of retrained models",
    (0, math.inf),
)
def challenge_score(problem: Problem) -> Outcome:
    """Its epsilon is the best of many thresholds, in sample, so that retraining itself does not come near 1."""
    reference, unlearned, held_out = (family(problem, number) for number in range(3))
    found = neurips_score.neurips_score(neurips_score.FamilyInput(unlearned, reference, held_out))
    values = {measurement.metric: measurement.value for measurement in found}
    return Outcome(values["forgetting_quality"], values["relative_quality"])
