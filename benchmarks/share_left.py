"""Is the share left what was left? Nets retrained with a known share of the forget set, measured by a pool.

    python benchmarks/share_left.py [references] [targets]      (32 and 16: about a minute on one core)

A row a dose: mean over targets with its interval, and how many intervals of single targets hold the truth. The placebo
takes a half of the unseen samples for the forget set. It writes results/reference/benchmarks/share_left.csv.

Batches of 45 divide the training sets, so that a dose is not another training besides: a net whose every epoch ends on
a few images learns less by heart, and one whose batches are all full learns more.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import datasets  # noqa: E402
from forget_lib.attacks.parts.per_sample import shares  # noqa: E402
from forget_lib.models.train import set_threads  # noqa: E402
from forget_lib.study import membership, pools  # noqa: E402

OUTPUT = REPOSITORY / "results" / "reference" / "benchmarks" / "share_left.csv"
DOSES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
SIZES = {"samples": 3600, "evaluation": 360}
TOLERANCE = 0.02


def measured(references: int, number: int) -> pd.DataFrame:
    """Dose, share left with its interval, and coverage by single targets, of cifar16 mlps."""
    sizes, recipe = SIZES | {"number": references}, dataclasses.replace(pools.MEMORISING, batch_size=45)
    plan, _ = membership.plan_pool(Path(), datasets.load("cifar16", "sample"), "mlp", recipe, sizes, 0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pools.train_pool(plan, Path(folder))
        targets = membership.Targets(pools.load_pool(plan, Path(folder)), Path(folder), number, number)
        for dose in DOSES:
            nets = targets.nets(membership.Entry(f"retrain_keeping_{dose:g}", "dose", dose), {})
            each = targets.influences(nets)
            found, alone = shares(each)[1], [shares([one])[1] for one in each]
            placebo = next(row["value"] for row in targets.share_left(nets) if row["metric"] == "share_left_placebo")
            covered = np.mean([one.low <= dose <= one.high for one in alone])
            row = {"dose": dose, "share_left": found.value, "low": found.low, "high": found.high}
            rows.append(row | {"covered": covered, "placebo": placebo, "references": references, "targets": number})
    return pd.DataFrame(rows)


def main() -> None:
    """Prints and writes the table; fails where the mean error of the doses is beyond the tolerance."""
    references, targets = (int(each) for each in (*sys.argv[1:], 32, 16)[:2])
    set_threads(1)
    table = measured(references, targets).round(4)
    print(table.to_string(index=False))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False)
    error = (table["share_left"] - table["dose"]).abs().mean()
    if error > TOLERANCE:
        sys.exit(f"The doses are missed by {error:.3f} on average; expected at most {TOLERANCE}.")


if __name__ == "__main__":
    main()
