"""The membership study on disk: pool, table and records of one scenario, made once and read afterwards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forget_lib import membership, pools, results
from forget_lib.chosen import with_chosen
from forget_lib.datasets import load
from forget_lib.membership_views import roc
from forget_lib.results import Measurement, code_hash, key_of, record_folder, write_record
from forget_lib.training import make_recipe, set_threads
from forget_lib.unlearning.registry import check_settings

HIDDEN = 128


def pooled_study(
    root: str | Path,
    *,
    dataset: str,
    model: str,
    start: str,
    recipe: Mapping[str, Any],
    methods: Mapping[str, Mapping[str, Any] | None],
    pool: Mapping[str, Any],
    seed: int = 0,
) -> tuple[pools.Pool, pd.DataFrame]:
    """Trains the pool, attacks every method with all attacks, and writes a record for each method.

    Args: root: results folder. methods: settings by name, those left out as chosen by tuning. pool: samples, evaluation
        (of which each target forgets half), number (of references), targets, doses, and attacks if not all.
    Returns: the pool, and the table of `membership.run_scenario`; read from disk where it is up to date.
    Raises: ForgetError and its kinds, for settings before anything is trained.
    """
    set_threads(1)
    kind = "random"
    settings = {name: with_chosen(name, given or {}, dataset, model, kind) for name, given in methods.items()}
    for name, given in settings.items():
        check_settings(name, given)
    data = load(dataset, start)
    sizes = {name: pool[name] for name in ("samples", "evaluation", "number", "held_out") if name in pool}
    options = {name: pool[name] for name in ("targets", "doses", "attacks") if name in pool}
    plan = membership.make_plan(data, recipe=make_recipe(recipe), model=model, hidden=HIDDEN, seed=seed, **sizes)
    folder = Path(root) / "pools" / f"{dataset}-{model}-{plan.key[:12]}"
    pools.train_shard(plan, folder)
    code = [code_hash(part) for part in ("forget_lib.membership", *_modules(settings))]
    key = key_of(plan=plan.key, settings=settings, options=options, code=code)
    path = folder / f"table-{key[:12]}.csv"
    ready = pools.load_pool(plan, folder)
    if path.is_file():
        return ready, pd.read_csv(path, keep_default_na=True, na_filter=True).fillna({"reason": ""})
    table = membership.run_scenario(ready, folder, methods=settings, seed=seed, **options)
    partial = path.with_suffix(".partial")
    table.to_csv(partial, index=False)
    partial.replace(path)
    about = {"dataset": dataset, "model": model, "request": request_name(plan), "draw": 0, "seed": seed, "run": 0}
    about |= {
        "source": data.source,
        "synthetic": data.synthetic,
        "sampled": data.sampled,
        "data_checksum": data.checksum,
    }
    about |= {"recipe": dict(recipe), "pool": dict(pool), "key": key, **results.provenance()}
    write_records(Path(root), table, about, settings)
    return ready, table


def roc_tables(ready: pools.Pool, attacks: Sequence[str], number: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """ROC curves (`membership_views.roc`), pooled over targets, by "<attack>, <model>" for original and retrained."""
    splits = membership.target_splits(ready.plan, number, seed)
    models = membership.controls(ready.plan, splits, seed)
    found = {}
    for name in ("original", "retrain"):
        for attack, scored in membership.score(ready, splits, models[name], attacks).items():
            found[f"{attack}, {name}"] = roc(scored)
    return found


def most_exposed(ready: pools.Pool) -> int:
    """Pool index of the evaluation sample that is memorised most."""
    evaluation = np.sort(ready.plan.evaluation)
    return int(evaluation[np.argmax(pools.memorisation(ready)[evaluation])])


def share_forgotten(plan: pools.PoolPlan) -> float:
    """Share of its training set that each target forgets, in (0, 1]."""
    return len(plan.evaluation) / len(plan.labels)


def strength_table(table: pd.DataFrame) -> pd.DataFrame:
    """AUC by model and attack as text: mean over targets with the 95 % interval."""
    part = table[(table["metric"] == "auc") & table["kind"].isin(["control", "method", "null"])].copy()
    part["model"] = part["method"].where(part["kind"] != "null", part["method"] + ", labels shuffled")
    ends = [f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in part.itertuples()]
    wide = part.assign(text=ends).pivot(index="model", columns="attack", values="text")
    return wide.reindex(index=part["model"].unique(), columns=part["attack"].unique()).fillna("–")


def request_name(plan: pools.PoolPlan) -> str:
    """Name of the request in folders and tables, with the share of the training set that each target forgets."""
    return f"pool-random-{share_forgotten(plan):.3g}"


def write_records(
    root: Path, table: pd.DataFrame, about: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]
) -> None:
    """A record for each control and method of the table, with every attack's measurements; doses and nulls included."""
    for (name, kind), part in table.groupby(["method", "kind"], sort=False):
        method = f"{name}_shuffled" if kind == "null" else name
        measured = [
            Measurement(
                row.metric, row.value, row.low, row.high, "share", row.attack, int(row.targets), row.null
            )._asdict()
            for row in part.itertuples()
            if isinstance(row.metric, str)
        ]
        run = {**about, "method": method, "status": part["status"].iloc[0], "reason": part["reason"].iloc[0] or None}
        run |= {"settings": dict(settings.get(name, {})), "measurements": measured, "cost": {}}
        write_record(record_folder(root, **{key: run[key] for key in results.KEYS}), run)


def _modules(names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    from forget_lib.unlearning import get_method

    return sorted({get_method(name).function.__module__ for name in names})
