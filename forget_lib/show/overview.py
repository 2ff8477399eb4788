"""The answers of the study: the verdict on each method, by scenario and by kind of request, and the sentences that
hold whichever scenario is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from forget_lib.show.findings import interval_text
from forget_lib.statistics import verdict
from forget_lib.statistics.rules import BASELINES, CONTROLS, MARGINS, PAIRS_FOR_EQUALITY, PLACEBOS
from forget_lib.study.chosen import NOT_TUNED, TUNED
from forget_lib.study.records import RUN
from forget_lib.unlearning import METHODS

SCENARIO = ["dataset", "model", "request"]
KINDS = {
    "class": "a whole class", "random": "random samples", "mislabelled": "wrong labels", "person": "people",
    "official": "the first families of the list", "family": "families", "indices": "chosen samples",
    "recogniser": "a person in a face recogniser", "pretrained": "a person in a pre-trained recogniser",
}  # fmt: skip
CORE: tuple[str, ...] = ("finetune", "negative_gradient_plus", "random_label", "uniform_kl", "salun", "ssd", "scrub")
CORE += ("delete_distillation", "short_retrain", "second_retrain", "original", "mask_logit")
"""Rows of the answer; all others are folded away."""
POINTS = ("forget", "kept")


def is_method(name: str) -> bool:
    """Whether a name is a method to be judged: no reference model and no control of the study."""
    return name not in (*CONTROLS, *PLACEBOS, *BASELINES) and not (name in METHODS and METHODS[name].control)


def _is_approximate(name: str) -> bool:
    return is_method(name) and not (name in METHODS and METHODS[name].exact)


def kind_of(part: pd.DataFrame) -> str:
    """Kind of request of one scenario, a key of `KINDS`. The classes of a face recogniser are people, and one that was
    trained here is not compared with one that has seen other people before."""
    kind = str(part["request"].iloc[0]).split("-")[0]
    if kind != "class" or not (part["attack"] == "reidentification").any():
        return kind
    return "pretrained" if str(part["model"].iloc[0]).startswith("face_embedding") else "recogniser"


def answers(table: pd.DataFrame) -> pd.DataFrame:
    """One row a scenario and model: kind, dataset, model, request, method, the columns of `verdict.verdicts`, cost
    (retrainings), tuned (whether its settings were chosen on these data), is_method, and in points the gaps of forget
    accuracy (forget, forget_low, forget_high) and of what is kept. Scenarios without a retrained model and an original
    are left out, and so are those that are not whole. table: of `records.load`."""
    frames = []
    for scenario, part in table.groupby(SCENARIO, sort=True):
        if not {"retrain", "original"} <= set(part["method"]) or not is_whole(part):
            continue
        found = verdict.verdicts(part[part["run"] == 0]).reset_index()
        about = dict(zip(SCENARIO, scenario, strict=True)) | {"kind": kind_of(part)}
        cost = part[part["metric"] == "relative_cost"].groupby("method")["value"].mean()
        gaps = [_points(row) for row in found["gaps"]]
        found = found.assign(**about, cost=found["method"].map(cost), tuned=_tuned(part, found["method"]))
        found["is_method"] = [is_method(name) for name in found["method"]]
        frames.append(pd.concat([found, pd.DataFrame(gaps, index=found.index)], axis=1))
    if not frames:
        columns = [*SCENARIO, "kind", "method", "verdict", "word", "why", "n", "failed", "runs", "bound", "cost"]
        flags = dict.fromkeys(["placebo", "tuned", "is_method"], bool)
        return pd.DataFrame(columns=[*columns, "gaps", *flags, *_points({})]).astype(flags)
    return pd.concat(frames, ignore_index=True)


def is_whole(part: pd.DataFrame) -> bool:
    """Whether all models of a scenario were run on the same pairs of draw and seed; a run that failed counts."""
    pairs = part[["method", "draw", "seed"]].drop_duplicates()
    return pairs.groupby("method").size().nunique() == 1


def incomplete(table: pd.DataFrame) -> list[str]:
    """The scenarios that are outside the answer because some of their runs are missing."""
    parts = table.groupby(SCENARIO, sort=True)
    return [", ".join(map(str, names)) for names, part in parts if not is_whole(part)]


def _points(gaps: dict[str, verdict.Compared]) -> dict[str, float]:
    """Mean and ends of the two gaps in points; NaN where one is missing."""
    found: dict[str, float] = {}
    for name in POINTS:
        row = gaps.get(f"{name} accuracy")
        values = (np.nan,) * 3 if row is None else verdict.ends_of(row)
        found |= {f"{name}{end}": 100 * value for end, value in zip(("", "_low", "_high"), values, strict=True)}
    return found


def _tuned(part: pd.DataFrame, methods: pd.Series) -> list[bool]:
    """Whether the settings of each method were tuned on these data; a control or an exact method has none
    to tune."""
    said = part.groupby("method")["tuned"].agg(lambda values: set(values)) if "tuned" in part else {}
    return [not is_method(name) or said.get(name, {NOT_TUNED}) <= {TUNED, ""} for name in methods]


def by_kind(found: pd.DataFrame) -> pd.DataFrame:
    """`answers` by method and kind of request: verdict (over its scenarios, see `verdict.across`), placebo, cost, and
    lines: what stands under the verdict in a cell."""
    rows = []
    for (kind, method), part in found.groupby(["kind", "method"], sort=False):
        row = {"kind": kind, "method": method, "verdict": verdict.across(list(part["verdict"]))}
        row |= {"placebo": bool(part["placebo"].all()), "cost": part["cost"].mean(), "lines": _lines(part)}
        rows.append(row)
    return pd.DataFrame(rows, columns=["kind", "method", "verdict", "placebo", "cost", "lines"])


def _lines(part: pd.DataFrame) -> list[str]:
    """Gaps and bound of the one scenario, or the verdicts of several; n; and what went wrong."""
    least, most = part["n"].min(), part["n"].max()
    lines = []
    if len(part) > 1:
        counts = part["verdict"].value_counts()
        lines.append(", ".join(f"{verdict.STATES[key].word} in {number}" for key, number in counts.items()))
    else:
        row = part.iloc[0]
        ends = {name: (row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in POINTS if np.isfinite(row[name])}
        lines += [f"{name} {interval_text(*values, '+.1f')}" for name, values in ends.items()]
        if np.isfinite(row["bound"]):
            lines.append(f"bound {row['bound']:.1f} margins")
    lines.append(f"n = {least}" if least == most else f"n = {least} to {most}")
    if part["failed"].sum():
        lines.append(f"failed in {part['failed'].sum()} of {part['runs'].sum()} runs")
    return lines if part["tuned"].all() else [*lines, "not tuned"]


def ranked(found: pd.DataFrame) -> list[str]:
    """Methods of `answers` or `by_kind` from best to worst over all columns; placebos and reference models after
    them."""
    rank = np.array([verdict.state(key).rank for key in found["verdict"]], dtype=float)
    places = found.assign(rank=rank, placebo=found["placebo"].astype(float))
    places = places.groupby("method")[["placebo", "rank"]].mean()
    return list(places.sort_values(["placebo", "rank"], kind="stable").index)


class Claim(NamedTuple):
    """A sentence, and the claim in it (`key`) that must not turn when a scenario is left out."""

    key: object
    text: str


def equality_claim(found: pd.DataFrame, pools: pd.DataFrame) -> Claim | None:
    """Which methods are shown to be as retrained, and in how many scenarios that could be shown at all."""
    total = len(found[SCENARIO].drop_duplicates())
    if not total:
        return None
    shown = found[(found["method"] == "second_retrain") & (found["verdict"] == "equal")]
    if shown.empty:
        text = f"Equality with retraining cannot be shown in any of {total} scenarios"
        return Claim("none", f"{text}: too few runs, or no measure with power.")
    able = set(map(tuple, shown[SCENARIO].to_numpy()))
    methods = found[found["is_method"] & found["tuned"]]
    kinds = by_kind(methods[[tuple(row) in able for row in methods[SCENARIO].to_numpy()]])
    equal = kinds[kinds["verdict"] == "equal"]
    names = [f"{row.method} ({KINDS.get(row.kind, row.kind)})" for row in equal.itertuples()]
    text = f"Of the {total} scenarios, {len(able)} have enough runs and a measure with power to show that a method is "
    margins = f"within {100 * MARGINS['accuracy']:g} points and an AUC of {MARGINS['auc']:g}"
    text += f"as retrained ({margins}). It is shown for {', '.join(names) or 'no method'}."
    return Claim(tuple(names), text)


def placebo_claim(found: pd.DataFrame, pools: pd.DataFrame) -> Claim | None:
    """In how many scenarios hiding the output passes for forgetting by accuracy."""
    masked = found[(found["method"] == "mask_logit") & (found["n"] >= PAIRS_FOR_EQUALITY)]
    if masked.empty:
        return None
    passed = [abs(row["forget accuracy"].mean) <= row["forget accuracy"].margin for row in masked["gaps"]]
    text = (
        f"In {sum(passed)} of {len(passed)} scenarios with {PAIRS_FOR_EQUALITY} pairs of draw and seed or more where a "
    )
    text += "class or a person is to go, hiding the output (`mask_logit`) brings forget accuracy within "
    text += f"{100 * MARGINS['accuracy']:g} points of retraining: accuracy cannot show that a class is forgotten."
    return Claim("all", text) if all(passed) else None


def attack_claim(found: pd.DataFrame, pools: pd.DataFrame) -> Claim | None:
    """How many tuned methods that are not exact the primary strong attack tells from retraining, in all pools
    together."""
    methods = pools[pools["method"].map(_is_approximate) & pools["tuned"] & (pools["n"] > 0)] if len(pools) else pools
    if methods.empty:
        return None
    told, all_of_them = int(methods["told"].sum()), len(methods)
    word = "most" if told > all_of_them / 2 else "not most"
    text = (
        f"Across {methods['pool'].nunique()} pools, an attacker with reference nets distinguishes an unlearned model "
    )
    text += (
        f"from the retrained one in {told} of {all_of_them} cases (a case is one method in one pool; U-LiRA, paired on "
    )
    text += f"the same targets, {methods['n'].min()} or more, with Holm's adjustment)."
    return Claim(word, text)


CLAIMS: tuple[Callable[[pd.DataFrame, pd.DataFrame], Claim | None], ...]
CLAIMS = (equality_claim, placebo_claim, attack_claim)


def pools_table(parts: dict[tuple[str, str, str], pd.DataFrame]) -> pd.DataFrame:
    """`verdict.pool_verdicts` of all pools with the columns pool and tuned (as in `answers`); those without power are
    left out."""
    frames = []
    for names, part in parts.items():
        judged = verdict.pool_verdicts(part)
        if len(judged) and not (judged["verdict"] == "blind").all():
            judged = judged.reset_index()
            frames.append(judged.assign(pool=" ".join(names), tuned=_tuned(part, judged["method"])))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def standing_claims(
    found: pd.DataFrame, pools: pd.DataFrame, without_seeds: Sequence[pd.DataFrame] = ()
) -> tuple[list[str], list[str]]:
    """The sentences that hold, and those that turn when one scenario, one pool or one seed is left out.

    found: of `answers`. pools: of `pools_table`. without_seeds: `answers` once more, each without one pair of draw and
    seed. A sentence that cannot be made without some scenario or pool rests on it alone, and does not stand; one that
    cannot be made without some pair has too few of them then, and is not turned by that.
    """
    scenarios = found[SCENARIO].apply(tuple, axis=1) if len(found) else pd.Series(dtype=object)
    others = [(found[scenarios != name], pools) for name in scenarios.drop_duplicates()]
    names = pools["pool"] if len(pools) else pd.Series(dtype=str)
    others += [(found, pools[names != name]) for name in names.drop_duplicates()]
    stand: list[str] = []
    fall: list[str] = []
    for make in CLAIMS:
        claim = make(found, pools)
        if claim is None:
            continue
        again = [make(*other) for other in others]
        again += [make(other, pools) or claim for other in without_seeds]
        holds = all(other is not None and other.key == claim.key for other in again)
        (stand if holds else fall).append(claim.text)
    return stand, fall


def without_each_pair(table: pd.DataFrame) -> list[pd.DataFrame]:
    """`answers` once for each pair of draw and seed, without that pair."""
    pairs = table[["draw", "seed"]].drop_duplicates().itertuples(index=False)
    return [answers(table[(table["draw"] != draw) | (table["seed"] != seed)]) for draw, seed in pairs]


def failing(found: pd.DataFrame) -> list[str]:
    """Methods of `answers` that failed in all of their runs or in some, with how many, as text."""
    runs = found.groupby("method", sort=False)[["failed", "runs"]].sum()
    return [f"{row.Index} ({row.failed} of {row.runs} runs)" for row in runs[runs["failed"] > 0].itertuples()]


def units(table: pd.DataFrame) -> pd.Series:
    """How many draws and seeds each scenario has."""
    return table.drop_duplicates([*RUN]).groupby(SCENARIO).size()
