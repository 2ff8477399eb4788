"""Ten requests, one after another: does a later one revive an earlier one, and what does SISA cost instead?

    python benchmarks/ten_requests.py      (about five minutes of one core)

A small memorising net is asked ten times to forget twenty images. After each request the trace of every earlier one
is read on the present model, beside models retrained without all of them. Writes sequence.csv (one row a method, step
and earlier request) and sisa.csv (one row a number of shards) to results/reference/deletion.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import datasets  # noqa: E402
from forget_lib.core import paths  # noqa: E402
from forget_lib.datasets.requests import Request  # noqa: E402
from forget_lib.datasets.samples import Samples  # noqa: E402
from forget_lib.deletion import verdict  # noqa: E402
from forget_lib.deletion.measure import margins_of  # noqa: E402
from forget_lib.deletion.verdict import OUTPUTS  # noqa: E402
from forget_lib.models.train import Meter, accuracy, set_threads  # noqa: E402
from forget_lib.study.pools import MEMORISING, PoolPlan, train_nets  # noqa: E402
from forget_lib.unlearning import UnlearningTask, unlearn  # noqa: E402
from forget_lib.unlearning.sisa import Sisa  # noqa: E402

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
                value = verdict.traces(now[None, columns], *(part[:, columns] for part in families))[0]
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
    parser = argparse.ArgumentParser(prog="python benchmarks/ten_requests.py", description=__doc__)
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


if __name__ == "__main__":
    raise SystemExit(main())
