"""Tables and sentences of the page on published claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from forget_lib.claims import BEHAVIOURS, CLASS, Problem
from forget_lib.statistics import t_interval

NEAR = 0.05  # a gap to the retrained model of at most this counts as near it


def behaviours_table(problems: list[Problem]) -> pd.DataFrame:
    """One row for each behaviour and seed: source, quantity, both numbers and both orders of methods."""
    rows = []
    for problem in problems:
        for entry in BEHAVIOURS:
            outcome = entry.measure(problem)
            about = {"behaviour": entry.name, "source": entry.source, "quantity": entry.quantity, "seed": problem.seed}
            rows.append(about | outcome.__dict__)
    return pd.DataFrame(rows)


def interval_text(values: pd.Series) -> str:
    """Mean with a 95 % t-interval over seeds, three digits."""
    if len(values) < 2:
        return f"{values.iloc[0]:.3f} (one seed)"
    mean, low, high, _ = t_interval(values.to_numpy())
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Both numbers with intervals, their paired difference, and in how many seeds the order of methods differs."""
    rows = []
    for name, part in table.groupby("behaviour", sort=False):
        changed = (part["order_found"] != part["order_corrected"]).sum()
        ranked = part["order_found"].map(len).gt(0).any()
        rows.append(
            {
                "behaviour": name,
                "quantity": part["quantity"].iloc[0],
                "as found": interval_text(part["found"]),
                "corrected": interval_text(part["corrected"]),
                "difference": interval_text(part["corrected"] - part["found"]),
                "order changes": f"{changed} of {len(part)} seeds" if ranked else "no order",
                "source": part["source"].iloc[0],
            }
        )
    return pd.DataFrame(rows).set_index("behaviour")


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """The order of methods by both versions in the first seed, where it differs in any."""
    rows = {}
    for name, part in table.groupby("behaviour", sort=False):
        differing = part[part["order_found"] != part["order_corrected"]]
        if len(differing):
            first = differing.iloc[0]
            rows[name] = {"seed": first["seed"]} | {
                text: " < ".join(first[key])
                for text, key in (("as found", "order_found"), ("corrected", "order_corrected"))
            }
    return pd.DataFrame.from_dict(rows, orient="index")


# What papers say in a sentence: (statement, source, method, what is measured, the range in which it holds)
HEADLINES = (
    ("SalUn forgets a class as retraining does", "Fan et al., ICLR 2024", "salun", "forget", (-NEAR, NEAR)),
    ("and keeps the other classes", "Fan et al., ICLR 2024", "salun", "test", (-NEAR, 1.0)),
    (
        "DELETE forgets a class as retraining does",
        "Zhou et al., CVPR 2025",
        "delete_distillation",
        "forget",
        (-NEAR, NEAR),
    ),
    ("and keeps the other classes", "Zhou et al., CVPR 2025", "delete_distillation", "test", (-NEAR, 1.0)),
    ("SSD forgets a class without training", "Foster et al., AAAI 2024", "ssd", "forget", (-NEAR, NEAR)),
    ("and keeps the other classes", "Foster et al., AAAI 2024", "ssd", "test", (-NEAR, 1.0)),
    (
        "NegGrad+ is a strong baseline",
        "Kurmanji et al.; Cadet et al.",
        "negative_gradient_plus",
        "forget",
        (-NEAR, NEAR),
    ),
    ("and keeps the other classes", "Kurmanji et al.; Cadet et al.", "negative_gradient_plus", "test", (-NEAR, 1.0)),
    ("Gradient ascent costs utility (not clipped)", "common", "negative_gradient", "test", (-1.0, -NEAR)),
)
NOT_TRIED = (
    "MSG and CT as the most consistent methods (deepunlearn): they change convolutions, and this net has none.",
    "The NeurIPS 2023 score of a perfect unlearner: it needs dozens of retrained models for one number.",
)


def verdict(values: np.ndarray, low: float, high: float) -> str:
    """ "supported" if the 95 % interval lies in [low, high], "contradicted" if outside, else "not decidable"."""
    if len(values) < 2:
        return "not decidable"
    interval = t_interval(values)
    if low <= interval.low and interval.high <= high:
        return "supported"
    return "contradicted" if interval.high < low or interval.low > high else "not decidable"


def headlines_table(problems: list[Problem]) -> pd.DataFrame:
    """Each statement with the gap to the retrained model on the class request, its interval, and the verdict here."""
    rows = []
    for statement, source, method, part, (low, high) in HEADLINES:
        gaps = []
        for problem in problems:
            own, goal = (problem.accuracies(CLASS, problem.model(CLASS, name)) for name in (method, "retrain"))
            gaps.append(own[part] - goal[part])
        values = np.array(gaps)
        about = {"statement": statement, "method": method, "gap": f"{part} accuracy"}
        numbers = {"gap to retrained": interval_text(pd.Series(values)), "holds in": f"{low:+.2f} to {high:+.2f}"}
        rows.append(about | numbers | {"here": verdict(values, low, high), "source": source})
    return pd.DataFrame(rows)


def sentences(table: pd.DataFrame, headlines: pd.DataFrame) -> list[str]:
    """What the two tables say, computed."""
    found = []
    for name, part in table.groupby("behaviour", sort=False):
        changed = int((part["order_found"] != part["order_corrected"]).sum())
        order = (
            f"; the order of methods differs in {changed} of {len(part)} seeds"
            if part["order_found"].map(len).any()
            else ""
        )
        found.append(
            f"{name}: {part['quantity'].iloc[0]} is {interval_text(part['found'])} as found and "
            f"{interval_text(part['corrected'])} corrected{order}."
        )
    counts = headlines["here"].value_counts()
    found.append("Of the statements tried: " + ", ".join(f"{number} {name}" for name, number in counts.items()) + ".")
    return [*found, *(f"Not tried: {text}" for text in NOT_TRIED)]


def problems_of(root: str | Path, seeds: list[int], start: str = "sample", recipe: dict | None = None) -> list[Problem]:
    """One problem for each seed."""
    first = [Problem(Path(root), seed, start) for seed in seeds]
    return [replace(problem, recipe=dict(recipe)) for problem in first] if recipe else first
