"""Which measure notices what: the power of every measure on models whose history is known.

    OMP_NUM_THREADS=1 python benchmarks/notices.py [--requests class random] [--draws 10] [--output FOLDER]

A draw is a forget set, with four seeds each. Every model is compared with the retrained model of its draw and seed: by
the distance of two numbers, or for a distance between models by itself. Models retrained thrice give the null: a gap is
flagged if it is above the 95 % rank of the gaps between retrained models of all *other* draws, so that every measure
has the same rate of false alarms. Writes notices.csv: by request, measure and case, the share of seeds that are flagged
(KLoM compares families of models: the four seeds of a draw are one decision). A stopped run goes on where it was.
"""

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import datasets  # noqa: E402
from forget_lib.attacks import ATTACKS, AttackInput, ProbeInput, Side, WeightsInput, get_attack  # noqa: E402
from forget_lib.attacks.parts.inputs import known_outside  # noqa: E402
from forget_lib.attacks.parts.per_sample import influence, shares  # noqa: E402
from forget_lib.core.files import write_text  # noqa: E402
from forget_lib.datasets.requests import draw_sets, parse_request, requested_classes  # noqa: E402
from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.deletion.verdict import traces  # noqa: E402
from forget_lib.models.recipe import Recipe  # noqa: E402
from forget_lib.models.train import accuracy, embed, predict, set_threads  # noqa: E402
from forget_lib.statistics import intervals, metrics, scores  # noqa: E402
from forget_lib.statistics.rules import ALPHA  # noqa: E402
from forget_lib.study import pools  # noqa: E402
from forget_lib.study.membership import make_plan  # noqa: E402
from forget_lib.study.pools import MEMORISING, Pool, PoolPlan  # noqa: E402
from forget_lib.study.scenario import seed_of  # noqa: E402
from forget_lib.unlearning import UnlearningTask, unlearn  # noqa: E402

OUTPUT, WORK = REPOSITORY / "results" / "reference" / "benchmarks", REPOSITORY / "results" / "notices"
SEEDS = 4
PAIR = "two retrained models"
EXACT, SHORT, UNTOUCHED = "exact retraining", "shorter retraining", "nothing done"
KEPT = {"kept 10 %": 0.1, "kept 25 %": 0.25, "kept 50 %": 0.5}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "masked at the output": ("mask_logit", {}),
    "only the head changed": ("eu_k", {"k": 1}),
    "over-forgotten": ("over_forget", {}),
}
CASES = (EXACT, *KEPT, *METHODS, SHORT, UNTOUCHED)
SHORTENED = 0.2
"""Share of the recipe's epochs of a shorter retraining."""
GALLERY = 500
"""Training images on whose features probes are fitted."""
RETRAINED = ("retrained 1", "retrained 2", "retrained 3")
FIRST, AGAIN = RETRAINED[0], "shorter retraining again"
PER_SAMPLE = {"one model": "one_model", "LiRA": "lira", "U-LiRA": "u_lira"}
PROBES = {
    "linear probe": ("linear_probe", "probe_recall_forgotten"),
    "class mean": ("nearest_class_mean", "class_mean_recall_forgotten"),
}
FAMILY = "KLoM"


@dataclass(frozen=True)
class Request:
    """A kind of request. hidden: width of the mlp. rate: of relearning, at which a retrained model needs 20 batches or
    more."""

    text: str
    dataset: str
    recipe: Recipe
    hidden: int
    rate: float


REQUESTS = {
    "class": Request("class:5", "mnist14", Recipe(epochs=10, batch_size=64, learning_rate=0.02), 128, 0.002),
    "random": Request("random:0.1", "cifar16", MEMORISING, 32, 0.03),
}
IMAGES = 2000
HELD_OUT = {"validation": 0.05, "unseen": 0.25, "population": 0.15}
"""Images of a class request, and the shares that are held out of training: unseen ones of the class must be enough."""
POOL: dict[str, Any] = {"samples": 1600, "evaluation": 160, "number": 16}


@dataclass(frozen=True)
class Draw:
    """One forget set. rows: of the plan's images by part (forget, retain, unseen). test: images of classes that stay.
    pool: reference models, where there are any; after: their logits after each case, by case."""

    number: int
    request: Request
    plan: PoolPlan
    rows: Mapping[str, np.ndarray]
    population: Samples
    test: Samples
    all_test: Samples
    classes: tuple[int, ...]
    pool: Pool | None
    after: Mapping[str, np.ndarray]

    def samples(self, part: str) -> Samples:
        """The samples of a part."""
        return self.plan.samples(self.rows[part])

    def seed(self, what: str, seed: int) -> int:
        """A seed of its own for each model."""
        return seed_of("notices", what, self.number, seed)


def class_draws(request: Request, number: int) -> list[Draw]:
    """Draws of a class request: the class is the same, held-out samples are others."""
    whole, asked = datasets.load(request.dataset, "sample"), parse_request(request.text)
    some = np.random.default_rng(0).permutation(len(whole.labels))[:IMAGES]
    images, labels = whole.images[some], whole.labels[some]
    data = dataclasses.replace(whole, images=images, labels=labels, held_out=HELD_OUT)
    classes = requested_classes(data, asked)
    found = []
    for draw in range(number):
        sets = draw_sets(data, asked, draw)
        rows = {part: np.sort(getattr(sets, part).numpy()) for part in ("forget", "retain", "unseen")}
        plan = PoolPlan(
            data.images,
            data.labels,
            rows["forget"],
            len(data.classes),
            hidden=request.hidden,
            recipe=request.recipe,
        )
        stay = ~torch.isin(data.test_labels, torch.tensor(classes))
        all_test = Samples(data.test_images, data.test_labels)
        population = plan.samples(sets.population)
        found.append(Draw(draw, request, plan, rows, population, all_test.subset(stay), all_test, classes, None, {}))
    return found


def random_draws(request: Request, number: int, work: Path) -> list[Draw]:
    """Draws of random samples: targets of one pool of reference models."""
    data = datasets.load(request.dataset, "sample")
    plan = make_plan(data, recipe=request.recipe, hidden=request.hidden, **POOL)
    pools.train_pool(plan, work / "pool")
    pool, after = pools.load_pool(plan, work / "pool"), references_after(plan, work)
    test = Samples(data.test_images, data.test_labels)
    assert plan.population is not None
    found = []
    for draw, split in enumerate(pools.target_splits(plan, number)):
        forget, unseen = pools.forget_and_unseen(plan, split)
        rows = {"forget": forget, "unseen": unseen, "retain": np.flatnonzero(split & ~plan.inside)}
        found.append(Draw(draw, request, plan, rows, plan.population, test, test, (), pool, after))
    return found


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with its schedule shortened to a fifth."""
    return dataclasses.replace(recipe, epochs=max(1, round(SHORTENED * recipe.epochs)))


def references_after(plan: PoolPlan, work: Path) -> dict[str, np.ndarray]:
    """Logits [K, E, C] of the references after each case, for U-LiRA: they went through what the model went through."""
    folder, names = work / "pool", [name for name in METHODS if METHODS[name][0] != "mask_logit"]
    found = {name: pools.unlearned_references(plan, folder, *METHODS[name]) for name in names}
    found[EXACT] = pools.unlearned_references(plan, folder, "retrain")
    for name in (*KEPT, SHORT):
        path = folder / f"{name.replace(' ', '-')}.npz"
        arrays = pools.read_arrays(path, plan.key)
        if arrays is None:
            recipe = shortened(plan.recipe) if name == SHORT else plan.recipe
            other, share = dataclasses.replace(plan, recipe=recipe), KEPT.get(name, 0.0)
            nets = pools.partly_retrained(other, plan.membership, share, seed=1)
            arrays = {"logits": np.stack([predict(net, plan.samples(plan.evaluation)).numpy() for net in nets])}
            pools.write_arrays(path, plan.key, arrays)
        found[name] = arrays["logits"]
    return found


# --- models -----------------------------------------------------------------------------------------------------------


def models_of(draw: Draw) -> dict[str, list[nn.Module]]:
    """The models of every case, a list of one a seed each, and those that they are compared with."""
    forget, retain = draw.rows["forget"], draw.rows["retain"]

    def trained(what: str, sets: list[np.ndarray], recipe: Recipe = draw.plan.recipe) -> list[nn.Module]:
        seeds = [draw.seed(what, seed) for seed in range(SEEDS)]
        return [*pools.train_nets(dataclasses.replace(draw.plan, recipe=recipe), sets, seeds)]

    found = {UNTOUCHED: trained("original", [np.concatenate([forget, retain])] * SEEDS)}
    found |= {name: trained(name, [retain] * SEEDS) for name in RETRAINED}
    found |= {name: trained(name, [retain] * SEEDS, shortened(draw.plan.recipe)) for name in (SHORT, AGAIN)}
    for name, share in KEPT.items():
        orders = [np.random.default_rng(draw.seed(name, seed)).permutation(forget) for seed in range(SEEDS)]
        sets = [np.concatenate([retain, order[: round(share * len(forget))]]) for order in orders]
        found[name] = trained(name, sets)
    for name, (method, settings) in METHODS.items():
        if draw.classes or method != "mask_logit":
            originals = enumerate(found[UNTOUCHED])
            found[name] = [unlearn(method, net, task_of(draw, name, seed), **settings) for seed, net in originals]
    return found


def task_of(draw: Draw, name: str, seed: int) -> UnlearningTask:
    """What a method is given."""
    forget, retain = draw.samples("forget"), draw.samples("retain")
    generator = torch.Generator().manual_seed(draw.seed(name, seed))
    forget, retain = (dataclasses.replace(part, generator=generator) for part in (forget, retain))
    return UnlearningTask(
        parse_request(draw.request.text),
        forget,
        retain,
        validation=retain.subset(torch.arange(0)),
        number_of_classes=draw.plan.number_of_classes,
        fresh_model=draw.plan.fresh_model,
        recipe=draw.plan.recipe,
        classes=draw.classes,
        seed=draw.seed(name, seed),
        generator=generator,
    )


# --- measures ---------------------------------------------------------------------------------------------------------


@dataclass
class Looked:
    """What is measured on one model: numbers by measure, its logits on forget samples, accuracies by part."""

    values: dict[str, float]
    logits: np.ndarray
    labels: np.ndarray
    rates: dict[str, float]

    @property
    def margins(self) -> np.ndarray:
        """Margins of the forget samples, float [n]."""
        return scores.phi(self.logits, self.labels)


def inputs_of(draw: Draw, net: nn.Module, case: str, known: Mapping[str, np.ndarray]) -> AttackInput:
    """What attacks on samples are given. known: of `known_outside`, by part."""
    parts = {part: draw.samples(part) for part in ("forget", "unseen")} | {"population": draw.population}
    sides = {part: Side(predict(net, samples), samples.labels, known=known[part]) for part, samples in parts.items()}
    references = None
    if draw.pool is not None:
        columns = np.concatenate([draw.rows["forget"], draw.rows["unseen"]])
        after = draw.after.get(EXACT if case in RETRAINED else SHORT if case == AGAIN else case)
        references = draw.pool.references(columns, after)
        if after is None:  # nothing was done to the references either
            references = dataclasses.replace(references, unlearned_logits=references.logits)
    return AttackInput(sides["forget"], sides["unseen"], sides["population"], references)


def look(draw: Draw, net: nn.Module, case: str, original: nn.Module, known: Mapping[str, np.ndarray]) -> Looked:
    """All numbers of one model."""
    inputs = inputs_of(draw, net, case, known)
    logits, labels = np.asarray(inputs.forget.logits), np.asarray(inputs.forget.labels)
    rates = {"forget": metrics.accuracy(logits, labels), "test": accuracy(net, draw.test)}
    rates["retain"] = accuracy(net, draw.samples("retain"))
    attacked = {each.metric: each.value for each in get_attack("loss_regression")(inputs)}
    rates["attack"] = attacked["accuracy"]
    values = {"forget accuracy": rates["forget"], "kept accuracy": rates["test"], "loss attack": attacked["auc"]}
    values["NoMUS"] = metrics.nomus(rates["test"], rates["attack"])
    for title, name in PER_SAMPLE.items():
        score = get_attack(name).score
        if score is not None and (draw.pool is not None or name == "one_model"):
            found = score(inputs)
            values[title] = intervals.auc(found[: inputs.number_forget], found[inputs.number_forget :])
    if draw.pool is not None:
        values["share left"] = float(shares([influence(inputs, np.arange(len(inputs.labels)))])[0][0])
    if draw.classes:
        values |= probed(draw, net)
    wanted = WeightsInput(net, draw.samples("forget"), accuracy(original, draw.samples("forget")), draw.request.rate)
    values["relearning"] = next(each.value for each in get_attack("relearning")(wanted))
    return Looked(values, logits, labels, rates)


def probed(draw: Draw, net: nn.Module) -> dict[str, float]:
    """Recall of the forgotten class by probes of the embedding."""
    trained = np.concatenate([draw.rows["forget"], draw.rows["retain"]])
    gallery = draw.plan.samples(np.random.default_rng(draw.number).permutation(trained)[:GALLERY])
    features = [embed(net, samples).numpy() for samples in (gallery, draw.all_test)]
    inputs = ProbeInput(features[0], gallery.labels.numpy(), features[1], draw.all_test.labels.numpy(), draw.classes)
    return {
        title: next(each.value for each in get_attack(name)(inputs) if each.metric == metric)
        for title, (name, metric) in PROBES.items()
        if name in ATTACKS
    }


def gaps_between(one: Looked, two: Looked) -> dict[str, float]:
    """How far two models are from each other in each measure, >= 0."""
    found = {title: abs(value - two.values[title]) for title, value in one.values.items()}
    found["JS divergence"] = metrics.js_divergence(one.logits, two.logits)
    found["Average Gap"] = metrics.average_gap(one.rates, two.rates)
    found["tug of war"] = 1 - metrics.tug_of_war(one.rates, two.rates)
    return found


def add_traces(looked: Mapping[str, Sequence[Looked]]) -> None:
    """The statistic of the deletion verdict, from the models of the draw's other seeds."""
    for seed in range(SEEDS):
        others = [each for each in range(SEEDS) if each != seed]
        retrained = np.stack([looked[name][each].margins for name in RETRAINED for each in others])
        trained = np.stack([looked[UNTOUCHED][each].margins for each in others])
        for several in looked.values():
            trace = traces(several[seed].margins[None], retrained, trained)[0]
            several[seed].values["deletion verdict"] = float(trace)


def gaps_of(draw: Draw) -> pd.DataFrame:
    """Gaps to the retrained model of the same seed, and as case `PAIR` between retrained models, of one draw."""
    nets = models_of(draw)
    helper = pools.train_nets(draw.plan, [draw.rows["retain"]], [draw.seed("helper", 0)])[0]
    parts = {part: draw.samples(part) for part in ("forget", "unseen")} | {"population": draw.population}
    known = known_outside(helper, parts)
    looked = {
        case: [look(draw, net, case, nets[UNTOUCHED][seed], known) for seed, net in enumerate(several)]
        for case, several in nets.items()
    }
    add_traces(looked)
    pairs = [(PAIR, one, two) for one, two in itertools.combinations(RETRAINED, 2)]
    pairs += [(EXACT, RETRAINED[2], FIRST), *((case, case, FIRST) for case in CASES if case in looked)]
    rows = []
    for case, one, two in pairs:
        for seed in range(SEEDS):
            found = gaps_between(looked[one][seed], looked[two][seed])
            if case == SHORT:  # how soon a net relearns goes by how long it was trained
                found["relearning"] = gaps_between(looked[SHORT][seed], looked[AGAIN][seed])["relearning"]
            rows += [(draw.number, seed, case, title, value) for title, value in found.items()]
        families = [np.stack([each.margins for each in looked[name]]) for name in (one, two)]
        rows.append((draw.number, 0, case, FAMILY, float(np.median(metrics.margin_divergence(*families)))))
    return pd.DataFrame(rows, columns=["draw", "seed", "case", "measure", "gap"])


# --- power ------------------------------------------------------------------------------------------------------------


def threshold(null: np.ndarray, alpha: float = ALPHA) -> float:
    """The gap above which one more pair of retrained models lies with a probability of at most alpha."""
    rank = math.ceil((1 - alpha) * (len(null) + 1))
    return float(np.sort(null)[rank - 1]) if rank <= len(null) else math.inf


def powers(gaps: pd.DataFrame) -> pd.DataFrame:
    """By measure and case: share of decisions that are flagged, with Clopper-Pearson interval."""
    rows = []
    for measure, part in gaps.groupby("measure", sort=False):
        null = part[part["case"] == PAIR]
        limits = {draw: threshold(null.loc[null["draw"] != draw, "gap"].to_numpy()) for draw in part["draw"].unique()}
        flagged = part["gap"] > part["draw"].map(limits) + 1e-12
        for case, hits in flagged[part["case"] != PAIR].groupby(part["case"], sort=False):
            share = intervals.clopper_pearson(int(hits.sum()), len(hits))
            seeds = part["draw"].nunique() * SEEDS
            row = {"measure": measure, "case": case, "power": share.value, "low": share.low, "high": share.high}
            rows.append(row | {"decisions": len(hits), "seeds": seeds, "threshold": np.median(list(limits.values()))})
    return pd.DataFrame(rows)


def measured(name: str, draws: int, work: Path) -> pd.DataFrame:
    """Gaps of all draws of a request; those that are on disk are read."""
    request, folder, frames = REQUESTS[name], work / name, []
    made = class_draws(request, draws) if name == "class" else random_draws(request, draws, folder)
    for draw in made:
        path = folder / f"draw{draw.number}.csv"
        if not path.is_file():
            write_text(path, gaps_of(draw).to_csv(index=False))
            print(f"{name}: draw {draw.number + 1} of {draws} is done", flush=True)
        sizes = {"forgotten": len(draw.rows["forget"]), "trained": len(draw.rows["forget"]) + len(draw.rows["retain"])}
        frames.append(pd.read_csv(path).assign(**sizes))
    return pd.concat(frames, ignore_index=True)


def main() -> None:
    """Writes the table of the requests asked for, beside what it holds of others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", nargs="+", default=list(REQUESTS), choices=list(REQUESTS))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--work", type=Path, default=WORK, help="folder of models and gaps, to go on from")
    asked = parser.parse_args()
    set_threads(1)
    for name in asked.requests:
        gaps = measured(name, asked.draws, asked.work)
        print(gaps.groupby(["measure", "case"])["gap"].mean().unstack("case").round(3).to_string())
        about = {"request": name, "dataset": REQUESTS[name].dataset} | dict(gaps[["forgotten", "trained"]].iloc[0])
        write_text(asked.work / f"{name}.csv", powers(gaps).round(4).assign(**about).to_csv(index=False))
    tables = [pd.read_csv(asked.work / f"{name}.csv") for name in REQUESTS if (asked.work / f"{name}.csv").is_file()]
    table = pd.concat(tables, ignore_index=True)
    write_text(asked.output / "notices.csv", table.set_index(["request", "measure", "case"]).to_csv())


if __name__ == "__main__":
    main()
