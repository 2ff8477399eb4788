"""How long do the parts of the membership study take? CPU seconds of one process with one thread.

    python benchmarks/membership_speed.py [--models 64] [--methods finetune scrub ...]

Parts: 64 small nets trained at once (limit 20 s on two cores alone), all attacks on cached logits (10 s), and U-LiRA of
the methods of quick, that is, 16 references and 8 targets unlearned by each (90 s). It writes
results/reference/benchmarks/membership_speed.csv. CPU seconds hardly depend on what else runs; wall seconds do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import membership as points
import numpy as np
import pandas as pd
import torch
import yaml

from forget_lib import datasets
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.stacked import BatchedMlp, mlp_classifier, train_batched
from forget_lib.study import membership, pools
from forget_lib.study.chosen import with_chosen
from forget_lib.unlearning import get_method

OUTPUT = points.OUTPUT.with_name("membership_speed.csv")
CONFIG = points.REPOSITORY / "workflow" / "config" / "quick.yaml"
LIMITS = {"small nets": 20.0, "attacks": 10.0, "U-LiRA": 90.0}


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of this process, and what the call returned."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def small_nets(models: int) -> None:
    """`models` nets 196-128-10 on 500 digits each, 60 epochs."""
    data = datasets.load("mnist14", start="sample")
    recipe = Recipe(60, 64, 1e-3, weight_decay=0.0, schedule="cosine", optimizer="adam")
    nets = BatchedMlp.of([mlp_classifier((1, 14, 14), 10, 128, seed) for seed in range(models)])
    sets = torch.as_tensor(np.stack([np.random.default_rng(k).permutation(1000)[:500] for k in range(models)]))
    train_batched(nets, data.images[:1000], data.labels[:1000], sets, recipe, range(models))


def main() -> int:
    """Prints and writes the table; 1 if a part takes longer than its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    scenario = yaml.safe_load(CONFIG.read_text())["scenarios"]["membership-pool"]
    methods = [name for name in scenario["methods"] if not get_method(name).control]
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--methods", nargs="*", default=methods)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    asked = scenario["parameters"]["pool"]
    sizes = {name: asked[name] for name in ("samples", "evaluation", "number")}
    data, recipe = datasets.load(scenario["dataset"], start="sample"), make_recipe(scenario["recipe"])
    rows = [["small nets", f"{arguments.models} nets", timed(lambda: small_nets(arguments.models))[0]]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = membership.make_plan(data, recipe=recipe, **sizes)
        rows.append(["pool", f"{plan.number} references", timed(lambda: pools.train_shard(plan, folder))[0]])
        pool, splits = pools.load_pool(plan, folder), pools.target_splits(plan, asked["targets"])
        seconds, models = timed(lambda: {name: pools.control_nets(plan, splits, name) for name in pools.CONTROLS})
        rows.append(["controls", f"{3 * len(splits)} nets", seconds])
        originals = models["original"]
        for method in arguments.methods:
            settings = with_chosen(method, {}, scenario["dataset"], scenario["model"], "random")
            seconds, after = timed(lambda m=method, s=settings: pools.unlearned_references(plan, folder, m, s))
            more, done = timed(lambda m=method, c=settings: pools.unlearned_targets(plan, splits, originals, m, c))
            rows.append(["U-LiRA", method, seconds + more])
        attacks = membership.ATTACK_ORDER
        whole = membership.Targets(pool, folder, asked["targets"], attacks=attacks)
        seconds, _ = timed(lambda: whole.score(done, after))
        rows.append(["attacks", f"{len(attacks)} attacks, {len(splits)} targets", seconds])
    table = pd.DataFrame(rows, columns=["part", "what", "cpu_seconds"])
    print(table.round(2).to_string(index=False))
    totals = table.groupby("part")["cpu_seconds"].sum()
    late = [part for part, limit in LIMITS.items() if totals[part] > limit]
    print("; ".join(f"{part} {totals[part]:.1f} of {limit:.0f} s" for part, limit in LIMITS.items()))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.round(3).to_csv(OUTPUT, index=False)
    return int(bool(late))


if __name__ == "__main__":
    raise SystemExit(main())
