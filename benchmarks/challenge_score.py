"""The NeurIPS 2023 score of models that are known: perfect unlearning (retrain against retrain) and doing nothing.

    python benchmarks/challenge_score.py      (about a minute on one core)

It writes results/reference/benchmarks/challenge_score.csv. Perfect unlearning does not score 1: that is the point.
"""

from __future__ import annotations

import time

import membership as points
import numpy as np
import pandas as pd
import torch

from forget_lib import datasets
from forget_lib.attacks import neurips_score
from forget_lib.statistics import scores

OUTPUT = points.OUTPUT.with_name("challenge_score.csv")
FORGET, RETAIN, MODELS = 60, 500, 32
EXPECTED = {"retrain": 0.112, "do nothing": 0.0201}
SETUP = points.Setup("mnist14", FORGET + RETAIN, 0, 128, 60, 0, 0, {})


def main() -> int:
    """Prints and writes the table; 1 if a reference value is missed by more than 0.02."""
    torch.set_num_threads(1)
    start, data = time.perf_counter(), datasets.load("mnist14", start="sample")
    chosen = torch.as_tensor(np.random.default_rng(0).permutation(len(data.labels))[: FORGET + RETAIN])
    images, labels = points.standardised(data.images[chosen]), data.labels[chosen]
    retain, everything = np.arange(FORGET, FORGET + RETAIN), np.arange(FORGET + RETAIN)
    families = {
        "retrained": points.train_all(SETUP, images, labels, [retain] * MODELS, 0),
        "retrain": points.train_all(SETUP, images, labels, [retain] * MODELS, 1000),
        "do nothing": points.train_all(SETUP, images, labels, [everything] * MODELS, 2000),
    }
    margins = {name: scores.phi(logits[:, :FORGET], labels[:FORGET].numpy()) for name, logits in families.items()}
    trained, rows = time.perf_counter() - start, []
    for name, reference in EXPECTED.items():
        epsilons = neurips_score.sample_epsilons(margins[name], margins["retrained"])
        quality = float(neurips_score.points(epsilons, MODELS).mean())
        calibrated = float(neurips_score.calibrated_epsilons(margins[name], margins["retrained"]).mean())
        rows.append([name, MODELS, float(np.median(epsilons)), calibrated, quality, reference, quality - reference])
    columns = ["model", "models", "median_epsilon", "calibrated_epsilon", "quality", "reference", "difference"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.round(4).to_string(index=False))
    print(f"training {trained:.0f} s, rules {time.perf_counter() - start - trained:.1f} s")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.round(5).to_csv(OUTPUT, index=False)
    return int((table["difference"].abs() > points.TOLERANCE).any())


if __name__ == "__main__":
    raise SystemExit(main())
