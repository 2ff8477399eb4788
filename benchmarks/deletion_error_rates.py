"""How often the verdict errs: the rule on models whose history is known, over fresh seeds.

    python benchmarks/deletion_error_rates.py      (some minutes of one core; a run that was stopped goes on)

Each seed draws its own images, request, references and candidates. Candidates: the original untouched, the original
with the class hidden at the output (`mask_logit`), retrainings that kept a tenth, a quarter and a half of the forget
set, and a true retraining. Writes results/reference/deletion/error_rates.csv (one row a case, candidate and outcome,
with Clopper-Pearson intervals), verdicts.csv (one row a verdict) and provenance.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib import datasets  # noqa: E402
from forget_lib.core import paths  # noqa: E402
from forget_lib.datasets.requests import Request  # noqa: E402
from forget_lib.deletion import verdict  # noqa: E402
from forget_lib.deletion.measure import MEASURE_VERSION, margins_of  # noqa: E402
from forget_lib.models.nets import NETS_VERSION  # noqa: E402
from forget_lib.models.recipe import Recipe  # noqa: E402
from forget_lib.models.stacked import STACKED_VERSION  # noqa: E402
from forget_lib.models.train import TRAINING_VERSION, set_threads  # noqa: E402
from forget_lib.statistics import intervals  # noqa: E402
from forget_lib.study import records  # noqa: E402
from forget_lib.study.pools import MEMORISING, PoolPlan, read_arrays, train_nets, write_arrays  # noqa: E402
from forget_lib.unlearning import UnlearningTask, unlearn  # noqa: E402

OUTPUT = paths.RESULTS / "reference" / "deletion"
SEEDS = range(1000, 1040)
"""Fresh: the rule was fixed on seeds from 10,000 on."""
REFERENCES, ORIGINALS, KEPT = 8, 4, 4
"""What a request trains by default."""
SHARES = {"retrained": 0.0, "kept 10 %": 0.1, "kept 25 %": 0.25, "kept 50 %": 0.5, "untouched": 1.0}
MASKED = "masked"
OUTCOMES = (verdict.PASS, verdict.FAIL, verdict.UNDECIDED)


@dataclass(frozen=True)
class Case:
    """A kind of request: a class, or some samples of all classes (`forget` of them; 0: the class).

    dataset: embedded sample. samples: training images drawn from it. hidden: width of the mlp.
    """

    dataset: str
    samples: int
    forget: int
    recipe: Recipe = MEMORISING
    hidden: int = 64


SHORTER = dataclasses.replace(MEMORISING, epochs=25)
CASES = {
    "cifar16, 60 images": Case("cifar16", 600, 60),
    "cifar16, a class": Case("cifar16", 600, 0),
    "mnist14, a class": Case("mnist14", 600, 0, SHORTER),
    "mnist14, 60 images": Case("mnist14", 600, 60, SHORTER),
}


def draw(case: Case, seed: int) -> tuple[PoolPlan, np.ndarray, np.ndarray]:
    """The plan of a seed's models, and the forget and retain indices, int."""
    data, generator = datasets.load(case.dataset, start="sample"), np.random.default_rng(seed)
    chosen = torch.as_tensor(np.sort(generator.permutation(len(data.labels))[: case.samples]))
    images, labels = data.images[chosen], data.labels[chosen]
    every = np.arange(case.samples)
    if case.forget:
        forget = np.sort(generator.permutation(every)[: case.forget])
    else:
        forget = np.flatnonzero(labels.numpy() == seed % len(data.classes))
    classes = len(data.classes)
    plan = PoolPlan(images, labels, forget, classes, recipe=case.recipe, hidden=case.hidden, seed=seed)
    return plan, forget, np.setdiff1d(every, forget)


def train_all(
    plan: PoolPlan, forget: np.ndarray, retain: np.ndarray, wanted: Sequence[tuple[str, float, int]]
) -> dict[str, list[nn.Module]]:
    """Models by name; wanted: (name, share of the forget set kept, how many), each with a share of its own drawing."""
    generator = np.random.default_rng([plan.seed, 1])
    jobs = []
    for name, share, number in wanted:
        for _ in range(number):
            kept = generator.permutation(forget)[: round(share * len(forget))]
            jobs.append((name, np.sort(np.concatenate([retain, kept])), int(generator.integers(2**31))))
    found: dict[str, list[nn.Module]] = {name: [] for name, _, _ in wanted}
    for size in sorted({len(part) for _, part, _ in jobs}):
        group = [job for job in jobs if len(job[1]) == size]
        models = train_nets(plan, [part for _, part, _ in group], [seed for _, _, seed in group])
        for (name, _, _), model in zip(group, models, strict=True):
            found[name].append(model)
    return found


def masked(plan: PoolPlan, model: nn.Module, forget: np.ndarray, retain: np.ndarray) -> nn.Module:
    """The model with the forgotten class hidden at the output."""
    label = int(plan.labels[int(forget[0])])
    parts = {"forget": plan.samples(forget), "retain": plan.samples(retain), "validation": plan.samples(retain[:1])}
    request = Request("class", (str(label),))
    task = UnlearningTask(
        request=request,
        number_of_classes=plan.number_of_classes,
        fresh_model=plan.fresh_model,
        recipe=plan.recipe,
        classes=(label,),
        **parts,
    )
    return unlearn("mask_logit", model, task)


def margins(case: Case, seed: int, kept_share: float) -> dict[str, np.ndarray]:
    """Margins [models, n] of a seed's references and candidates by "<name>/<reading>"."""
    plan, forget, retain = draw(case, seed)
    wanted = [("references", 0.0, REFERENCES), ("originals", 1.0, ORIGINALS), ("kept", kept_share, KEPT)]
    models = train_all(plan, forget, retain, [*wanted, *((name, share, 1) for name, share in SHARES.items())])
    if not case.forget:
        models[MASKED] = [masked(plan, models["untouched"][0], forget, retain)]
    data = (plan.samples(forget), plan.samples(retain))
    found = {
        name: [margins_of(model, *data, plan.number_of_classes) for model in each] for name, each in models.items()
    }
    return {
        f"{name}/{reading}": np.stack([each[reading] for each in group])
        for name, group in found.items()
        for reading in verdict.READINGS
    }


def cached(case: Case, seed: int, kept_share: float, folder: Path) -> dict[str, np.ndarray]:
    """`margins`, read from `folder` where the same code made them before."""
    code = [MEASURE_VERSION, STACKED_VERSION, TRAINING_VERSION, NETS_VERSION]
    about = {"case": dataclasses.asdict(case), "kept": kept_share, "models": (REFERENCES, ORIGINALS, KEPT, SHARES)}
    key = records.key_of(**about, seed=seed, code=code)
    path = folder / f"{key[:24]}.npz"
    found = read_arrays(path, key)
    if found is None:
        found = margins(case, seed, kept_share)
        write_arrays(path, key, found)
    return found


def judge(found: dict[str, np.ndarray], rule: verdict.Rule) -> list[dict[str, object]]:
    """One row for each candidate of a seed: its outcome, and trace, error and power by reading."""
    rows = []
    names = [*SHARES, *([MASKED] if f"{MASKED}/{verdict.OUTPUTS}" in found else [])]
    for name in names:
        readings = {
            reading: verdict.read(
                found[f"{name}/{reading}"][0],
                *(found[f"{part}/{reading}"] for part in ("references", "originals", "kept")),
            )
            for reading in verdict.READINGS
        }
        decided = verdict.decide(readings, rule, images=found[f"{name}/{verdict.OUTPUTS}"].shape[1])
        row: dict[str, object] = {"candidate": name, "outcome": decided.outcome}
        for reading, each in decided.findings.items():
            row |= {f"{reading}_trace": each.value, f"{reading}_error": each.standard_error}
            row[f"{reading}_power"] = each.power
        rows.append(row)
    return rows


def rates(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Share of each outcome by case and candidate, with a Clopper-Pearson interval over seeds.

    verdicts: columns case, candidate, outcome. Returns: case, candidate, outcome, share, low, high, seeds.
    """
    rows = []
    for (case, candidate), group in verdicts.groupby(["case", "candidate"], sort=False):
        for outcome in OUTCOMES:
            found = intervals.clopper_pearson(int((group["outcome"] == outcome).sum()), len(group))
            rows.append([case, candidate, outcome, found.value, found.low, found.high, found.n])
    return pd.DataFrame(rows, columns=["case", "candidate", "outcome", "share", "low", "high", "seeds"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0."""
    parser = argparse.ArgumentParser(prog="python benchmarks/deletion_error_rates.py", description=__doc__)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--first", type=int, default=SEEDS.start, help="first seed")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    parser.add_argument("--cache", type=Path, default=paths.RESULTS / "deletion" / "error_rates")
    options = parser.parse_args(arguments)
    set_threads(1)
    rule, begun, rows = verdict.load_rule(), time.process_time(), []
    # Seeds first: a run that was stopped has seen all cases alike.
    for seed in range(options.first, options.first + options.seeds):
        for name in options.cases:
            found = cached(CASES[name], seed, rule.kept_share, options.cache)
            rows += [{"case": name, "seed": seed, **row} for row in judge(found, rule)]
        print(f"seed {seed}: {time.process_time() - begun:.0f} s of processor time", flush=True)
    verdicts = pd.DataFrame(rows)
    verdicts = verdicts.sort_values(["case", "seed"], kind="stable", ignore_index=True)
    table = rates(verdicts)
    options.out.mkdir(parents=True, exist_ok=True)
    verdicts.round(5).to_csv(options.out / "verdicts.csv", index=False)
    table.round(5).to_csv(options.out / "error_rates.csv", index=False)
    about = {"rule": rule.model_dump(), "references": REFERENCES, "originals": ORIGINALS, "kept": KEPT}
    about |= {
        "seeds": [options.first, options.first + options.seeds - 1],
        "source": datasets.load("cifar16", start="sample").source,
    }
    about |= {"cases": {name: dataclasses.asdict(CASES[name]) for name in options.cases}, **records.provenance()}
    (options.out / "provenance.json").write_text(json.dumps(about, indent=1) + "\n")
    print(table.pivot_table(index=["case", "candidate"], columns="outcome", values="share", sort=False).to_string())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
