"""The membership study on disk: pool, table and records of one scenario, made once and read afterwards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from forget_lib.attacks import get_attack
from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.names import short_name
from forget_lib.datasets import ImageData, load
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.train import set_threads
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement, range_of
from forget_lib.statistics.scores import cross_entropy
from forget_lib.study import membership, pools, records
from forget_lib.study.challenge import CHALLENGE_VERSION, challenge
from forget_lib.study.chosen import with_chosen
from forget_lib.study.membership import MEMBERSHIP_VERSION, Scored, roc
from forget_lib.study.records import code_of, key_of, record_folder, write_record
from forget_lib.study.scenario import names_for_records, public_recipe
from forget_lib.study.targets import unlearned_references
from forget_lib.unlearning.registry import check_settings, get_method

REQUESTS = ("random", "mislabelled", "most_memorised")
"""What the evaluation samples of a pool are: random ones, ones with a wrong label, the most memorised ones."""
SCORED = ("loss_regression", "rmia", "lira", "u_lira")
"""Attacks whose scores are kept for ROC curves and the threshold."""


class Study(NamedTuple):
    """A pool with its table (`membership.run_scenario`), scores by model and attack, and the challenge's rows."""

    pool: pools.Pool
    table: pd.DataFrame
    scores: dict[str, dict[str, Scored]]
    challenge: pd.DataFrame
    folder: Path
    settings: dict[str, dict[str, Any]]


def make_pool(
    root: Path, data: ImageData, model: str, recipe: Recipe, pool: Mapping[str, Any], seed: int
) -> tuple[Path, pools.Pool | None]:
    """Trains what is missing of a pool; (folder, pool), or (folder, None) after only a `shard` of it.

    "most_memorised": the samples are scored by another pool, of other models, which is trained first; a shard is one of
    that pool.
    Raises: UnknownNameError for another kind of request; as `membership.make_plan`.
    """
    kind = pool.get("request", "random")
    if kind not in REQUESTS:
        raise unknown("request of a pool", kind, REQUESTS)
    sizes = {name: pool[name] for name in ("samples", "evaluation", "number", "held_out") if name in pool}
    plan = membership.make_plan(data, recipe=recipe, model=model, seed=seed, **sizes)

    def trained(plan: pools.PoolPlan) -> tuple[Path, pools.Pool | None]:
        folder = Path(root) / "pools" / f"{data.name}-{short_name(model)}-{plan.key[:12]}"
        if "shard" in pool:
            pools.train_shard(plan, folder, *pool["shard"])
            return folder, None
        pools.train_pool(plan, folder, pool.get("processes", 1))
        return folder, pools.load_pool(plan, folder)

    if kind == "mislabelled":
        plan = pools.mislabelled(plan, seed)
    elif kind == "most_memorised" and "shard" not in pool:
        plan = pools.most_memorised(trained(plan)[1], pool["evaluation"])
    return trained(plan)


def train_shard(
    root: str | Path,
    *,
    dataset: str,
    model: str,
    start: str,
    recipe: Mapping[str, Any],
    pool: Mapping[str, Any],
    seed: int = 0,
) -> str:
    """Trains the references of `pool["shard"]`, (which, of how many), for a later `pooled_study`; says so in words.

    Raises: ForgetError and its kinds, as `pooled_study`.
    """
    set_threads(1)
    make_pool(Path(root), load(dataset, start), model, make_recipe(recipe), pool, seed)
    shard, shards = pool["shard"]
    return f"Part {shard + 1} of {shards} of the reference nets is trained; attacks are on the page of the whole pool."


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
) -> Study:
    """Trains the pool, attacks every method with all attacks, and writes a record for each method.

    Args: root: results folder. methods: settings by name, those left out as chosen by tuning. pool: samples, evaluation
        (of which each target forgets half), number (of references), targets, doses, attacks if not all, request (see
        `REQUESTS`), processes (that train the pool), and challenge: models, samples, forget and methods of the
        challenge's score, see `challenge.challenge`.
    Returns: pool, table, scores and the challenge's rows; read from disk where they are up to date.
    Raises: ForgetError and its kinds, for settings before anything is trained.
    """
    set_threads(1)
    data = load(dataset, start)
    names = (dataset, model, "random", data.checksum)
    settings = {name: with_chosen(name, given or {}, *names) for name, given in methods.items()}
    for name, given in settings.items():
        check_settings(name, given)
    options = {name: pool[name] for name in ("targets", "doses", "attacks", "measured") if name in pool}
    attacks = [*options.get("attacks", ()), *options.get("measured", ())]
    for name in options.get("attacks", ()):
        if get_attack(name).score is None:
            raise ForgetError(f"Attack {name} gives no score a sample; list it under measured of the pool instead.")
    folder, ready = make_pool(Path(root), data, model, make_recipe(recipe), pool, seed)
    about = {"settings": settings, "options": options, "challenge": pool.get("challenge", {})}
    code = {name: code_of(get_method(name)) for name in settings} | {
        name: code_of(get_attack(name)) for name in attacks
    }
    code |= {"membership": MEMBERSHIP_VERSION, "challenge": CHALLENGE_VERSION}
    key = key_of(plan=ready.plan.key, about=about, code=code)
    paths = [folder / f"{name}-{key[:12]}" for name in ("table.csv", "scores.npz", "challenge.csv")]
    if not all(path.is_file() for path in paths):
        kept: dict[str, dict[str, Scored]] = {}
        table = membership.run_scenario(ready, folder, methods=settings, seed=seed, kept=kept, **options)
        asked = dict(pool.get("challenge", {}))
        chosen = {name: settings[name] for name in asked.pop("methods", [])}
        scored = challenge(ready.plan, chosen, **asked) if asked or chosen else pd.DataFrame()
        _write_all(paths, table, kept, scored)
        keys = names_for_records(dataset, model) | {"request": request_name(ready.plan, pool), "draw": 0, "run": 0}
        source = {name: getattr(data, name) for name in ("source", "synthetic", "sampled")}
        source |= {"data_checksum": data.checksum, "recipe": public_recipe(recipe), "pool": dict(pool), "key": key}
        write_records(Path(root), table, keys | {"seed": seed} | source | records.provenance(), settings)
    # The kind "null" is a word here, which pandas would take for a missing value.
    table = pd.read_csv(paths[0], keep_default_na=False, na_values=[""]).fillna({"reason": ""})
    try:
        scored = pd.read_csv(paths[2])
    except pd.errors.EmptyDataError:
        scored = pd.DataFrame()
    return Study(ready, table, _read_scores(paths[1]), scored, folder, settings)


def _write_all(paths: list[Path], table: pd.DataFrame, kept: Mapping, scored: pd.DataFrame) -> None:
    arrays = {
        f"{model}|{attack}|{side}": np.stack(getattr(one, side)).astype(np.float32)
        for model, by_attack in kept.items()
        for attack, one in by_attack.items()
        for side in ("forget", "unseen")
        if attack in SCORED
    }
    partial = paths[1].with_name(f".partial-{paths[1].name}.npz")
    np.savez(partial, **arrays)
    partial.replace(paths[1])
    for path, frame in ((paths[2], scored), (paths[0], table)):
        partial = path.with_name(f".partial-{path.name}")
        frame.to_csv(partial, index=False)
        partial.replace(path)


def _read_scores(path: Path) -> dict[str, dict[str, Scored]]:
    found: dict[str, dict[str, Scored]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            model, attack, side = name.split("|")
            if side == "forget":
                pair = (list(arrays[f"{model}|{attack}|{part}"].astype(np.float64)) for part in ("forget", "unseen"))
                found.setdefault(model, {})[attack] = Scored(*pair)
    return found


def roc_tables(study: Study, attacks: tuple[str, ...], models: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """ROC curves (`membership_views.roc`), pooled over targets, by "<attack>, <model>"; those that are there."""
    return {
        f"{attack}, {model}": roc(study.scores[model][attack])
        for model in models
        for attack in attacks
        if attack in study.scores.get(model, {})
    }


def sample_answers(study: Study, sample: int, method: str) -> pd.DataFrame:
    """What the references that had seen one evaluation sample answer on it, before and after they unlearned it.

    Columns: stage ("trained on it", "after <method>", "retrained without it"), probability of the label, predicted,
    right. One row a reference and stage. Raises: ForgetError for a sample or method that is not there.
    """
    plan, column = study.pool.plan, _column(study.pool, sample)
    seen, label = study.pool.membership[:, sample], plan.labels[[sample]].numpy()
    stages = {"trained on it": study.pool.logits[:, sample]}
    for name, title in ((method, f"after {method}"), ("retrain", "retrained without it")):
        stages[title] = unlearned_references(plan, study.folder, name, study.settings.get(name, {}))[:, column]
    frames = []
    for stage, logits in stages.items():
        own = logits[seen].astype(np.float64)
        probability = np.exp(-cross_entropy(own[:, None], label)[:, 0])
        frame = pd.DataFrame({"stage": stage, "probability": probability, "predicted": own.argmax(1)})
        frames.append(frame.assign(right=frame["predicted"] == label[0]))
    return pd.concat(frames, ignore_index=True)


def unlearned_logits(study: Study, method: str) -> np.ndarray:
    """Logits float16 [K, E, C] of the references after a method of the study."""
    return unlearned_references(study.pool.plan, study.folder, method, study.settings.get(method, {}))


def _column(pool: pools.Pool, sample: int) -> int:
    place = np.flatnonzero(np.asarray(pool.plan.evaluation) == sample)
    if not len(place):
        raise ForgetError(f"Sample {sample} is not an evaluation sample of the pool; only those were unlearned.")
    return int(place[0])


def first_done(table: pd.DataFrame) -> str:
    """The method to follow one sample through: the first that is done, else the retrained model."""
    methods = table.loc[(table["kind"] == "method") & (table["status"] == "done"), "method"]
    return str(methods.iloc[0]) if len(methods) else "retrain"


def most_exposed(ready: pools.Pool) -> int:
    """Pool index of the evaluation sample that is memorised most."""
    evaluation = np.sort(ready.plan.evaluation)
    return int(evaluation[np.argmax(pools.memorisation(ready)[evaluation])])


def share_forgotten(plan: pools.PoolPlan) -> float:
    """Share of its training set that each target forgets, in (0, 1]."""
    return len(plan.evaluation) / len(plan.labels)


def strength_table(table: pd.DataFrame, attacks: tuple[str, ...] = SCORED) -> pd.DataFrame:
    """AUC by model and attack (weak to strong) as text: mean over targets with the 95 % interval."""
    shown = table["kind"].isin(["control", "method", "null"]) & table["attack"].isin(attacks)
    part = table[(table["metric"] == "auc") & shown].copy()
    part["model"] = part["method"].where(part["kind"] != "null", part["method"] + ", labels shuffled")
    ends = [f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in part.itertuples()]
    wide = part.assign(text=ends).pivot(index="model", columns="attack", values="text")
    names = [name for name in attacks if name in wide.columns]
    return wide.reindex(index=part["model"].unique(), columns=names).fillna("–")


def request_name(plan: pools.PoolPlan, pool: Mapping[str, Any] | None = None) -> str:
    """Name of the request in folders and tables, with the share of the training set that each target forgets.

    A target forgets a random half of the evaluation samples, whatever those are; hence "random" in each.
    """
    kind = (pool or {}).get("request", "random")
    return f"pool-random-{'' if kind == 'random' else f'{kind}-'}{share_forgotten(plan):.3g}"


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
        # Kept as measurements, so that tests and power can be worked out from records alone.
        measured += [
            Measurement("auc_null_error", row.null_error, None, None, "share", row.attack, int(row.targets))._asdict()
            for row in part[part["metric"] == "auc"].itertuples()
        ]
        run = {**about, "method": method, "status": part["status"].iloc[0], "reason": part["reason"].iloc[0] or None}
        run |= {"settings": dict(settings.get(name, {})), "measurements": measured, "cost": {}}
        write_record(record_folder(root, **{key: run[key] for key in records.KEYS}), run)


def tables_of(strong: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """`table_of` of each pooled study among the rows of strong attacks, by data set, model and request."""
    parts = strong.groupby(["dataset", "model", "request"], sort=True)
    return {names: table_of(part) for names, part in parts}


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The table of `membership.run_scenario` for one pooled study, made again from its records (`results.load`)."""
    rows = runs[runs["metric"] != ""].copy()
    names = rows["method"].str.removesuffix("_shuffled")
    dose = names.str.extract(r"^retrain_keeping_(.+)$")[0].astype(float)
    rows["kind"] = np.select(
        [rows["method"].str.endswith("_shuffled"), dose.notna(), names.isin(membership.CONTROLS)],
        ["null", "dose", "control"],
        "method",
    )
    control = rows["kind"] == "control"
    rows["share"] = dose.where(~control, (names == "original").astype(float))
    rows["method"] = names
    rows["forgotten"] = rows["request"].str.extract(r"-([0-9.]+)$")[0].astype(float)
    errors = rows[rows["metric"] == "auc_null_error"].set_index(["method", "kind", "attack"])["value"]
    places = pd.MultiIndex.from_frame(rows[["method", "kind", "attack"]])
    rows["null_error"] = errors.reindex(places).to_numpy()
    half = stats.t.ppf(0.975, (rows["n"] - 1).clip(lower=1))
    rows["error"] = (rows["high"] - rows["low"]) / (2 * half)
    ranges = np.array([range_of(metric) for metric in rows["metric"]]).reshape(-1, 2)
    rows["low"], rows["high"] = intervals.possible_ends(rows["value"], rows["low"], rows["high"], *ranges.T)
    rows["p_value"] = 2 * stats.norm.sf((rows["value"] - 0.5).abs() / rows["null_error"])
    return rows.rename(columns={"n": "targets"}).reset_index(drop=True)
