"""Ten requests, one after another: does a later one revive an earlier one, and what does SISA cost instead?

    python -m forget_lib.deletion.sequence      (about five minutes of one core)

A small memorising net is asked ten times to forget twenty images. After each request the trace of every earlier one
is read on the present model, beside models retrained without all of them. Writes sequence.csv (one row a method, step
and earlier request) and sisa.csv (one row a number of shards) to results/reference/deletion.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from forget_lib import datasets
from forget_lib.core import paths
from forget_lib.datasets.requests import Request
from forget_lib.datasets.samples import Samples
from forget_lib.deletion import trace
from forget_lib.deletion.margins import margins_of
from forget_lib.deletion.verdict import OUTPUTS
from forget_lib.models.train import Meter, accuracy, set_threads
from forget_lib.show import figures
from forget_lib.study.pools import MEMORISING, PoolPlan, train_nets
from forget_lib.unlearning import UnlearningTask, unlearn
from forget_lib.unlearning.sisa import Sisa

OUTPUT = paths.RESULTS / "reference" / "deletion"
METHODS = {
    "finetune": {"learning_rate": 0.05, "epochs": 2},
    "negative_gradient_plus": {"learning_rate": 0.01, "alpha": 0.9, "epochs": 1, "forget_batch_size": 32},
    "random_label": {"learning_rate": 0.01, "epochs": 1},
}
"""As their subset spaces of workflow/config/tuning have them."""
REQUESTS, EACH, SAMPLES, FAMILY = 10, 20, 1000, 4
SHARDS = (1, 2, 4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Images, test images and the requests, disjoint index arrays into the images."""

    plan: PoolPlan
    test: Samples
    requests: list[np.ndarray]

    def gone(self, step: int) -> np.ndarray:
        """Everything requested up to and with request `step` (from 0)."""
        return np.sort(np.concatenate(self.requests[: step + 1]))

    def staying(self, step: int) -> np.ndarray:
        """What is left to train on after request `step`."""
        return np.setdiff1d(np.arange(len(self.plan.labels)), self.gone(step))


def setting(seed: int) -> Setting:
    """The images of a seed and ten requests."""
    data, generator = datasets.load("cifar16", start="sample"), np.random.default_rng(seed)
    chosen = torch.as_tensor(np.sort(generator.permutation(len(data.labels))[:SAMPLES]))
    plan = PoolPlan(
        data.images[chosen],
        data.labels[chosen],
        np.arange(2),
        len(data.classes),
        recipe=MEMORISING,
        hidden=64,
        seed=seed,
    )
    parts = np.split(generator.permutation(SAMPLES)[: REQUESTS * EACH], REQUESTS)
    return Setting(plan, Samples(data.test_images, data.test_labels), parts)


def one_request(given: Setting, model: nn.Module, name: str, step: int) -> tuple[nn.Module, float]:
    """The model after request `step`, and the method's cost in retrainings."""
    plan, retain = given.plan, given.staying(step)
    forget = given.requests[step]
    task = UnlearningTask(
        request=Request("indices", tuple(map(str, forget))),
        forget=plan.samples(forget),
        retain=plan.samples(retain),
        validation=given.test.subset(torch.arange(2)),  # none of these methods looks at it
        number_of_classes=plan.number_of_classes,
        fresh_model=plan.fresh_model,
        recipe=plan.recipe,
        seed=1000 * plan.seed + step,
        generator=torch.Generator().manual_seed(1000 * plan.seed + step),
    )
    unlearned = unlearn(name, model, task, **METHODS[name])
    return unlearned, task.meter.passes / (3 * plan.recipe.epochs * len(retain))


def run_methods(seed: int) -> list[dict[str, object]]:
    """Rows (method, step, earlier, trace, test_accuracy, cost) of a seed; the first row of a method is step 0."""
    given, rows = setting(seed), []
    plan, every = given.plan, np.arange(SAMPLES)
    originals = train_nets(plan, [every] * FAMILY, range(seed * 100, seed * 100 + FAMILY))
    last = given.staying(REQUESTS - 1)
    retrained = train_nets(plan, [last] * FAMILY, range(seed * 100 + 50, seed * 100 + 50 + FAMILY))
    start = train_nets(plan, [every], [seed * 100 + 99])[0]
    data = (plan.samples(given.gone(REQUESTS - 1)), plan.samples(last))
    place = {int(index): position for position, index in enumerate(given.gone(REQUESTS - 1))}

    def margins(model: nn.Module) -> np.ndarray:
        return margins_of(model, *data, plan.number_of_classes)[OUTPUTS]

    families = [np.stack([margins(model) for model in group]) for group in (retrained, originals)]
    for name in METHODS:
        model, total = start, 0.0
        for step in range(REQUESTS):
            model, cost = one_request(given, model, name, step)
            total, now, test = total + cost, margins(model), accuracy(model, given.test)
            for earlier in range(step + 1):
                columns = [place[int(index)] for index in given.requests[earlier]]
                value = trace.traces(now[None, columns], *(part[:, columns] for part in families))[0]
                row = {"seed": seed, "method": name, "step": step + 1, "earlier": earlier + 1, "trace": float(value)}
                rows.append(row | {"test_accuracy": test, "cost": total})
    return rows


def run_sisa(seed: int) -> list[dict[str, object]]:
    """Rows (shards, step, test_accuracy, cost) of a seed; cost in retrainings of one model, so far."""
    given, rows = setting(seed), []
    plan = given.plan
    for shards in SHARDS:
        meter = Meter()

        def new_model(model_seed: int, meter: Meter = meter) -> nn.Module:
            return meter.attach(plan.fresh_model(model_seed))

        ensemble = Sisa(plan.samples(np.arange(SAMPLES)), new_model, plan.recipe, shards=shards, slices=1, seed=seed)
        trained = meter.passes
        for step, forget in enumerate(given.requests, 1):
            ensemble.forget(torch.as_tensor(np.sort(forget)))
            cost = (meter.passes - trained) / (3 * plan.recipe.epochs * SAMPLES)
            if step in (1, REQUESTS):
                with meter.paused():
                    found = accuracy(ensemble.model("softmax"), given.test)
                rows.append({"seed": seed, "shards": shards, "step": step, "test_accuracy": found, "cost": cost})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m forget_lib.deletion.sequence", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    set_threads(1)
    begun = time.process_time()
    tables: dict[str, list[dict[str, object]]] = {"sequence": [], "sisa": []}
    for seed in range(2000, 2000 + options.seeds):
        tables["sequence"] += run_methods(seed)
        tables["sisa"] += run_sisa(seed)
        print(f"seed {seed}: {time.process_time() - begun:.0f} s of processor time", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pd.DataFrame(rows).round(5).to_csv(options.out / f"{name}.csv", index=False)
    return 0


def ten_requests(folder: Path = OUTPUT) -> Figure:
    """Above: trace of the requests so far, test accuracy and cost by request. Below: SISA by number of shards."""
    table, sisa = (pd.read_csv(folder / f"{name}.csv") for name in ("sequence", "sisa"))
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), layout="constrained")
    (traces, accuracies, costs), (sisa_accuracy, sisa_cost, rest) = axes
    colours = (figures.BLUE, figures.ORANGE, figures.PURPLE)
    for (name, group), colour, marker in zip(
        table.groupby("method", sort=False), colours, figures.MARKERS, strict=False
    ):
        style = {"color": colour, "marker": marker}
        old, fresh = (group[side].groupby("step")["trace"].mean() for side in _sides(group))
        traces.plot(old, **style, label=str(name))
        traces.plot(fresh, **style, linestyle=":", alpha=0.5)
        accuracies.plot(100 * group.groupby("step")["test_accuracy"].mean(), **style)
        costs.plot(group.groupby("step")["cost"].mean(), **style)
    traces.axhline(0, color=figures.GREEN, label="retrained")
    traces.set(xlabel="request", ylabel="trace", title="Earlier requests; dotted: the newest one")
    accuracies.set(xlabel="request", ylabel="test accuracy (%)", title="Accuracy of the methods")
    costs.set(xlabel="request", ylabel="cost so far (retrainings)", title="Cost of the methods")
    for step, marker, line in ((1, "o", ":"), (REQUESTS, "s", "-")):
        means = sisa[sisa["step"] == step].groupby("shards")[["test_accuracy", "cost"]].mean()
        style = {"color": figures.BLACK, "marker": marker, "linestyle": line, "label": f"after {step}"}
        sisa_accuracy.plot(100 * means["test_accuracy"], **style)
        sisa_cost.plot(means["cost"], **style)
    for axis, label in ((sisa_accuracy, "test accuracy (%)"), (sisa_cost, "cost so far (retrainings)")):
        axis.set_xscale("log", base=2)
        axis.set_xticks(SHARDS, [str(shards) for shards in SHARDS])
        axis.set(xlabel="shards", ylabel=label, title=f"SISA, {label.partition(' (')[0]}")
        axis.legend(title="requests", frameon=False)
    rest.axis("off")
    rest.legend(*traces.get_legend_handles_labels(), loc="center left", frameon=False)
    return figure


def _sides(group: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Rows of earlier requests, and rows of the newest, bool."""
    return group["earlier"] < group["step"], group["earlier"] == group["step"]


def sentences(folder: Path = OUTPUT) -> list[str]:
    """What the record of the ten requests shows."""
    table, sisa = (pd.read_csv(folder / f"{name}.csv") for name in ("sequence", "sisa"))
    found = []
    for name, group in table.groupby("method", sort=False):
        ends = group[(group["step"] == REQUESTS) & (group["earlier"] == 1)]["trace"]
        starts = group[(group["step"] == 1) & (group["earlier"] == 1)]["trace"]
        change = ends.mean() - starts.mean()
        word = "is revived" if change > 0.1 else "goes on fading" if change < -0.1 else "stays as it was"
        found.append(
            f"{name}: the first of ten requests {word} by the nine after it (trace {starts.mean():.2f}, then "
            f"{ends.mean():.2f}; mean of {len(ends)} seeds)."
        )
    end = sisa[sisa["step"] == REQUESTS].groupby("shards")[["test_accuracy", "cost"]].mean()
    one, most = end.iloc[0], end.iloc[-1]
    found.append(
        f"SISA is exact: ten requests cost {one['cost']:.1f} retrainings with {end.index[0]} shard and "
        f"{most['cost']:.1f} with {end.index[-1]}, at a test accuracy of {100 * one['test_accuracy']:.1f} and "
        f"{100 * most['test_accuracy']:.1f} %."
    )
    return found


if __name__ == "__main__":
    raise SystemExit(main())
