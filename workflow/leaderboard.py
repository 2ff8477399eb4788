"""The leaderboard: fixed problems, on which every method is tuned, run, measured and ranked in the same way.

    python -m workflow.leaderboard submit finetune            # a method of the library
    python -m workflow.leaderboard submit my_method.py        # a plugin (code: FORGET_TRUST_CODE=1, or --trust-code)
    python -m workflow.leaderboard verify [record.json]       # repeats a part of a record and compares
    python -m workflow.leaderboard table                      # makes the shipped table again from its records

What is measured: accuracy on forget, retain and test set, membership attacks, how soon the forgotten is learned again,
and for a class whether its logit still singles it out. Each is compared with the mean of two retrained models of the
same seed; the score of a run is the largest of these gaps, so that what looks well in one respect alone does not win.
"""

import argparse
import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forget_lib.core import paths
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.core.files import write_text
from forget_lib.core.paths import sha256_of
from forget_lib.study import plugins
from forget_lib.study import records as results
from forget_lib.unlearning import get_method
from workflow.leaderboard_runs import PROBLEMS, Problem, library_hash, references, run_once, tuned
from workflow.leaderboard_table import (
    REFERENCE,
    SCHEMA,
    gaps_of,
    leaderboard,
    ranks,
    read_entries,
    read_entry,
    shown,
    write_leaderboard,
)

SEEDS = 5
"""Draw and seed i of each problem, for i below this."""
RUN = 2
"""Seed of the method; 0 and 1 are those of the two retrained models that all are compared with."""
TOLERANCE = 0.1
"""Measures of a repeated run may differ by this much where its bits differ: another machine or version trains another
model by the same rule, and two retrained models differ by about as much."""


# --- submit -----------------------------------------------------------------------------------------------------------


def resolve(method: str) -> tuple[str, dict[str, Any]]:
    """The method's name, and what its record says of its code; a plugin is loaded.

    Raises: NotTrustedError; ForgetError for a plugin that is broken or has not exactly one method.
    """
    if not method.endswith(".py"):
        return method, {"file": "", "sha256": "", "module": results.code_of(get_method(method))}
    (plugin,) = plugins.load([method])
    names = plugin.names.get("method", ())
    if plugin.faults or len(names) != 1:
        faults = " ".join(plugin.faults) or f"it has {len(names)} methods; a submission is one."
        raise ForgetError(f"{plugin.path.name} cannot be submitted: {faults}")
    digest = sha256_of(plugin.path)
    return names[0], {"file": plugin.path.name, "sha256": digest, "module": digest[:16]}


def submit(
    method: str,
    root: Path = paths.RESULTS / "leaderboard",
    *,
    run: int = RUN,
    problems: Mapping[str, Problem] = PROBLEMS,
    seeds: int = SEEDS,
) -> dict[str, Any]:
    """Tunes, runs and measures a method on all problems; returns its record, which is also written.

    Args: method: a name, or a plugin's path. root: folder of records and of models kept for the next submission.
    Raises: ForgetError and its kinds for what cannot be submitted at all.
    """
    name, code = resolve(method)
    entry, begun = get_method(name), time.process_time()
    found: dict[str, Any] = {}
    for title, problem in problems.items():
        chosen = tuned(name, problem, root)
        print(f"{title}: {name} with {chosen['settings'] or 'its defaults'}", flush=True)
        runs = []
        for seed in range(seeds):
            scenario = problem.scenario(root, seed, seed)
            one = run_once(scenario, name, chosen["settings"], run)
            reference = references(scenario)
            gaps = gaps_of(one["measured"], reference, one["status"])
            runs.append({"draw": seed, "seed": seed, "run": run} | one | {"reference": reference, "gaps": gaps})
            worst = max(gaps, key=gaps.__getitem__)
            print(f"  seed {seed}: {one['status']}, worst gap {gaps[worst]:.3f} ({worst})", flush=True)
        data = {"data_checksum": scenario.data.checksum, "source": scenario.data.source}
        found[title] = dataclasses.asdict(problem) | data | chosen | {"runs": runs}
    record = {"schema": SCHEMA, "method": name, "title": entry.title, "paper": entry.paper, "code": code}
    record |= {"library": library_hash(), "problems": found, "cpu_seconds": round(time.process_time() - begun, 1)}
    record |= results.provenance()
    path = root / "records" / f"{name}.json"
    write_text(path, json.dumps(record, indent=None, separators=(",", ":")) + "\n")
    return record


def place(record: Mapping[str, Any], root: Path) -> str:
    """Where a record ranks among the reference results; the table with it is written as CSV and LaTeX."""
    shipped = read_entries()
    others = [entry for entry in shipped if entry["method"] != record["method"]]
    table = write_leaderboard([*others, record], root)
    row = table.loc[record["method"]]
    lines = [shown(table).to_string(), ""]
    lines.append(
        f"{record['method']} ranks {row['rank']} of {len(table)} (95 % interval {row['low']} to {row['high']})."
    )
    if len(others) < len(shipped):
        twin = ranks(shipped).drop(columns="score").loc[record["method"]]
        lines.append(
            f"The reference record of {record['method']} ranks {twin['rank']} ({twin['low']} to {twin['high']})."
        )
    lines.append(
        "score: mean over the problems of the largest gap to retraining, 0 is best. * does not apply there and"
    )
    lines.append("counts as doing nothing. cost: in retrainings.")
    return "\n".join(lines)


# --- verify -----------------------------------------------------------------------------------------------------------


def verify(record: Mapping[str, Any], problem: str, seed: int, *, code: str = "") -> str:
    """Repeats one run of a record from nothing and compares.

    Args: problem, seed: which run. code: the plugin's file, for a record of one.
    Returns: a sentence that says how alike they are.
    Raises: DataError if they differ, or the code or the data are not those of the record.
    """
    name, about = resolve(code or record["method"])
    if code and about["sha256"] != record["code"]["sha256"]:
        raise DataError(f"{about['file']} is not the code of the record (its SHA-256 differs).")
    stored = record["problems"][problem]
    fields = {key: stored[key] for key in ("dataset", "model", "request", "recipe")}
    given = next(run for run in stored["runs"] if run["seed"] == seed)
    with tempfile.TemporaryDirectory(prefix="forget-verify-") as folder:
        scenario = Problem(**fields).scenario(Path(folder), given["draw"], given["seed"])
        if scenario.data.checksum != stored["data_checksum"]:
            raise DataError(
                f"{problem}: the data are not those of the record (their checksum differs); submit it again."
            )
        again = run_once(scenario, name, stored["settings"], given["run"])
    title = f"{record['method']}, {problem}, seed {seed}"
    if again["status"] != given["status"]:
        raise DataError(f"{title}: the record says {given['status']}, repeated it is {again['status']}.")
    if again["parameters"] == given["parameters"] and again["measured"] == given["measured"]:
        return f"{title}: the same bits."
    apart = gaps_of(again["measured"], [given["measured"]], again["status"])
    worst = max(apart, key=apart.__getitem__)
    if apart[worst] > TOLERANCE:
        changed = "" if record["library"] == library_hash() else " The library's code has changed since."
        raise DataError(f"{title}: {worst} differs by {apart[worst]:.3f} from the record.{changed} Submit it again.")
    return f"{title}: not the same bits, but within {TOLERANCE} ({worst} differs by {apart[worst]:.3f})."


def drawn(records: Sequence[Mapping[str, Any]], by: str) -> tuple[Mapping[str, Any], str, int]:
    """A record, a problem and a seed, drawn by a text such as a date or a commit."""
    generator = random.Random(by)
    record = generator.choice(sorted(records, key=lambda each: each["method"]))
    problem = generator.choice(sorted(record["problems"]))
    return record, problem, generator.choice(record["problems"][problem]["runs"])["seed"]


# --- command line -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m workflow.leaderboard", description=(__doc__ or "").split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    one = commands.add_parser("submit", help="rank a method on the fixed problems")
    one.add_argument("method", help="a name, or a plugin's path")
    one.add_argument("--root", type=Path, default=paths.RESULTS / "leaderboard", help="where records and models go")
    one.add_argument("--run", type=int, default=RUN, help=f"seed of the method; the reference results have {RUN}")
    two = commands.add_parser("verify", help="repeat a part of a record and compare")
    two.add_argument("record", nargs="?", type=Path, help="left out: one of the reference results, drawn")
    two.add_argument("--code", default="", help="the plugin's file, for a record of one")
    two.add_argument("--problem", choices=list(PROBLEMS))
    two.add_argument("--seed", type=int)
    two.add_argument("--by", default=time.strftime("%Y-%m-%d"), help="text that draws what is left out; today")
    commands.add_parser("table", help="make the shipped table again from its records")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; a mistake that the user can mend is one message and exit status 1."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "submit":
            record = submit(given.method, given.root, run=given.run)
            print(place(record, given.root))
            print(f"Record: {given.root}/records/{record['method']}.json; table: {given.root}/leaderboard.csv and .tex")
        elif given.command == "verify":
            records = [read_entry(given.record)] if given.record else read_entries()
            chosen, problem, seed = drawn(records, given.by)
            problem, seed = given.problem or problem, seed if given.seed is None else given.seed
            print(f"Repeating {chosen['method']}, {problem}, seed {seed} (drawn by {given.by}) ...", flush=True)
            print(verify(chosen, problem, seed, code=given.code))
        else:
            write_leaderboard(read_entries(), REFERENCE)
            print(shown(leaderboard(read_entries())).to_string())
    except ForgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
