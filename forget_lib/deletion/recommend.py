"""Which methods fit a request: from the study's records with intervals, then a small trial on the user's own case.

The trial is the study's tuning: settings are tried on another draw of the same kind of request and another original,
judged on forget and validation samples only; neither unseen or test images nor a retrained model choose.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from forget_lib.core import paths
from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.core.files import write_text
from forget_lib.deletion.case import Case
from forget_lib.show import overview
from forget_lib.statistics import verdict
from forget_lib.study import records as results
from forget_lib.study import run, tuning
from forget_lib.study.chosen import with_chosen
from forget_lib.study.scenario import Scenario
from forget_lib.unlearning import get_method, list_methods
from forget_lib.unlearning.registry import why_not_applicable

RECORDS = paths.RESULTS / "reference" / "quick" / "runs.csv.gz"
LIKE = {"class": ("class",), "person": ("person", "class"), "family": ("family", "person"), "indices": ("random",)}
"""Kinds of request in the records that stand for a kind, the nearest first."""
LAST = 99
"""Rank of a method that was not run."""


def recommend(case: Case, records: Path = RECORDS) -> pd.DataFrame:
    """Methods that fit, best first, with the study's numbers and a reason; those that do not fit come last.

    Columns: method, fits (bool), reason, verdict (of the study, over the scenarios of this kind, in words), gap (mean
    over them of forget accuracy less the retrained model's), low, high (from the lowest to the highest end of their
    95 % t-intervals), kept (utility lost), cost (retrainings), scenarios. A method that the study tells from retraining
    comes after one that it does not tell; of those alike the one with the smaller bound comes first.
    """
    spaces = tuning.load_spaces()
    names = [name for name in list_methods(controls=False) if name in spaces and not get_method(name).exact]
    numbers = _numbers(overview.answers(results.read_runs(records)), case.scenario.parsed.kind)
    found = numbers.reindex(names).rename_axis("method").reset_index()
    known = found["scenarios"].notna()
    found["scenarios"] = found["scenarios"].fillna(0).astype(int)
    found["reason"] = [why_not(case, name) for name in names]
    costly = found["cost"] > case.request["budget.method_cost"]
    found.loc[costly & (found["reason"] == ""), "reason"] = "costs more than the budget in the study's records"
    found["fits"] = found["reason"] == ""
    found.loc[found["fits"] & known, "reason"] = "in the study's records for this kind of request"
    found.loc[found["fits"] & ~known, "reason"] = "fits, but the records hold nothing on it for this kind of request"
    found["rank"] = [verdict.state(key).rank if isinstance(key, str) else LAST for key in found["verdict"]]
    found["verdict"] = [verdict.state(key).word if isinstance(key, str) else "not run" for key in found["verdict"]]
    order = found.sort_values(["fits", "rank", "bound"], ascending=[False, True, True], kind="stable")
    return order.drop(columns="rank").reset_index(drop=True)


def _numbers(found: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The numbers of `recommend` by method, over the scenarios of the nearest kind of request that the records hold."""
    of_kind = [found[found["kind"] == like] for like in LIKE[kind]]
    rows = next((part for part in of_kind if len(part)), found.iloc[:0])
    by_method = rows.groupby("method")
    numbers = by_method.agg(
        verdict=("verdict", lambda keys: verdict.across(list(keys))),
        gap=("forget", "mean"),
        low=("forget_low", "min"),
        high=("forget_high", "max"),
        kept=("kept", lambda gaps: -gaps.mean()),
        bound=("bound", "mean"),
    )
    shares = ["gap", "low", "high", "kept"]
    numbers[shares] = numbers[shares] / 100
    return numbers.assign(cost=by_method["cost"].mean(), scenarios=by_method.size())


def why_not(case: Case, name: str) -> str:
    """Why a method cannot be used on this case; empty where it can."""
    return why_not_applicable(name, case.scenario.new_model(0), run.make_task(case.scenario, name=name)) or ""


def trial(case: Case, methods: Sequence[str]) -> dict[str, Any]:
    """Tries settings of each method on another draw of the request; read from disk where it was done before.

    Returns: by method the chosen settings, score (lower is better) and cost; not whom it was tried on, for that may be
        another person.
    Raises: ForgetError where no method ran.
    """
    scenario, request, where = case.scenario, case.request, case.folder / "trial"
    same = {name: getattr(scenario, name) for name in ("dataset", "model", "start", "device", "recipe", "attacks")}
    asked, seed = tuning.tuning_request(scenario.parsed, scenario.data), tuning.SEED + request["seed"]
    other = Scenario(where, request=asked, draw=tuning.DRAW, seed=seed, **same)
    key = results.key_of(
        about=run.describe(other) | {"request": other.request},
        methods=list(methods),
        trials=request["budget.trials"],
        code=[results.code_of(get_method(name)) for name in methods] + other.own_code,
    )
    path = where / "trial.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("key") == key and "methods" in kept:
        return kept["methods"]
    spaces, kind, found = tuning.load_spaces(), tuning.kind_of(scenario.parsed), {}
    for name in methods:
        chosen = tuning.tune(
            name, [other], tuning.trials_of(name, spaces[name][kind])[1 : 1 + request["budget.trials"]]
        )
        if chosen["settings"] is None:
            print(f"trial: {name} has no acceptable setting, {chosen['reason']}", flush=True)
            continue
        best = next(trial for trial in chosen["trials"] if trial["settings"] == chosen["settings"])
        found[name] = {"settings": chosen["settings"], "score": best["score"], "cost": best["relative_cost"]}
        print(f"trial: {name} {chosen['settings']}, score {best['score']:.3f}", flush=True)
    if not found:
        raise ForgetError(
            "No method has acceptable settings in the trial; name one in the request, or retrain (method: retrain)."
        )
    write_text(path, json.dumps({"key": key, "methods": found}, indent=1))
    return found


def choose(case: Case, instead: str = "") -> dict[str, Any]:
    """The method and its settings: those of the request, or the best of the trial.

    instead: a method to take where that one failed; with the settings of the trial, if it was in it.
    Returns: method, settings, why, and the trial and recommendation behind it.
    """
    request = case.request
    if instead:
        kept = case.folder / "trial" / "trial.json"
        tried = json.loads(kept.read_text(encoding="utf-8"))["methods"] if kept.is_file() else {}
        settings = (
            tried[instead]["settings"] if instead in tried else with_chosen(instead, {}, *case.scenario.tuned_for)
        )
        return {"method": instead, "settings": settings, "why": "the method before it failed", "trial": tried or None}
    if request["method"] != "auto":
        with request.blaming("method"):
            reason = why_not(case, request["method"])
            if reason:
                raise NotApplicableError(reason)
        settings = with_chosen(request["method"], request["settings"], *case.scenario.tuned_for)
        return {"method": request["method"], "settings": settings, "why": "the request names it", "trial": None}
    table = recommend(case)
    fitting = table[table["fits"]]["method"].head(request["budget.methods"]).tolist()
    if not fitting:
        raise request.error("method", "no method fits the data and the budget; retrain instead")
    tried = trial(case, fitting)
    best = min(tried, key=lambda name: (tried[name]["score"], name))
    settings, score = tried[best]["settings"], tried[best]["score"]
    why = f"lowest score ({score:.3f}) of {len(tried)} methods in a trial on another draw of such a request"
    return {"method": best, "settings": settings, "why": why, "trial": tried}
