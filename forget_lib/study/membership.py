"""The membership study: every attack on many targets of one pool, between nulls and doses, a record for each model.

A target is a net trained on a fresh half S of the pool. It forgets F = S & E; the samples U = E - S, never seen,
were left out by the same coin, so any model that is independent of that coin gives an AUC of 0.5 in expectation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm
from torch import nn

from forget_lib.attacks import AttackInput, Side, get_attack, validate
from forget_lib.attacks.parts.inputs import known_outside
from forget_lib.attacks.parts.per_sample import Influence, influence, shares
from forget_lib.core.errors import ForgetError, NotApplicableError, TooFewError, unknown
from forget_lib.core.names import short_name
from forget_lib.datasets import ImageData, load
from forget_lib.datasets.samples import Samples
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.stacked import HIDDEN
from forget_lib.models.train import predict, set_threads
from forget_lib.statistics import intervals
from forget_lib.statistics.measurement import Measurement, range_of
from forget_lib.statistics.rules import WEAK
from forget_lib.study import pools, records
from forget_lib.study.chosen import choice, digest, with_chosen
from forget_lib.study.pools import CONTROLS, TARGET_SEED, Pool, PoolPlan, forget_and_unseen, unlearned_references
from forget_lib.study.scenario import names_for_records, public_recipe
from forget_lib.unlearning.registry import check_settings, get_method

MEMBERSHIP_VERSION = 3
"""Raised when a pooled study gives other numbers or records; records of before are then made again."""
REQUESTS = ("random", "mislabelled", "most_memorised")
"""What the evaluation samples of a pool are: random ones, ones with a wrong label, the most memorised ones."""
RATES = (0.01, 0.001)
ATTACK_ORDER: tuple[str, ...] = (WEAK, "confidence", "modified_entropy", "attack_r")
ATTACK_ORDER += ("rmia_offline", "rmia", "lira_offline", "lira", "u_lira")
DOSES = (0.1, 0.25, 0.5)
HELPER_SEED = 600_000
"""What is added to the seeds of targets for the helper net of attacks without references."""


def make_plan(
    data: ImageData,
    *,
    samples: int,
    evaluation: int,
    recipe: Recipe,
    model: str = "mlp",
    hidden: int = HIDDEN,
    number: int = 16,
    held_out: int = 200,
    seed: int = 0,
) -> PoolPlan:
    """A plan on a random part of a data set's training pool.

    samples: N (even). evaluation: E (even), of which each target forgets half, so E / N is the share it forgets.
    held_out: samples for the population and as many for validation, disjoint from the pool.
    Raises: ForgetError if the data set is too small.
    """
    if samples + 2 * held_out > len(data.labels) or evaluation > samples:
        raise ForgetError(
            f"{data.name} has {len(data.labels)} samples; {samples} for the pool, {held_out} each for population and "
            f"validation do not fit (evaluation: {evaluation})."
        )
    order = np.random.default_rng(seed).permutation(len(data.labels))[: samples + 2 * held_out]
    parts = np.split(order, [samples, samples + held_out])
    pool, population, validation = (
        Samples(data.images[part], data.labels[part], recipe.batch_size) for part in map(torch.as_tensor, parts)
    )
    sets = (pool.images, pool.labels, np.arange(evaluation), len(data.classes), population, validation)
    return PoolPlan(*sets, model=model, hidden=hidden, recipe=recipe, number=number, seed=seed)


def plan_pool(
    root: Path, data: ImageData, model: str, recipe: Recipe, pool: Mapping[str, Any], seed: int
) -> tuple[PoolPlan, Path]:
    """The plan of a pool and its folder. For "most_memorised" the samples are scored by another pool, of other models,
    which is trained first; a shard is one of that pool."""
    kind = pool.get("request", "random")
    if kind not in REQUESTS:
        raise unknown("request of a pool", kind, REQUESTS)
    sizes = {name: pool[name] for name in ("samples", "evaluation", "number", "held_out") if name in pool}
    plan = make_plan(data, recipe=recipe, model=model, seed=seed, **sizes)
    if kind == "mislabelled":
        plan = pools.mislabelled(plan, seed)
    folder = Path(root) / "pools" / f"{data.name}-{short_name(model)}-{plan.key[:12]}"
    if kind == "most_memorised" and "shard" not in pool:
        pools.train_pool(plan, folder, pool.get("processes", 1))
        plan = pools.most_memorised(pools.load_pool(plan, folder), pool["evaluation"])
        folder = folder.with_name(f"{data.name}-{short_name(model)}-{plan.key[:12]}")
    return plan, folder


# --- attacks over targets ---------------------------------------------------------------------------------------------


class Scored(NamedTuple):
    """Scores of one attack on one kind of model, float [R, n] each: of the forget and of the unseen samples."""

    forget: np.ndarray
    unseen: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """AUC of each target, float [R]."""
        return np.array([intervals.auc(*pair) for pair in zip(self.forget, self.unseen, strict=True)])


class Entry(NamedTuple):
    """One model of the study: what its record is called, its kind (control, shuffled, dose, method), and the share of
    the forget set that it was trained on where that is known."""

    method: str
    kind: str
    share: float | None = None


def entries(doses: Sequence[float], methods: Sequence[str]) -> list[Entry]:
    """The models of a pooled study, in the order of its table."""
    found = [Entry(name, "control", float(name == "original")) for name in CONTROLS]
    found.append(Entry("original_shuffled", "shuffled"))
    found += [Entry(f"retrain_keeping_{share:g}", "dose", share) for share in doses]
    return found + [Entry(name, "method") for name in methods]


@dataclass
class Targets:
    """The targets of one pool, trained when they are first asked for, and the attacks on them.

    folder: of the pool. attacks rank samples; measured: attacks that give numbers only (audit, two_snapshot).
    targets, dose_targets: how many nets are behind each model, and behind each dose.
    """

    pool: Pool
    folder: Path
    targets: int = 8
    dose_targets: int = 8
    attacks: Sequence[str] = ATTACK_ORDER
    measured: Sequence[str] = ("audit",)
    seed: int = 0

    @cached_property
    def splits(self) -> np.ndarray:
        """What each target was trained on, bool [R, N]."""
        return pools.target_splits(self.pool.plan, self.targets, self.seed)

    @cached_property
    def originals(self) -> list[nn.Module]:
        """The targets before anything is forgotten."""
        return [*pools.control_nets(self.pool.plan, self.splits, "original", self.seed, self.folder)]

    @cached_property
    def known(self) -> dict[str, np.ndarray]:
        """What is known of evaluation samples (in their order) and population without a target, where an attack asks
        for it; the helper net is trained on what no target forgets."""
        plan = self.pool.plan
        if plan.population is None or all(get_attack(name).needs != "population" for name in self.attacks):
            return {}
        helper = pools.train_nets(plan, [np.flatnonzero(~plan.inside)], [TARGET_SEED + HELPER_SEED], self.folder)[0]
        parts = {"evaluation": plan.samples(np.sort(plan.evaluation)), "population": plan.population}
        return known_outside(helper, parts)

    @cached_property
    def retrained_nets(self) -> Sequence[nn.Module]:
        """The retrained models of the same targets, with which each model is compared."""
        return pools.control_nets(self.pool.plan, self.splits, "retrain", self.seed, self.folder)

    @cached_property
    def retrained(self) -> dict[str, Scored]:
        """Scores on the retrained models."""
        return self.score(self.retrained_nets, self.after("retrain", {}))

    @cached_property
    def retrained_share(self) -> np.ndarray:
        """Share left in each retrained model, float [R]."""
        return shares(self.influences(self.retrained_nets))[0]

    def nets(self, entry: Entry, settings: Mapping[str, Any]) -> Sequence[nn.Module]:
        """The nets of an entry, one a target."""
        plan = self.pool.plan
        if entry.kind == "dose":
            splits = self.splits[: self.dose_targets]
            return pools.partly_retrained(plan, splits, float(entry.share or 0), self.seed, self.folder)
        if entry.kind == "shuffled" or entry.method == "original":
            return self.originals
        if entry.method == "retrain":
            return self.retrained_nets
        if entry.method in CONTROLS:
            return pools.control_nets(plan, self.splits, entry.method, self.seed, self.folder)
        return pools.unlearned_targets(plan, self.splits, self.originals, entry.method, settings, self.seed)

    def after(self, method: str, settings: Mapping[str, Any]) -> np.ndarray | None:
        """Logits of references after a method, where an attack asks for them."""
        wanted = "u_lira" in self.attacks
        return unlearned_references(self.pool.plan, self.folder, method, settings) if wanted else None

    def run(self, entry: Entry, settings: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Scored], str]:
        """Measurements and scores of one entry, and which attacks had too few samples."""
        if entry.kind in ("shuffled", "dose"):
            nets, shuffle = self.nets(entry, {}), self.seed if entry.kind == "shuffled" else None
            scored = self.score(nets, shuffle=shuffle)
            return measurements(scored) + self.share_left(nets, shuffle=shuffle), scored, ""
        if entry.method == "retrain":
            scored, reference = self.retrained, None
            nets = self.nets(entry, {})
        else:
            # Retrained models are attacked by references that were retrained too, whatever their seed.
            name = "retrain" if entry.method == "second_retrain" else entry.method
            after = None if entry.method == "original" else self.after(name, settings)
            nets = self.nets(entry, settings)
            scored, reference = self.score(nets, after), self.retrained
        found, reasons = measurements(scored, reference), []
        found += self.share_left(nets, None if entry.method == "retrain" else self.retrained_share)
        for name in self.measured:
            try:
                found += self.measure(nets, name)
            except TooFewError as error:
                reasons.append(f"{name}: {error}")
        return found, scored, " ".join(reasons)

    def inputs(
        self,
        r: int,
        net: nn.Module,
        *,
        unlearned: np.ndarray | None = None,
        original: nn.Module | None = None,
        shuffle: int | None = None,
    ) -> AttackInput:
        """What an attack is given on target r.

        unlearned: float [K, E, C], references after the same method. original: the net before, for two-snapshot
        attacks. shuffle: a seed that mixes forget and unseen samples, so that nothing may be found.
        """
        plan = self.pool.plan
        forget, unseen = forget_and_unseen(plan, self.splits[r])
        columns, size = np.concatenate([forget, unseen]), len(forget)
        if shuffle is not None:
            columns = np.random.default_rng([shuffle, r]).permutation(columns)
        logits, labels, population = predict(net, plan.samples(columns)).numpy(), plan.labels[columns], plan.population
        before = None if original is None else predict(original, plan.samples(columns)).numpy()
        known = None
        if self.known:
            known = self.known["evaluation"][np.searchsorted(np.sort(plan.evaluation), columns)]
        both = Side(logits, labels, columns, before=before, known=known)
        others = None
        if population is not None:
            others = Side(predict(net, population), population.labels, known=self.known.get("population"))
        sides = (both.take(np.arange(size)), both.take(np.arange(size, len(columns))))
        return AttackInput(*sides, others, self.pool.references(columns, unlearned), seed=r)

    def score(
        self, nets: Sequence[nn.Module], unlearned: np.ndarray | None = None, shuffle: int | None = None
    ) -> dict[str, Scored]:
        """Scores of each attack that ranks samples; U-LiRA is left out where there are no unlearned references."""
        found: dict[str, list[np.ndarray]] = {}
        for r, net in enumerate(nets):
            inputs = self.inputs(r, net, unlearned=unlearned, shuffle=shuffle)
            for name in self.attacks:
                entry = get_attack(name)
                if entry.score is not None and (entry.needs != "unlearned references" or unlearned is not None):
                    found.setdefault(name, []).append(entry.score(inputs))
        size = inputs.number_forget
        stacked = {name: np.stack(each) for name, each in found.items()}
        return {name: Scored(each[:, :size], each[:, size:]) for name, each in stacked.items()}

    def influences(self, nets: Sequence[nn.Module], shuffle: int | None = None) -> list[Influence]:
        """What is left of each evaluation sample's influence on each net."""
        found = []
        for r, net in enumerate(nets):
            inputs = validate(self.inputs(r, net, shuffle=shuffle))
            names = np.concatenate([inputs.forget.indices, inputs.unseen.indices])
            found.append(influence(inputs, names))
        return found

    def share_left(
        self, nets: Sequence[nn.Module], reference: np.ndarray | None = None, shuffle: int | None = None
    ) -> list[dict[str, Any]]:
        """Share left, its difference to the retrained models' (`reference`, [R]), paired by target, and the placebo:
        one half of the unseen samples in the place of the forget samples, the other half against it."""
        found = self.influences(nets, shuffle)
        values, share = shares(found)
        rows = [_measurement("share_left", share, "share_left", len(nets), 0.0)]
        if reference is not None and len(nets) > 1:
            gap = intervals.t_interval(values - reference)
            rows.append(_measurement("share_left_gap", gap, "share_left", len(nets), 0.0))
        halves = [_unseen_in_two(each, np.random.default_rng([self.seed, r])) for r, each in enumerate(found)]
        return [*rows, _measurement("share_left_placebo", shares(halves)[1], "share_left", len(nets), 0.0)]

    def measure(self, nets: Sequence[nn.Module], attack: str) -> list[dict[str, Any]]:
        """Measurements of an attack that gives numbers and no scores: mean over targets and interval.

        Raises: TooFewError below 2 targets; what the attack raises.
        """
        values: dict[str, list[Measurement]] = {}
        both = get_attack(attack).needs == "two snapshots"
        for r, net in enumerate(nets):
            inputs = self.inputs(r, net, original=self.originals[r] if both else None)
            for each in get_attack(attack)(inputs):
                values.setdefault(each.metric, []).append(each)
        found = []
        for metric, several in values.items():
            nulls = [each.null for each in several if each.null is not None]
            mean = intervals.mean_interval([each.value for each in several])
            mean = intervals.within(mean, range_of(metric, several[0].unit))
            null = float(np.mean(nulls)) if nulls else None
            found.append(_measurement(metric, mean, attack, len(nets), null))
        return found


def _unseen_in_two(of: Influence, generator: np.random.Generator) -> Influence:
    """The unseen samples alone, a random half of them as if they were forget samples."""
    unseen = np.flatnonzero(~of.forget)
    half = generator.permutation(len(unseen)) < len(unseen) // 2
    return Influence(of.found[unseen], of.whole[unseen], half, of.names[unseen])


def _measurement(
    metric: str, interval: intervals.Interval, attack: str, targets: int, null: float | None, **more: float
) -> dict[str, Any]:
    value, low, high = interval.value, interval.low, interval.high
    return Measurement(metric, value, low, high, attack=attack, n=targets, null=null)._asdict() | more


def measurements(scored: Mapping[str, Scored], reference: Mapping[str, Scored] | None = None) -> list[dict[str, Any]]:
    """AUC (mean over targets, interval between targets) and pooled TPR at 1 and 0.1 % FPR (Clopper-Pearson).

    error: of the mean between targets. null_error: of the mean where nothing leaks, sqrt((nF + nU + 1) / (12 nF nU R)).
    A rate is left out where the pooled unseen samples are too few for it.
    reference: scores on the retrained models of the same targets; "auc_gap" is the difference, paired by target.
    """
    found = []
    for name, one in scored.items():
        areas, forget, unseen = one.areas, np.concatenate(one.forget), np.concatenate(one.unseen)
        number, sizes = len(areas), (one.forget.shape[1], one.unseen.shape[1])
        null_error = float(np.sqrt((sum(sizes) + 1) / (12 * sizes[0] * sizes[1]))) / np.sqrt(number)
        area = intervals.mean_interval(areas) if number > 1 else intervals.auc_interval(forget, unseen)
        errors = {"error": _standard_error(areas), "null_error": float(null_error)}
        found.append(_measurement("auc", intervals.within(area, range_of("auc")), name, number, 0.5, **errors))
        if reference is not None and number > 1:
            gaps = areas - reference[name].areas
            gap = intervals.within(intervals.t_interval(gaps), range_of("auc_gap"))
            errors = {"error": _standard_error(gaps), "null_error": float(null_error)}
            found.append(_measurement("auc_gap", gap, name, number, 0.0, **errors))
        for rate in RATES:
            try:
                hit = intervals.tpr_at_fpr(forget, unseen, rate).true_positive_rate
            except TooFewError:
                continue
            found.append(_measurement(f"tpr_at_{100 * rate:g}_fpr", hit, name, number, rate))
    return found


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


# --- on disk ----------------------------------------------------------------------------------------------------------


class Study(NamedTuple):
    """A pool with its table (`table_of`), and scores by record and attack."""

    pool: Pool
    table: pd.DataFrame
    scores: dict[str, dict[str, Scored]]
    folder: Path
    settings: dict[str, dict[str, Any]]


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
    """Trains the pool, attacks every model with all attacks, and writes a record for each that is not up to date.

    Args: root: results folder. methods: settings by name, those left out as chosen by tuning. pool: samples, evaluation
        (of which each target forgets half), number (of references), targets, doses, attacks if not all, request (see
        `REQUESTS`), and processes (that train the pool).
    Raises: ForgetError and its kinds, for settings before anything is trained.
    """
    set_threads(1)
    data = load(dataset, start)
    tuned = (dataset, model, "mislabelled" if pool.get("request") == "mislabelled" else "random", data.checksum)
    settings = {name: with_chosen(name, given or {}, *tuned) for name, given in methods.items()}
    marks = {
        name: {"tuned": choice(name, given or {}, *tuned).tuned, "settings_digest": digest(*tuned, [name])}
        for name, given in methods.items()
    }
    for name, given in settings.items():
        check_settings(name, given)
    options = {name: pool[name] for name in ("targets", "attacks", "measured") if name in pool}
    for name in options.get("attacks", ()):
        if get_attack(name).score is None:
            raise ForgetError(f"Attack {name} gives no score a sample; list it under measured of the pool instead.")
    plan, folder = plan_pool(Path(root), data, model, make_recipe(recipe), pool, seed)
    pools.train_pool(plan, folder, pool.get("processes", 1))
    ready = pools.load_pool(plan, folder)
    targets = Targets(ready, folder, seed=seed, **options)
    drawn, share = pool.get("request", "random"), plan.forgotten
    about = names_for_records(dataset, model) | {
        name: getattr(data, name) for name in ("source", "synthetic", "sampled")
    }
    about |= {"request": f"pool-random-{'' if drawn == 'random' else f'{drawn}-'}{share:.3g}", "draw": 0, "run": 0}
    about |= {"seed": seed, "data_checksum": data.checksum, "recipe": public_recipe(recipe), "pool": dict(pool)}
    about |= {"study": "pool", "drawn": drawn, "forgotten": share}
    frames, kept = [], {}
    for entry in entries(pool.get("doses", DOSES), list(settings)):
        path, run = _attacked(
            Path(root), targets, entry, settings.get(entry.method, {}), about | marks.get(entry.method, {"tuned": ""})
        )
        frames.append(records.tidy([(str(path), run)]))
        kept[entry.method] = _scores(path)
    return Study(ready, table_of(pd.concat(frames, ignore_index=True)), kept, folder, settings)


def _attacked(
    root: Path, targets: Targets, entry: Entry, settings: Mapping[str, Any], about: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """The record of one entry, from disk where it is up to date."""
    path = records.record_folder(root, **about, method=entry.method)
    names = [*targets.attacks, *targets.measured, "share_left"]
    code = {name: records.code_of(get_attack(name)) for name in names}
    code["method"] = records.code_of(get_method(entry.method)) if entry.kind == "method" else ""
    options = [targets.targets, targets.dose_targets, targets.attacks, targets.measured, targets.seed]
    key = records.key_of(
        plan=targets.pool.plan.key, entry=entry, settings=settings, options=options, code=code, of=MEMBERSHIP_VERSION
    )
    run = records.read_record(path)
    if run is not None and run.get("key") == key:
        return path, run
    found: list[dict[str, Any]] = []
    scored: dict[str, Scored] = {}
    status, reason = "done", ""
    try:
        found, scored, reason = targets.run(entry, settings)
    except ForgetError as error:
        if entry.kind != "method":
            raise
        status, reason = "not applicable" if isinstance(error, NotApplicableError) else "failed", str(error)
    told = {"status": status, "reason": reason or None, "settings": dict(settings), "measurements": found, "cost": {}}
    arrays = {"attacks": np.array(list(scored), dtype=str)}
    for side in Scored._fields:
        arrays[side] = np.array([getattr(one, side) for one in scored.values()])
    told |= entry._asdict() | {"key": key} | records.provenance()
    records.write_record(path, {**about, **told}, predictions=arrays)
    return path, {**about, **told}


def _scores(path: Path) -> dict[str, Scored]:
    arrays = records.read_predictions(path)
    sides = zip(arrays["attacks"], arrays["forget"], arrays["unseen"], strict=True)
    return {str(name): Scored(forget, unseen) for name, forget, unseen in sides}


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The table of one pooled study from its records (`records.load`): a row for each model, attack and metric."""
    rows = runs.rename(columns={"n": "targets"}).reset_index(drop=True)
    ranges = np.array([range_of(metric) for metric in rows["metric"]]).reshape(-1, 2)
    rows["low"], rows["high"] = intervals.possible_ends(rows["value"], rows["low"], rows["high"], *ranges.T)
    rows["p_value"] = p_value(rows)
    return rows


def tables_of(strong: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """`table_of` of each pooled study among records, by data set, model and request."""
    parts = strong.groupby(["dataset", "model", "request"], sort=True)
    return {names: table_of(part) for names, part in parts}


# --- reading the table ------------------------------------------------------------------------------------------------


def p_value(areas: pd.DataFrame) -> np.ndarray:
    """Two-sided, of rows of AUCs: that the models are independent of the coin that dealt forget and unseen samples."""
    return np.asarray(2 * norm.sf((areas["value"] - 0.5).abs() / areas["null_error"]))


def dose_response(table: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Share left, AUC and interval of one attack, from 0 (retrained) to 1 (original); a share a row, sorted."""
    chosen = table[(table["attack"] == attack) & (table["metric"] == "auc") & table["share"].notna()]
    chosen = chosen[chosen["method"] != "second_retrain"]
    return chosen[["share", "value", "low", "high", "error", "null_error"]].sort_values("share", ignore_index=True)


def detection_limits(table: pd.DataFrame, errors: float = 3.0) -> pd.Series:
    """Smallest share of the forget set that each attack tells from a clean retrain, `errors` SEs up; NaN if none.

    Read off the straight line from share 0 to 1, on which the AUC lies closely. By attack, where there are doses.
    """
    found = {}
    for attack in dict.fromkeys(table.loc[table["metric"] == "auc", "attack"]):
        curve = dose_response(table, attack)
        if curve["share"].nunique() > 2:
            slope = float(np.polyfit(curve["share"], curve["value"], 1)[0])
            needed = errors * float(curve["null_error"].iloc[0])
            found[attack] = needed / slope if 0 < needed <= slope else float("nan")
    return pd.Series(found, name="share", dtype=float)
