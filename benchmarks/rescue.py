"""Does tuning find settings that work for a class of whole MNIST, where earlier choices failed?

    FORGET_DATA=DATA python benchmarks/rescue.py [--pairs 6]

For SCRUB, NegGrad+ and SSD on class:5 (mlp, 10 epochs): the settings chosen before ranges were widened, and those that
`python -m workflow.tuning` chooses by itself (workflow/config/settings). Gaps to the retrained model of the same draw
and seed, in points; cost in retrainings. Each run is a row of results/reference/benchmarks/rescue.csv.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import pandas as pd
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.models.train import accuracy
from forget_lib.statistics.intervals import t_interval
from forget_lib.study.chosen import choice
from forget_lib.study.run import make_task, original
from forget_lib.study.scenario import Scenario, make_scenario
from forget_lib.unlearning import unlearn

OUTPUT = Path(__file__).resolve().parent.parent / "results" / "reference" / "benchmarks" / "rescue.csv"
RECIPE = {"epochs": 10, "batch_size": 64, "learning_rate": 0.02}
BEFORE = {
    "scrub": {"learning_rate": 0.003, "epochs": 1, "max_epochs": 1, "alpha": 0.5, "forget_batch_size": 256},
    "negative_gradient_plus": {"learning_rate": 0.005, "alpha": 0.98, "epochs": 1, "forget_batch_size": 32},
    "ssd": {"alpha": 20.0, "strength": 1.0, "importance": "batch"},
}
"""On what the earlier study ran."""


def accuracies(scenario: Scenario, model: torch.nn.Module) -> tuple[float, float]:
    """On the forget set, and on test images of the classes that stay."""
    return accuracy(model, scenario.samples["forget"]), accuracy(model, scenario.test_kept)


def rows_of(scenario: Scenario) -> list[dict]:
    """A row for each method with either settings; no gaps where it diverged."""
    start = original(scenario)
    aim = accuracies(scenario, unlearn("retrain", start, make_task(scenario, name="retrain")))
    rows = []
    for name, chosen in itertools.product(BEFORE, ("before", "tuned")):
        found = choice(name, {}, *scenario.tuned_for)
        settings = BEFORE[name] if chosen == "before" else found.settings
        task = make_task(scenario, name=name)
        row = {"method": name, "settings": chosen, "tuned": found.tuned if chosen == "tuned" else ""}
        row |= {"draw": scenario.draw, "seed": scenario.seed}
        try:
            forget, kept = accuracies(scenario, unlearn(name, start, task, **settings))
            row |= {"forget_gap": 100 * (forget - aim[0]), "kept_gap": 100 * (kept - aim[1]), "reason": ""}
        except ForgetError as error:
            row |= {"reason": str(error)}
        cost = round(task.meter.passes / scenario.retraining, 3)
        rows.append(row | {"cost": cost, "values": json.dumps(dict(settings), sort_keys=True)})
    return rows


def main() -> None:
    """Runs what is asked for and prints means with intervals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=6)
    pairs = range(parser.parse_args().pairs)
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs:
            about = {"dataset": "mnist", "model": "mlp", "request": "class:5", "draw": pair, "seed": pair}
            scenario = make_scenario(Path(folder), RECIPE, (), start="local", **about)
            if scenario.data.sampled:
                raise SystemExit("The whole MNIST is not there; ./run_all.sh data mnist fetches it.")
            rows += rows_of(scenario)
            print(pd.DataFrame(rows[-2 * len(BEFORE) :]).drop(columns="values").to_string(), flush=True)
    table = pd.DataFrame(rows)
    table.round(3).to_csv(OUTPUT, index=False)
    for (name, settings), group in table.groupby(["method", "settings"], sort=False):
        gaps = {gap: group[gap].dropna().to_numpy() for gap in ("forget_gap", "kept_gap")}
        print(name, settings, {gap: t_interval(values) for gap, values in gaps.items() if len(values) > 1})


if __name__ == "__main__":
    main()
