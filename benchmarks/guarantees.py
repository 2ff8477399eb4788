"""What is proven beside what is found: the epsilon of each guarantee, and what an audit refutes of it.

    OMP_NUM_THREADS=1 python benchmarks/guarantees.py [--seeds 3]      (about a quarter of an hour on one core)

Each forget sample is paired with one that was drawn in the same way and never used: which of the two was in training
is a fair coin. For the fifth of the pairs whose losses differ most it is guessed: the one of less loss was trained on.
Writes guarantees.csv (a row a data set, method, epsilon and seed) and guarantees.png to results/reference/benchmarks.
Fails where more is found than was proven.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from torch import nn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib.attacks.audit import group_lower_bound  # noqa: E402
from forget_lib.core.files import write_text  # noqa: E402
from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.models.train import accuracy, predict, set_threads  # noqa: E402
from forget_lib.statistics.privacy import gaussian_distance  # noqa: E402
from forget_lib.statistics.scores import cross_entropy  # noqa: E402
from forget_lib.study import run  # noqa: E402
from forget_lib.study.pools import MEMORISING  # noqa: E402
from forget_lib.unlearning import unlearn  # noqa: E402

OUTPUT = REPOSITORY / "results" / "reference" / "benchmarks"
RECIPES = {
    "mnist": {"epochs": 10, "batch_size": 64, "learning_rate": 0.02},
    "cifar16": dataclasses.asdict(MEMORISING),
}
EPSILONS = (1.0, 8.0)
DELTA = 1e-5
GUESSED = 5
"""One pair in so many is guessed, those of the largest difference: fixed beforehand."""
HEAD = "langevin, features of retain set"
"""Its features never saw the forget set, and are frozen: so the guarantee is of the whole model."""
WHOLE = "all trained weights"


def audited(model: nn.Module, forget: Samples, unseen: Samples, seed: int) -> tuple[int, int]:
    """Right guesses, and guesses, of which sample of a pair the model was trained on."""
    size = min(len(forget), len(unseen))
    generator = np.random.default_rng(seed)
    losses = []
    for samples in (forget, unseen):
        every = cross_entropy(predict(model, samples).numpy(), samples.labels.numpy())
        losses.append(every[generator.permutation(len(every))[:size]])
    apart = losses[1] - losses[0]
    guessed = np.argsort(-np.abs(apart), kind="stable")[: size // GUESSED]
    return int((apart[guessed] > 0).sum()), len(guessed)


def settings_of(method: str, epsilon: float, epochs: int) -> dict[str, Any]:
    """Settings of a method; at any epsilon noisy fine-tuning has the noise that it has at 1, and larger radii."""
    if method == "dp_sgd":
        return {"epsilon": epsilon, "delta": DELTA, "steps": 50}
    if method == "langevin":
        return {"epsilon": epsilon, "delta": DELTA}
    wider = gaussian_distance(epsilon, DELTA) / gaussian_distance(1.0, DELTA)
    radii = {"start_clip": 0.005 * wider, "gradient_clip": 5.0 * wider}
    return {"epsilon": epsilon, "delta": DELTA, "epochs": max(1, epochs // 5)} | radii


def rows(dataset: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """One data set and seed: the references, then each guarantee at each epsilon."""
    options: dict[str, Any] = {"dataset": dataset, "model": "mlp", "request": "random:0.1", "start": "sample"}
    scenario = run.make_scenario(folder, RECIPES[dataset], (), draw=seed, seed=seed, **options)
    original, found = run.original(scenario), []
    retrained = unlearn("retrain", original, run.make_task(scenario, name="retrain"))
    outside = unlearn("do_nothing", retrained, run.make_task(scenario, name="do_nothing"))
    outside.body.requires_grad_(False)
    seconds = 1.0

    def add(label: str, method: str, start: nn.Module, settings: dict[str, Any]) -> None:
        nonlocal seconds
        task = run.make_task(scenario, name=method)
        model = unlearn(method, start, task, **settings)
        cost = task.meter.cost["seconds"]
        seconds = cost if method == "retrain" else seconds
        correct, guesses = audited(model, scenario.samples["forget"], scenario.samples["unseen"], seed)
        row = {"dataset": dataset, "seed": seed, "method": label, "epsilon": settings.get("epsilon", np.nan)}
        row |= {"proven": row["epsilon"] if task.facts.get("scope") == WHOLE else np.nan, "delta": DELTA}
        row |= {part: accuracy(model, scenario.samples[part]) for part in ("forget", "test")}
        row |= {"cost": cost / seconds, "correct": correct, "guesses": guesses}
        found.append(row | {"lower": group_lower_bound(correct, guesses, DELTA)})
        print(pd.DataFrame(found[-1:]).round(3).to_string(index=False, header=len(found) == 1), flush=True)

    for method in ("retrain", "short_retrain", "do_nothing"):
        add(method, method, original, {})
    for epsilon in EPSILONS:
        for method in ("noisy_finetune", "dp_sgd", "langevin"):
            add(method, method, original, settings_of(method, epsilon, scenario.recipe.epochs))
        add(HEAD, "langevin", outside, settings_of("langevin", epsilon, scenario.recipe.epochs))
    return found


def figure(table: pd.DataFrame) -> plt.Figure:
    """Proven upper bound and empirical lower bound, a panel a data set, a row a method and epsilon."""
    panels, axes = plt.subplots(1, table["dataset"].nunique(), figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, (dataset, part) in zip(np.atleast_1d(axes), table.groupby("dataset", sort=False), strict=True):
        names = list(dict.fromkeys(zip(part["method"], part["epsilon"].fillna(0), strict=True)))
        for place, (method, epsilon) in enumerate(names):
            runs = part[(part["method"] == method) & (part["epsilon"].fillna(0) == epsilon)]
            axis.plot(runs["lower"], [place] * len(runs), "o", color="#0072b2", alpha=0.7)
            axis.plot(runs["proven"], [place] * len(runs), "|", color="#d55e00", markersize=16, markeredgewidth=2)
        axis.set_yticks(range(len(names)), [f"{m}, ε = {e:g}" if e else m for m, e in names], fontsize=8)
        axis.set(xlabel="ε (nats)", title=dataset)
        axis.set_xscale("symlog", linthresh=1)
        axis.set(xlim=(-0.2, 60), ylim=(len(names) - 0.5, -0.5))
    panels.suptitle("Bar: proven, at most. Dots: refuted by an audit of one run each, 95 %, at least.", fontsize=10)
    return panels


def main() -> None:
    """Prints and writes the table and the figure; fails where a lower bound is above the proven one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", action="store_true", help="only the figure, from the table that is there")
    options = parser.parse_args()
    if options.draw:
        figure(pd.read_csv(OUTPUT / "guarantees.csv")).savefig(OUTPUT / "guarantees.png", dpi=110)
        return
    set_threads(1)
    found = []
    for dataset in RECIPES:
        for seed in range(1, options.seeds + 1):  # on draw and seed 0 settings of `langevin` were chosen by hand
            with tempfile.TemporaryDirectory() as folder:
                found += rows(dataset, seed, Path(folder))
    table = pd.DataFrame(found).round(4)
    write_text(OUTPUT / "guarantees.csv", table.to_csv(index=False))
    figure(table).savefig(OUTPUT / "guarantees.png", dpi=110)
    broken = table[table["lower"] > table["proven"]]
    if len(broken):
        sys.exit(f"More was found than was proven:\n{broken.to_string(index=False)}")


if __name__ == "__main__":
    main()
