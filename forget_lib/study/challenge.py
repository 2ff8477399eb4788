"""The NeurIPS 2023 score on a small set-up of its own, with its null: how does perfect unlearning score?

Families of N models: retrained, retrained again (held out, the null), trained on everything, and each method from one
original with N seeds. It takes 3 N trainings, so the set-up is small; F at another N is another number.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn

from forget_lib.attacks import FamilyInput, get_attack
from forget_lib.core.errors import ForgetError
from forget_lib.models.train import predict
from forget_lib.statistics import scores
from forget_lib.statistics.metrics import accuracy
from forget_lib.study.pools import PoolPlan, train_nets
from forget_lib.study.targets import TARGET_SEED, method_unlearner

CHALLENGE_VERSION = 1
"""Raised when the challenge's score gives other numbers; records of before are then made again."""


def sets_of(plan: PoolPlan, samples: int, forget: int) -> tuple[np.ndarray, np.ndarray]:
    """Forget and retain set, pool indices: the first evaluation samples, and others. Raises: ForgetError if too few."""
    evaluation = np.sort(plan.evaluation)
    others = np.setdiff1d(np.arange(len(plan.labels)), evaluation)
    if not 0 < forget < samples or forget > len(evaluation) or samples - forget > len(others):
        raise ForgetError(
            f"The challenge asks for {forget} forget samples of {samples}; the pool has {len(evaluation)} evaluation "
            f"samples and {len(others)} others."
        )
    return evaluation[:forget], others[: samples - forget]


def families(
    plan: PoolPlan, forget: np.ndarray, retain: np.ndarray, methods: Mapping[str, Mapping[str, object]], models: int
) -> dict[str, list[nn.Module]]:
    """Models by family: "retrained", "retrain" (held out), "original" and each method that does not fail."""
    everything = np.concatenate([forget, retain])
    seeds = [TARGET_SEED + 900_000 + index for index in range(models)]
    found: dict[str, list[nn.Module]] = {}
    for number, (name, part) in enumerate({"retrained": retain, "retrain": retain, "original": everything}.items()):
        found[name] = train_nets(plan, [part] * models, [seed + 1000 * number for seed in seeds])
    parts = torch.as_tensor(forget), torch.as_tensor(retain)
    for name, settings in methods.items():
        unlearner = method_unlearner(plan, name, settings)
        try:
            found[name] = [unlearner(found["original"][0], *parts, seed) for seed in seeds]
        except ForgetError as error:
            print(f"challenge: no score for {name}, {error}")
    return found


def challenge(
    plan: PoolPlan,
    methods: Mapping[str, Mapping[str, object]],
    *,
    models: int = 12,
    samples: int = 400,
    forget: int = 40,
) -> pd.DataFrame:
    """The score of each family against retrained models: a row a family and metric: method, metric, value, low, high,
    null, models.

    Utility is accuracy on retain and validation samples relative to the retrained models'. Raises: TooFewError below
    8 models; ForgetError for sizes.
    """
    gone, kept = sets_of(plan, samples, forget)
    found = families(plan, gone, kept, methods, models)
    shown = {"forget": plan.samples(gone), "retain": plan.samples(kept), "validation": plan.validation}
    shown = {name: part for name, part in shown.items() if part is not None}
    logits = {
        name: {part: np.stack([predict(model, each).numpy() for model in family]) for part, each in shown.items()}
        for name, family in found.items()
    }
    margins = {name: scores.phi(part["forget"], plan.labels[gone].numpy()) for name, part in logits.items()}
    right = {
        name: {part: np.mean([accuracy(one, shown[part].labels) for one in logits[name][part]]) for part in shown}
        for name in found
    }
    rows = []
    for name in found:
        if name == "retrained":
            continue
        ratios = [right[name][part] / right["retrained"][part] for part in shown if part != "forget"]
        inputs = FamilyInput(margins[name], margins["retrained"], margins["retrain"], float(np.prod(ratios)))
        rows += [
            {"method": name, "metric": m.metric, "value": m.value, "low": m.low, "high": m.high, "null": m.null}
            for m in get_attack("neurips_score")(inputs)
        ]
    return pd.DataFrame(rows).assign(models=models)


def challenge_table(scored: pd.DataFrame) -> pd.DataFrame:
    """The score as text: F, F relative to its null, final score, and the calibrated bound, a row a family."""
    names = {
        "forgetting_quality": "F",
        "relative_quality": "F relative to its null",
        "final_score": "final score",
        "calibrated_epsilon": "calibrated bound (nats)",
    }
    ends = [
        f"{row.value:.3f}" + (f" ({row.low:.3f} to {row.high:.3f})" if pd.notna(row.low) else "")
        for row in scored.itertuples()
    ]
    wide = scored.assign(text=ends).pivot(index="method", columns="metric", values="text")
    return wide.reindex(index=scored["method"].unique(), columns=list(names)).rename(columns=names)


def sentences(scored: pd.DataFrame) -> list[str]:
    """What the score says of perfect unlearning, of doing nothing, and of which methods it cannot tell from it."""
    wide = scored.pivot(index="method", columns="metric", values="value")
    number, null = int(scored["models"].iloc[0]), wide.loc["retrain", "forgetting_quality"]
    relative = scored[scored["metric"] == "relative_quality"].set_index("method")
    near = [name for name in wide.index if name not in ("retrain", "original") and relative.loc[name, "high"] >= 1]
    nothing, bounds = relative.loc["original", "value"], wide["calibrated_epsilon"]
    return [
        f"With {number} models a family, perfect unlearning scores F = {null:.3f}, not 1: only ratios can be read.",
        f"Doing nothing reaches {nothing:.2f} of that.",
        f"Mean calibrated bound: perfect unlearning {bounds['retrain']:.2f} nats, nothing {bounds['original']:.2f}.",
        f"Methods whose interval reaches the null: {', '.join(near) or 'none'}.",
    ]
