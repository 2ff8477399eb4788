"""Do our attacks find what they should? The reference points of the evaluation protocol, measured again.

    python benchmarks/membership.py      (about 45 s on one busy core)

It writes results/reference/benchmarks/membership.csv and fails if a point is missed by more than 0.02.

These set-ups forget half of the training set: they are positive controls, not the study's scenarios. Images are
standardised as in the reference measurements, which used 5,000 digits and 10,000 objects where we have 4,000 of each.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import datasets  # noqa: E402
from forget_lib.attacks import AttackInput, References, Side, get_attack  # noqa: E402
from forget_lib.models.recipe import Recipe  # noqa: E402
from forget_lib.models.stacked import (  # noqa: E402
    BatchedMlp,
    mlp_classifier,
    train_batched,
)
from forget_lib.statistics import intervals  # noqa: E402
from forget_lib.study.pools import half_splits  # noqa: E402

OUTPUT = REPOSITORY / "results" / "reference" / "benchmarks" / "membership.csv"
ATTACKS = ("loss_regression", "rmia", "rmia_offline", "lira_offline", "lira")
TOLERANCE = 0.02
DOSES = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Setup:
    """One reference set-up: sizes, net, references and targets, and the AUCs to be reached, by (model, attack)."""

    data: str
    samples: int
    evaluation: int
    hidden: int
    epochs: int
    references: int
    targets: int
    expected: dict[tuple[str, str], float]
    doses: bool = False


SETUPS = (
    Setup("mnist14", 1000, 500, 128, 60, 64, 16, {
        ("original", "lira"): 0.750, ("retrain", "lira"): 0.497, ("original", "rmia"): 0.757,
        ("original", "loss_regression"): 0.586,
    }),
    Setup("cifar16", 2000, 1000, 64, 40, 16, 8, {
        ("original", "lira"): 0.945, ("retrain", "lira"): 0.505, ("original", "rmia"): 0.947,
        ("original", "loss_regression"): 0.834, ("keep 0.1", "lira"): 0.540, ("keep 0.25", "lira"): 0.606,
        ("keep 0.5", "lira"): 0.717,
    }, doses=True),
)  # fmt: skip


def standardised(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, C, H, W] to float32, mean 0 and deviation 1 over all pixels of a channel."""
    scaled = images.float() / 255
    dims = (0, 2, 3)
    return (scaled - scaled.mean(dims, keepdim=True)) / scaled.std(dims, keepdim=True)


def train_all(
    setup: Setup, images: torch.Tensor, labels: torch.Tensor, sets: list[np.ndarray], seed: int
) -> np.ndarray:
    """Logits float32 [len(sets), N, C] of nets trained on index sets of one size."""
    recipe = Recipe(setup.epochs, 64, 1e-3, weight_decay=0.0, schedule="cosine", optimizer="adam")
    seeds = range(seed, seed + len(sets))
    fresh = [mlp_classifier(tuple(images.shape[1:]), 10, setup.hidden, one) for one in seeds]
    return (
        train_batched(BatchedMlp.of(fresh), images, labels, torch.as_tensor(np.stack(sets)), recipe, seeds)
        .logits(images)
        .numpy()
    )


def measure(setup: Setup, seed: int = 0) -> pd.DataFrame:
    """AUC (mean over targets, interval between targets) of each attack on each kind of model."""
    data, start = datasets.load(setup.data, start="sample"), time.perf_counter()
    chosen = torch.as_tensor(np.random.default_rng(seed).permutation(len(data.labels))[: setup.samples])
    images, labels = standardised(data.images[chosen]), data.labels[chosen]
    evaluation = np.arange(setup.evaluation)
    membership = half_splits(setup.references, setup.samples, evaluation, seed)
    references = train_all(setup, images, labels, [np.flatnonzero(row) for row in membership], 10_000 * seed)
    splits = half_splits(2 * setup.targets, setup.samples, evaluation, 77 + seed)[::2]
    rest = [np.setdiff1d(np.flatnonzero(split), evaluation) for split in splits]
    kept = {"retrain": 0.0} | ({f"keep {share:g}": share for share in DOSES} if setup.doses else {}) | {"original": 1.0}
    rows = []
    for number, (model, share) in enumerate(kept.items()):
        sets = []
        for r, split in enumerate(splits):
            forget = np.random.default_rng([seed, r]).permutation(np.flatnonzero(split[: setup.evaluation]))
            sets.append(np.concatenate([rest[r], forget[: round(share * len(forget))]]))
        logits = train_all(setup, images, labels, sets, 10_000 * seed + 1000 * (number + 1))
        for attack in ATTACKS:
            areas = [
                area(attack, split, one, labels, references, membership, setup)
                for split, one in zip(splits, logits, strict=True)
            ]
            mean, low, high, n = intervals.within(intervals.mean_interval(areas), (0, 1))
            wanted = setup.expected.get((model, attack))
            rows.append([setup.data, model, attack, mean, low, high, n, np.std(areas, ddof=1) / np.sqrt(n), wanted])
    table = pd.DataFrame(
        rows, columns=["data", "model", "attack", "auc", "low", "high", "targets", "error", "reference"]
    )
    table["difference"] = table["auc"] - table["reference"]
    print(f"{setup.data}: {setup.references} references, {setup.targets} targets, {time.perf_counter() - start:.1f} s")
    return table


def area(
    attack: str,
    split: np.ndarray,
    logits: np.ndarray,
    labels: torch.Tensor,
    references: np.ndarray,
    membership: np.ndarray,
    setup: Setup,
) -> float:
    """AUC of one attack on one target: forget samples S & E against unseen ones E - S."""
    forget, unseen = np.flatnonzero(split[: setup.evaluation]), np.flatnonzero(~split[: setup.evaluation])
    columns = np.concatenate([forget, unseen])
    inputs = AttackInput(
        Side(logits[forget], labels[forget]), Side(logits[unseen], labels[unseen]),
        references=References(references[:, columns], membership[:, columns]),
    )  # fmt: skip
    score = get_attack(attack).score(inputs)
    return intervals.auc(score[: len(forget)], score[len(forget) :])


def main() -> int:
    """Prints and writes the table; 1 if a reference point is missed by more than 0.02."""
    torch.set_num_threads(1)
    table = pd.concat([measure(setup) for setup in SETUPS], ignore_index=True)
    print(table.round(4).to_string(index=False, na_rep=""))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.round(5).to_csv(OUTPUT, index=False)
    missed = table[table["difference"].abs() > TOLERANCE]
    points = table["reference"].notna().sum()
    print(f"{points - len(missed)} of {points} reference points within {TOLERANCE}.")
    return int(len(missed) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
