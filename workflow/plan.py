"""From a profile's config to the list of jobs: one notebook, one set of parameters, what must be done before.

    python workflow/plan.py workflow/config/study.yaml [PART …] [--runs 3]

checks a config and the names of parts before anything is run.
"""

import argparse
import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.files import read_notebook
from forget_lib.core.names import request_text, short_name
from forget_lib.core.paths import REPOSITORY
from forget_lib.study.chosen import FOLDER, settings_file
from workflow.config_check import check, read_config

DATA, BASELINE, FIGURES, OVERVIEW = "01_data", "02_train_baseline", "08_figures", "00_overview"
CLAIMS = "11_published_claims"
DELETION = "10_deletion_request"
POOLS, SHARD = "07b_reference_models", "07a_train_references"
TESTING = ("07_membership_inference", POOLS, "08_figures")
"""Notebooks that test for equality, with the margins that the config fixes."""
RESOURCES = {"mem_mb": 4000, "runtime": 240, "gpu": 0}
"""Megabytes, minutes and number of GPUs of a job; a scenario's `resources` says what it needs instead."""

READY = ("references", "retrained", "methods")
"""Work of a big scenario that jobs before the last one can do, in this order."""


@dataclass(frozen=True)
class Job:
    """One run of a notebook.

    Attributes: notebook: its name without suffix. name: of its page. parameters: values by name. after: keys of the
        jobs that come first. part: the scenario it belongs to, a target of its own; empty for what is about all.
        resources: what a cluster must give it, `RESOURCES` where nothing is said. ready: what of its work the jobs
        before it have done, of `READY`.
    """

    notebook: str
    name: str
    parameters: Mapping[str, Any]
    after: tuple[str, ...] = ()
    part: str = ""
    resources: Mapping[str, int] = field(default_factory=lambda: RESOURCES)
    ready: tuple[str, ...] = ()
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.notebook}/{self.name}")


def plan(config: Mapping[str, Any]) -> dict[str, Job]:
    """All jobs of a profile by key, each after those that it needs.

    Raises: ForgetError for a config that lacks something, has a key that nothing reads, or would write two things into
        one record.
    """
    check(config)
    config = with_plugins(first_runs(config))
    # Notebooks run in their own folder, so a path relative to it stays the same wherever the repository lies.
    common = {"profile": config["profile"], "results": f"../{results_folder(config)}"}
    jobs: dict[str, Job] = {}

    records: dict[tuple[Any, ...], tuple[Job, dict[str, Any]]] = {}

    def add(job: Job) -> str:
        _check_records(job, records)
        if job.key in jobs and jobs[job.key] != job:
            raise ForgetError(f"Two different jobs would be called {job.key}; rename a scenario of the config.")
        jobs[job.key] = job
        return job.key

    if config.get("datasets"):
        start = {"start": config["start"], "datasets_shown": list(config["datasets"])}
        add(Job(DATA, "data", common | start))
    baselines: dict[str, str] = {}
    for name, scenario in config["scenarios"].items():
        for job in _scenario_jobs(config, name, scenario, common, baselines):
            add(job)
    for path in config.get("deletion", []):
        # As seen from the folder of the notebooks, in which they run.
        asked = {"request": path if Path(path).is_absolute() else f"../{path}"}
        add(Job(DELETION, _plain(Path(path).stem), common | asked, part="deletion"))
    if config.get("claims"):
        add(Job(CLAIMS, "claims", common | {"start": config["start"], **config["claims"]}, part="claims"))
    every = tuple(jobs)
    # Pages about all: side by side, and with what is no part of the figures beside them, for each is a minute in which
    # the other cores would have nothing left to do.
    measured = tuple(key for key in every if jobs[key].notebook not in (DATA, DELETION))
    add(Job(FIGURES, "figures", common | _margins(config, FIGURES), measured))
    add(Job(OVERVIEW, "overview", common, every))
    return jobs


def _records(job: Job) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The records that a job writes, and what each is made by: the original's, and those of the methods."""
    given = job.parameters
    if not {"dataset", "model", "draw", "seed"} <= set(given):
        return
    record = (
        short_name(given["dataset"]),
        short_name(given["model"]),
        f"draw {given['draw']}",
        f"seed {given['seed']}",
    )
    yield record, {key: given.get(key) for key in ("recipe", "start", "device")}
    for name, settings in given.get("methods", {}).items():
        made_by = {"attacks": given.get("attacks"), "settings": settings}
        yield (*record, given.get("request", ""), name), made_by


def _check_records(job: Job, known: dict[tuple[Any, ...], tuple[Job, dict[str, Any]]]) -> None:
    """Adds the job's records to those known. Raises: ForgetError where another job would write another thing there."""
    for record, made_by in _records(job):
        other, before = known.setdefault(record, (job, made_by))
        differ = [key for key, value in made_by.items() if value != before[key]]
        if differ:
            raise ForgetError(
                f"{other.part} and {job.part} would write the same record ({', '.join(record)}), but differ in its "
                f"{' and '.join(differ)}. Give one of them another seed, or a config of its own."
            )


def urgency(jobs: Mapping[str, Job]) -> dict[str, int]:
    """What to start first, by key, the highest first.

    What the page of figures waits for goes before what can be made beside it. Of the former the last of the config goes
    first: a config goes from small nets to large ones, and a long job must not be the one that is left at the end.
    """
    waited = set(jobs[f"{FIGURES}/figures"].after)
    return {key: place + len(jobs) * (key in waited) for place, key in enumerate(jobs)}


def first_runs(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with at most `runs` draws, seeds and people in turn in each scenario, where it has that key.

    The first ones are kept, so that a later run with more of them finds these done.
    """
    most = config.get("runs")
    if most is None:
        return config
    if most < 1:
        raise ForgetError(f"runs must be a whole number of at least 1; got {most!r}.")
    scenarios = {}
    for title, given in config["scenarios"].items():
        scenario = scenarios[title] = dict(given)
        scenario |= {key: given[key][:most] for key in ("draws", "seeds") if key in given}
        if "in_turn" in given.get("parameters", {}):
            scenario["parameters"] = given["parameters"] | {"in_turn": min(most, given["parameters"]["in_turn"])}
    claims = {"claims": {"seeds": config["claims"]["seeds"][:most]}} if "claims" in config else {}
    return {**config, "scenarios": scenarios, **claims}


def with_plugins(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with the plugins' methods, and their attacks on logits, in every scenario that lists any.

    Raises: NotTrustedError where code is not trusted. What is broken in a plugin is printed, and left out.
    """
    if not config.get("plugins"):
        return config
    from forget_lib.study import plugins

    methods, attacks = plugins.with_plugins(config["plugins"], {}, [])
    scenarios = {}
    for title, given in config["scenarios"].items():
        scenario = scenarios[title] = dict(given)
        if "methods" in given:
            scenario["methods"] = methods | given["methods"]
        if "attacks" in given:
            scenario["attacks"] = list(dict.fromkeys([*given["attacks"], *attacks]))
    return {**config, "scenarios": scenarios}


def plugin_files(config: Mapping[str, Any]) -> list[str]:
    """The plugins that are there, as absolute paths: what jobs depend on and load."""
    given = [Path(path).expanduser() for path in config.get("plugins", [])]
    found = [next((each for each in (path, REPOSITORY / path) if each.is_file()), None) for path in given]
    return [str(path.resolve()) for path in found if path is not None]


def _scenario_jobs(
    config: Mapping[str, Any],
    name: str,
    scenario: Mapping[str, Any],
    common: Mapping[str, Any],
    baselines: dict[str, str],
) -> Iterator[Job]:
    """The jobs of one scenario; `baselines` remembers, over scenarios, which original models have a job."""
    fixed = dict(common)
    fixed |= {key: scenario.get(key, config[key]) for key in ("start", "device")}
    fixed |= {key: scenario[key] for key in ("dataset", "model", "recipe") if key in scenario}
    own = {key: scenario[key] for key in ("methods", "attacks") if key in scenario} | scenario.get("parameters", {})
    own |= _margins(config, scenario["notebook"])
    part = scenario.get("part", name)
    needs = {**RESOURCES, **_resources(name, scenario)}
    for draw, seed in _draws_and_seeds(name, scenario):
        parameters = fixed | {"draw": draw, "seed": seed}
        if scenario["notebook"] == POOLS:  # the pool has coins of its own, and its nets are small
            parameters = {key: value for key, value in parameters.items() if key not in ("draw", "device")}
        after: tuple[str, ...] = ()
        if scenario.get("shared_original", True):
            text = json.dumps(parameters, sort_keys=True)
            if text not in baselines:
                names = f"{short_name(scenario['dataset'])}-{short_name(scenario['model'])}"
                title = _plain(f"{names}-draw{draw}-seed{seed}")
                baselines[text] = f"{BASELINE}/{title}"
                yield Job(BASELINE, title, parameters, part=part, resources=needs)
            after = (baselines[text],)
        titles: set[str] = set()
        for request in map(request_text, scenario.get("requests", [""])):
            title = _plain("-".join(filter(None, [name, request, f"draw{draw}", f"seed{seed}"])))
            if title in titles:  # names that differ in what a file's name cannot hold
                title += f"-{hashlib.sha256(request.encode()).hexdigest()[:6]}"
            titles.add(title)
            asked = parameters | ({"request": request} if request else {})
            job = Job(scenario["notebook"], title, asked | own, after, part, needs)
            shards = list(_shards(job, scenario.get("shards", 1)))
            if shards:
                scored = job.parameters["pool"].get("request") == "most_memorised"  # by another pool than the shards'
                ready = () if scored else READY[:1]
                job = replace(job, after=(*after, *(shard.key for shard in shards)), ready=ready)
            yield from (*shards, *_grouped(job, scenario.get("groups", 1)))


def _resources(name: str, scenario: Mapping[str, Any]) -> Mapping[str, int]:
    given = scenario.get("resources", {})
    for key, value in given.items():
        if key not in RESOURCES:
            raise unknown(f"resource of scenario {name}", key, RESOURCES)
        if not isinstance(value, int) or value < 0:
            raise ForgetError(f"Resource {key} of scenario {name} must be a whole number of at least 0; got {value!r}.")
    return given


def _shards(job: Job, shards: int) -> Iterator[Job]:
    """Jobs that each train a part of the references of the job's pool; none for one shard or where there is no pool.

    A pool of the most memorised samples is made of two; the shards train the first, by which samples are scored.
    """
    pool = job.parameters.get("pool", {})
    most = pool.get("number", 16) // 2 if pool else 1
    if not 1 <= shards <= most:
        raise ForgetError(
            f"shards of {job.name} must be from 1 to {most}, half the number of its pool's references; got {shards}."
        )
    own = {"methods", "margins", "attacks", "request", "draw", "device"}  # of the page that the pool is for
    for shard in range(shards if shards > 1 else 0):
        given = {key: value for key, value in job.parameters.items() if key not in own}
        given["pool"] = {**pool, "shard": [shard, shards]}
        yield replace(job, notebook=SHARD, name=f"{job.name}-shard{shard + 1}", parameters=given)


def _grouped(job: Job, groups: int) -> Iterator[Job]:
    """The job, after `groups` jobs that each run a part of its methods, so that many workers share a big scenario.

    The first of all runs the retrained models, against which every method is measured; the job itself then finds all
    records on disk and only draws the page.
    """
    methods = dict(job.parameters.get("methods", {}))
    if groups < 1:
        raise ForgetError(f"groups must be a whole number of at least 1; got {groups!r}.")
    if groups == 1 or not methods:
        yield job
        return

    def some(title: str, chosen: list[str], after: tuple[str, ...], ready: tuple[str, ...]) -> Job:
        parameters = {**job.parameters, "methods": {name: methods[name] for name in chosen}}
        if job.parameters.get("pool"):  # the challenge takes methods together, and is left to the job itself
            parameters["pool"] = {**job.parameters["pool"], "challenge": {}}
        return replace(job, name=f"{job.name}-{title}", parameters=parameters, after=after, ready=ready)

    first = some("retrained", [], job.after, job.ready)
    shared = [
        some(f"group{number + 1}", list(methods)[number::groups], (first.key,), READY[:2])
        for number in range(min(groups, len(methods)))
    ]
    yield from (first, *shared, replace(job, after=tuple(each.key for each in shared), ready=READY))


def _margins(config: Mapping[str, Any], notebook: str) -> dict[str, Any]:
    return {"margins": dict(config["margins"])} if notebook in TESTING and "margins" in config else {}


def _draws_and_seeds(name: str, scenario: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Each draw with each seed, or, where the scenario is `paired`, the first with the first and so on: an interval
    over runs holds the spread of both, at the price of one."""
    draws, seeds = scenario.get("draws", [0]), scenario.get("seeds", [0])
    if not scenario.get("paired", False):
        return [(draw, seed) for draw in draws for seed in seeds]
    if len(draws) != len(seeds):
        raise ForgetError(f"Scenario {name} is paired, but has {len(draws)} draws and {len(seeds)} seeds.")
    return list(zip(draws, seeds, strict=True))


def _plain(text: str) -> str:
    """A name for files: letters, digits and . + _ - only."""
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", text)


def settings_files(job: Job) -> list[str]:
    """The files of tuned settings that a job may read, relative to the repository."""
    if "methods" not in job.parameters:
        return []
    pattern = settings_file(job.parameters["dataset"], job.parameters["model"], "*", "*").name
    return sorted(str(path.relative_to(REPOSITORY)) for path in FOLDER.glob(pattern))


def results_folder(config: Mapping[str, Any]) -> str:
    """The results folder of a profile, relative to the repository."""
    return f"{config.get('results', 'results')}/{config['profile']}"


@lru_cache
def library_files(notebook: str) -> list[str]:
    """The files of forget_lib that a notebook depends on, directly or through others, relative to the repository.

    Args: notebook: its name without suffix.
    """
    modules: set[str] = set()
    for cell in read_notebook(REPOSITORY / "notebooks" / f"{notebook}.ipynb")["cells"]:
        if cell["cell_type"] != "code":
            continue
        lines = "".join(cell["source"]).splitlines()
        tree = ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))
        for node in ast.walk(tree):
            # A name that is no module has no file, so that asking for it as well does no harm.
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = [module for module in modules if module.split(".")[0] == "forget_lib"]
    needed = {name for module in ours for name in imported_modules(module)}
    return sorted(_file_of(name) for name in needed)


def _source_file(module: str) -> Path | None:
    base = REPOSITORY.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@lru_cache
def _named_in(module: str) -> tuple[str, ...] | None:
    """The modules of forget_lib that a module names in its imports; None where it has no file."""
    path = _source_file(module)
    if path is None:
        return None
    tree = ast.parse(path.read_text())
    named: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("forget_lib"):
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            inner = [sub for sub in submodules if _source_file(sub) is not None]
            named += inner if len(inner) == len(submodules) else [node.module, *inner]
        elif isinstance(node, ast.Import):
            named += [alias.name for alias in node.names if alias.name.startswith("forget_lib")]
    return tuple(named)


@lru_cache
def imported_modules(module: str) -> frozenset[str]:
    """The modules of forget_lib that `module` imports, directly or through others, itself included.

    A package's __init__ counts only where its own names are imported, so that one method does not depend on all others.
    """
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        found = _named_in(name)
        if name not in seen and found is not None:
            seen.add(name)
            todo += found
    return frozenset(seen)


def _file_of(module: str) -> str:
    base = Path(*module.split("."))
    path = base.with_suffix(".py")
    return str(path if (REPOSITORY / path).is_file() else base / "__init__.py")


def check_methods(jobs: Mapping[str, Job]) -> None:
    """Raises: ForgetError with all methods that there are not, and all settings that a method does not take."""
    given = [(job.part, *each) for job in jobs.values() for each in job.parameters.get("methods", {}).items()]
    if not given:
        return
    from forget_lib.unlearning import METHODS  # here, so that Snakemake need not import PyTorch
    from forget_lib.unlearning.registry import setting_faults

    faults: dict[str, None] = {}
    for part, name, settings in given:
        found = setting_faults(name, settings or {}) if name in METHODS else [str(unknown("method", name, METHODS))]
        faults |= {f"Part {part}: {fault}": None for fault in found}
    if faults:
        raise ForgetError("\n".join(faults))


def main(config: str, parts: Sequence[str] = (), runs: int | None = None) -> dict[str, Job]:
    """Checks a config file and the names of parts; returns the jobs of these parts, or all.

    Args: runs: as the config's key of that name.
    Raises: ForgetError for what is wrong with them.
    """
    given = read_config(config)
    jobs = plan(given if runs is None or not isinstance(given, Mapping) else {**given, "runs": runs})
    known = {job.part for job in jobs.values()} - {""}
    for part in parts:
        if part not in known:
            raise unknown("part of the study", part, known)
    check_methods(jobs)
    for job in jobs.values():
        if not (REPOSITORY / "notebooks" / f"{job.notebook}.ipynb").is_file():
            raise ForgetError(f"{config} asks for notebook {job.notebook}, which is not there.")
    return {key: job for key, job in jobs.items() if not parts or job.part in parts}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--runs", type=int)
    try:
        main(**vars(parser.parse_args()))
    except ForgetError as mistake:
        sys.exit(str(mistake))
