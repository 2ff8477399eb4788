"""Tables and sentences of the page on published claims."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forget_lib.statistics.intervals import t_interval, within
from forget_lib.statistics.measurement import ANYTHING, gap_range
from forget_lib.statistics.rules import MARGIN
from forget_lib.study.claims import BEHAVIOURS, CLASS, SUBSET, Problem


def behaviours_table(problems: list[Problem]) -> pd.DataFrame:
    """One row for each behaviour and seed: source, quantity, both numbers and both orders of methods."""
    rows = []
    for problem in problems:
        for entry in BEHAVIOURS:
            outcome = entry.measure(problem)
            about = {"behaviour": entry.name, "source": entry.source, "quantity": entry.quantity, "seed": problem.seed}
            rows.append(about | {"bounds": entry.bounds} | outcome.__dict__)
    return pd.DataFrame(rows)


def interval_text(values: pd.Series, bounds: tuple[float, float] = ANYTHING) -> str:
    """Mean with a 95 % t-interval over seeds, within bounds, three digits."""
    if len(values) < 2:
        return f"{values.iloc[0]:.3f} (one seed)"
    mean, low, high, _ = within(t_interval(values.to_numpy()), bounds)
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def differ(differences: pd.Series) -> str:
    """Whether two versions give another number: "yes" if the 95 % interval of the difference leaves out 0."""
    if len(differences) < 2 or differences.nunique() == 1:
        return "not decidable" if len(differences) < 2 else ("yes" if differences.iloc[0] else "no difference")
    interval = t_interval(differences.to_numpy())
    return "not decidable" if interval.low <= 0 <= interval.high else "yes"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Both numbers with intervals, their paired difference, and in how many seeds the order of methods differs."""
    rows = []
    for name, part in table.groupby("behaviour", sort=False):
        changed = (part["order_found"] != part["order_corrected"]).sum()
        ranked = part["order_found"].map(len).gt(0).any()
        least, most = bounds = part["bounds"].iloc[0]
        difference = part["corrected"] - part["found"]
        rows.append(
            {
                "behaviour": name,
                "quantity": part["quantity"].iloc[0],
                "as found": interval_text(part["found"], bounds),
                "corrected": interval_text(part["corrected"], bounds),
                "difference": interval_text(difference, (least - most, most - least)),
                "differ here": differ(difference),
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


FORGETS, KEEPS, COSTS = ("forget", -MARGIN, MARGIN), ("test", -MARGIN, 1.0), ("test", -1.0, -MARGIN)
OTHERS = ("finetune", "negative_gradient_plus", "random_label")
AND = "and keeps the other classes"


@dataclass(frozen=True)
class Headline:
    """What a paper says, in a sentence, and the number by which it is tried.

    Attributes: gap: "forget" or "test", accuracy minus the retrained model's on the class request; or "others", how
        much farther than this method `OTHERS` are on average from the retrained model, random samples, on a net with
        convolutions. low, high: where the number lies if the statement holds. tuned: settings chosen by tuning, else
        the defaults.
    """

    statement: str
    source: str
    method: str
    gap: str
    low: float
    high: float
    tuned: bool = True


HEADLINES = (
    Headline("SalUn forgets a class as retraining does", "Fan et al., ICLR 2024", "salun", *FORGETS),
    Headline(AND, "Fan et al., ICLR 2024", "salun", *KEEPS),
    Headline("DELETE forgets a class as retraining does", "Zhou et al., CVPR 2025", "delete_distillation", *FORGETS),
    Headline(AND, "Zhou et al., CVPR 2025", "delete_distillation", *KEEPS),
    Headline("SSD forgets a class without training", "Foster et al., AAAI 2024", "ssd", *FORGETS),
    Headline(AND, "Foster et al., AAAI 2024", "ssd", *KEEPS),
    Headline("NegGrad+ is a strong baseline", "Kurmanji et al.; Cadet et al.", "negative_gradient_plus", *FORGETS),
    Headline(AND, "Kurmanji et al.; Cadet et al.", "negative_gradient_plus", *KEEPS),
    Headline("Gradient ascent, not clipped, costs utility", "common", "negative_gradient", *COSTS, tuned=False),
    Headline("and also clipped, at the rate chosen by tuning", "common", "negative_gradient", *COSTS),
    Headline("MSG is nearer to retraining than others", "Cadet et al. (deepunlearn)", "msg", "others", 0.0, 2.0),
    Headline("and so is CT", "Cadet et al. (deepunlearn)", "convolution_transpose", "others", 0.0, 2.0),
)
GAPS = {
    "forget": "forget accuracy - retrained",
    "test": "test accuracy of the classes that stay - retrained",
    "others": "distance of others from the retrained model - own distance, random tenth",
}
BOUNDS = {"forget": gap_range(), "test": gap_range(), "others": (-2.0, 2.0)}
"""What each of the three can be."""


def on_photographs(problem: Problem) -> Problem:
    """The same seed on small photographs and a net with convolutions, for four fifths of the epochs."""
    recipe = problem.recipe | {"epochs": max(1, problem.recipe["epochs"] * 4 // 5), "learning_rate": 0.05}
    return replace(problem, dataset="cifar16", net="small_cnn", recipe=recipe)


def gap_of(headline: Headline, digits: Problem, objects: Problem) -> float:
    """The number of a headline in one seed; see `Headline`."""
    if headline.gap == "others":
        names = (headline.method, *OTHERS)
        own, *rest = (objects.gap(SUBSET, objects.model(SUBSET, name, tuned=True)) for name in names)
        return float(np.mean(rest)) - own
    models = (digits.model(CLASS, headline.method, tuned=headline.tuned), digits.model(CLASS, "retrain"))
    own, goal = (digits.accuracies(CLASS, model)[headline.gap] for model in models)
    return own - goal


def verdict(values: np.ndarray, low: float, high: float, bounds: tuple[float, float] = ANYTHING) -> str:
    """ "supported" if the 95 % interval lies in [low, high], "contradicted" if outside, else "not decidable"."""
    if len(values) < 2:
        return "not decidable"
    interval = within(t_interval(values), bounds)
    if low <= interval.low and interval.high <= high:
        return "supported"
    return "contradicted" if interval.high < low or interval.low > high else "not decidable"


def headlines_table(problems: list[Problem]) -> pd.DataFrame:
    """Each statement with its number, the interval over seeds, and the verdict that follows from it."""
    objects = [on_photographs(problem) for problem in problems]
    rows = []
    for headline in HEADLINES:
        values = np.array([gap_of(headline, *pair) for pair in zip(problems, objects, strict=True)])
        inside = ((values >= headline.low) & (values <= headline.high)).sum()
        rows.append(
            {
                "statement": headline.statement,
                "method": headline.method,
                "number": GAPS[headline.gap],
                "value": interval_text(pd.Series(values), BOUNDS[headline.gap]),
                "holds in": f"{headline.low:+.2f} to {headline.high:+.2f}",
                "seeds": f"{inside} of {len(values)}",
                "here": verdict(values, headline.low, headline.high, BOUNDS[headline.gap]),
                "source": headline.source,
            }
        )
    return pd.DataFrame(rows)


def sentences(table: pd.DataFrame, headlines: pd.DataFrame) -> list[str]:
    """What the two tables say, computed."""
    found = []
    for name, part in table.groupby("behaviour", sort=False):
        changed, bounds = int((part["order_found"] != part["order_corrected"]).sum()), part["bounds"].iloc[0]
        order = (
            f"; the order of methods differs in {changed} of {len(part)} seeds"
            if part["order_found"].map(len).any()
            else ""
        )
        found.append(
            f"{name}: {part['quantity'].iloc[0]} is {interval_text(part['found'], bounds)} as found and "
            f"{interval_text(part['corrected'], bounds)} corrected{order}."
        )
    shown = [differ(part["corrected"] - part["found"]) for _, part in table.groupby("behaviour", sort=False)]
    found.append(
        f"Of {len(shown)} behaviours, {shown.count('yes')} give another number here by their interval, "
        f"{shown.count('no difference')} the same, and for {shown.count('not decidable')} it cannot be said."
    )
    counts = headlines["here"].value_counts()
    found.append("Of the statements tried: " + ", ".join(f"{number} {name}" for name, number in counts.items()) + ".")
    return found


def problems_of(root: str | Path, seeds: list[int], start: str = "sample", recipe: dict | None = None) -> list[Problem]:
    """One problem for each seed."""
    first = [Problem(Path(root), seed, start) for seed in seeds]
    return [replace(problem, recipe=dict(recipe)) for problem in first] if recipe else first
