"""One sample under many nets: how sure those are of its label that trained on it, never saw it, or had to forget it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forget_lib.core.errors import DataError, ForgetError, TooFewError
from forget_lib.demo.library import Bench
from forget_lib.models.recipe import make_recipe
from forget_lib.show.membership_views import sample_margins
from forget_lib.statistics.intervals import sign_flip_test
from forget_lib.study import records as results
from forget_lib.study.membership import make_plan
from forget_lib.study.pools import Pool, load_pool, load_unlearned, memorisation
from forget_lib.study.targets import references_about

OFFERED = 24
RARE = 0.05


@dataclass(frozen=True)
class Exposure:
    """A pool of reference nets, ready to be asked about single samples.

    Attributes: pool. methods: settings of each method that was run on the references. folder: of the pool.
        classes: names of the classes.
    """

    pool: Pool
    methods: Mapping[str, Mapping[str, Any]]
    folder: Path
    classes: tuple[str, ...]

    def offered(self) -> list[tuple[int, float]]:
        """(pool index, memorisation in [-1, 1]) of evaluation samples, from the most to the least memorised, evenly."""
        evaluation, scores = np.sort(self.pool.plan.evaluation), memorisation(self.pool)
        order = evaluation[np.argsort(-scores[evaluation], kind="stable")]
        places = np.unique(np.linspace(0, len(order) - 1, min(OFFERED, len(order))).round().astype(int))
        return [(int(index), float(scores[index])) for index in order[places]]

    def margins(self, sample: int, method: str) -> pd.DataFrame:
        """Logit margins of one evaluation sample: columns phi and group, see `membership_views.sample_margins`.

        Raises: DataError where the nets after that method are missing or made by other code.
        """
        about = references_about(self.pool.plan, method, self.methods[method])
        after = load_unlearned(self.pool.plan, self.folder, method, about)
        return sample_margins(self.pool, sample, after)


def open_exposure(bench: Bench) -> Exposure:
    """The pool of a bench's data set and model, read from disk; nothing is trained.

    Raises: ForgetError where there is none, naming those that there are; DataError for one that is not up to date.
    """
    root, entry = bench.scenario.root, bench.entry
    records = pool_records(root, f"{entry.dataset}-{entry.model}")
    if not records:
        there = sorted({path.parent.name.replace("-", ", ", 1) for path in Path(root).glob("*/pool-*")})
        raise ForgetError(
            "This needs many nets, trained with and without the image. There are none for this study"
            + (f"; choose a study of {' or '.join(there)}." if there else ": run ./run_all.sh quick first.")
        )
    first = records[0]
    if first["data_checksum"] != bench.data.checksum:
        raise ForgetError("The pool of reference nets was trained on other data; run the study again.")
    wanted = ("samples", "evaluation", "number", "held_out")
    sizes = {name: size for name, size in first["pool"].items() if name in wanted}
    recipe = make_recipe(first["recipe"])
    plan = make_plan(bench.data, recipe=recipe, model=entry.model, seed=first["seed"], **sizes)
    folder = Path(root) / "pools" / f"{entry.dataset}-{entry.model}-{plan.key[:12]}"
    methods = {each["method"]: each["settings"] for each in records if (folder / each["method"]).is_dir()}
    try:
        pool = load_pool(plan, folder)
    except DataError as error:
        raise DataError(
            "The pool of reference nets is not complete, or an older version of the code made it: run the study again."
        ) from error
    return Exposure(pool, methods, folder, bench.data.classes)


def pool_records(root: str | Path, name: str) -> list[dict[str, Any]]:
    """Records of a pooled study's methods, for "<data set>-<model>": those of its first draw and seed."""
    for folder in sorted(Path(root).glob(f"{name}/pool-*/draw*/seed*")):
        records = [results.read_record(path) for path in sorted(folder.glob("*/run0"))]
        done = [each for each in records if each and each["status"] == "done"]
        if done:
            return done
    return []


def sentences(margins: pd.DataFrame, title: str) -> str:
    """What the margins of one sample say, for someone who has never heard of membership inference.

    title: of the method. References come in pairs that a coin dealt the image to one of, so the pairs are compared, by
    a sign-flip test: exact for models that are independent of the coin. (A rank test of all in against all out is not:
    it called 9 % of the retrained nets' images told at a nominal 5 %.) The first sentence has no test, for the images
    offered are sorted by what it says.
    """
    groups = {name: part["phi"].to_numpy() for name, part in margins.groupby("group")}
    first = (
        f"Nets were trained in pairs, and a coin said which of the two got this image: the one that did is surer of "
        f"its label in {_surer(groups['in'], groups['out'])}."
    )
    second = (
        f"After {title}, which was to make it forget the image, it is surer in "
        f"{_surer(groups['unlearned'], groups['never, after'])}; half is chance: "
        f"{_verdict(groups['unlearned'] - groups['never, after'])}."
    )
    return f"{first} {second}"


def _surer(one: np.ndarray, other: np.ndarray) -> str:
    return f"{int((one > other).sum())} of {len(one)} pairs"


def _verdict(differences: np.ndarray) -> str:
    try:
        p_value = sign_flip_test(differences)
    except TooFewError:
        return "too few pairs to tell them apart"
    if p_value < RARE:
        return f"what was to be forgotten can still be told (p = {p_value:.2g}; one image in twenty looks so by chance)"
    return f"with this many nets the two cannot be told apart (p = {p_value:.2g})"
