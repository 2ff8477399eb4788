"""Computes the numbers of README and overview once more, from records.jsonl.gz alone and without the library.

    python tests/recompute.py results/reference/quick

prints them as JSON: `cells` (by method and kind of request, the lines under a verdict, where there is one scenario of
that kind) and `counts` (of the sentences). Only formulas of docs/methods.md are used, written down anew.
"""

import collections
import gzip
import itertools
import json
import math
import sys

import numpy as np
from scipy.stats import beta, t

MEASURES = {  # metric and attack: side and margin, for the measures of a verdict
    ("forget_accuracy", ""): ("output", 0.02),
    ("auc", "loss_regression"): ("output", 0.02),
    ("test_accuracy_retained", ""): ("kept", 0.02),
    ("test_accuracy", ""): ("kept", 0.02),
    ("probe_recall_forgotten", "linear_probe"): ("inside", 0.02),
    ("class_mean_recall_forgotten", "nearest_class_mean"): ("inside", 0.02),
    ("separation", "verification"): ("inside", 0.2),
    ("share_left", "share_left"): ("inside", 0.05),
}
NO_METHODS = {"original", "retrain", "second_retrain", "do_nothing", "mask_logit", "over_forget", "short_retrain"}
NO_METHODS |= {"untrained"}


def holm(p_values):
    """Adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = [min(1, (len(order) - place) * p_values[index]) for place, index in enumerate(order)]
    return dict(zip(order, itertools.accumulate(steps, max), strict=True))


def gap(pairs, samples):
    """Mean, standard error and degrees of freedom of paired differences; all alike: Clopper and Pearson, 0 of n."""
    mean, freedom = float(np.mean(pairs)), len(pairs) - 1
    error = float(np.std(pairs, ddof=1)) / math.sqrt(len(pairs)) if freedom else math.nan
    if freedom and error < 1e-12:
        error = beta.ppf(0.975, 1, samples) / t.ppf(0.975, freedom)
    return mean, error, freedom


def gaps_of(runs):
    """Gap of each method in each measure that the retrained models have, and of how many pairs."""
    values, samples = collections.defaultdict(dict), collections.Counter()
    for run in runs:
        for found in run["measurements"]:
            key = (found["metric"], found["attack"])
            if key in MEASURES and run["run"] == 0 and found["item"] == "" and math.isfinite(found["value"]):
                values[key, run["method"]][run["draw"], run["seed"]] = found["value"]
                samples[key, run["method"]] += found["n"] or 0
    kept = "test_accuracy_retained" if (("test_accuracy_retained", ""), "retrain") in values else "test_accuracy"
    table = {}
    for (key, method), of_pairs in values.items():
        right = values.get((key, "retrain"), {})
        both = [value - right[pair] for pair, value in of_pairs.items() if pair in right]
        if both and method != "retrain" and (MEASURES[key][0] != "kept" or key[0] == kept):
            table[key, method] = (*gap(both, samples[key, method]), len(both))
    return table


def powerful(table):
    """Measures of forgetting that distinguish the untouched model, and inside a masked output too, from retraining."""
    tests, missed = {}, set()
    for key in {key for key, _ in table if MEASURES[key][0] != "kept"}:
        untouched = "do_nothing" if (key, "do_nothing") in table else "original"
        for name in [untouched, *(["mask_logit"] if MEASURES[key][0] == "inside" else [])]:
            mean, error, freedom, n = table.get((key, name), (0, 1, 0, 0))
            if n < 3 or mean <= MEASURES[key][1]:
                missed.add(key)
            else:
                tests[key, name] = 2 * t.sf(abs(mean) / error, freedom)
    adjusted = holm(list(tests.values()))
    missed |= {key for place, (key, _) in enumerate(tests) if adjusted[place] > 0.05}
    return {key for key, _ in table if MEASURES[key][0] == "kept" or key not in missed}


def told_cases(records):
    """For each method of each pool, whether U-LiRA distinguishes it from the retrained model, after Holm by pool."""
    p_values = collections.defaultdict(list)
    for run in records:
        if run.get("kind") == "method" and run["method"] not in NO_METHODS:
            for found in run["measurements"]:
                if (found["metric"], found["attack"]) == ("auc_gap", "u_lira"):
                    p = 2 * t.sf(abs(found["value"]) / found["error"], found["n"] - 1)
                    p_values[run["dataset"], run["model"], run["request"]].append(p)
    return [bool(p <= 0.05) for of_pool in p_values.values() for p in holm(of_pool).values()]


def main(folder):
    with gzip.open(f"{folder}/records.jsonl.gz", "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    scenarios = collections.defaultdict(list)
    for run in records:
        if "pool" not in run["request"] and not run["request"].startswith("all"):
            scenarios[run["dataset"], run["model"], run["request"]].append(run)
    cells, masked, whole = {}, [], 0
    for names, runs in scenarios.items():
        pairs = collections.Counter(run["method"] for run in runs if run["run"] == 0)
        if len(set(pairs.values())) > 1 or not {"retrain", "original"} <= set(pairs):
            continue
        whole += 1
        table = gaps_of(runs)
        counted = powerful(table)
        for method in {method for _, method in table}:
            mine = {key: row for (key, name), row in table.items() if name == method}
            lines = []
            for word, metrics in (
                ("forget", ["forget_accuracy"]),
                ("kept", ["test_accuracy_retained", "test_accuracy"]),
            ):
                row = next((mine[metric, ""] for metric in metrics if (metric, "") in mine), None)
                if row:
                    half = t.ppf(0.975, row[2]) * row[1] if row[2] else math.nan
                    ends = [max(-100, 100 * (row[0] - half)), min(100, 100 * (row[0] + half))]
                    interval = f" ({ends[0]:+.1f} to {ends[1]:+.1f})" if row[2] else ""
                    lines.append(f"{word} {100 * row[0]:+.1f}{interval}")
            used = [(row, MEASURES[key][1]) for key, row in mine.items() if key in counted]
            if used and all(row[2] for row, _ in used):
                bound = max((abs(mean) + t.ppf(0.95, df) * error) / margin for (mean, error, df, _), margin in used)
                lines.append(f"bound {bound:.1f} margins")
            cells[" ".join((*names, method))] = [*lines, f"n = {min(row[3] for row in mine.values())}"]
        accuracy = table.get((("forget_accuracy", ""), "mask_logit"))
        if accuracy and accuracy[3] >= 6:
            masked.append(bool(abs(accuracy[0]) <= 0.02))
    told = told_cases(records)
    counts = {"scenarios": whole, "masked": [sum(masked), len(masked)], "told": [sum(told), len(told)]}
    json.dump({"cells": cells, "counts": counts}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
