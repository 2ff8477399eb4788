"""From a profile's config to the list of jobs: one notebook, one set of parameters, what must be done before.

    python -m workflow.plan workflow/config/study.yaml [PART …] [--runs 3]

checks a config and the names of parts before anything is run.
"""

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

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.core.files import read_notebook
from forget_lib.core.names import request_text, short_name
from forget_lib.core.paths import REPOSITORY, data_folder, find, shown
from forget_lib.study.chosen import FOLDER, digest_of, read_settings, settings_file
from workflow import commands
from workflow.config_check import Config, Resources, Scenario, read_config

DATA, BASELINE, FIGURES, OVERVIEW = "01_data", "02_train_baseline", "08_figures", "00_overview"
CLAIMS, NOTICES = "11_published_claims", "08a_notices"
DELETION = "10_deletion_request"
POOLS, SHARD = "07b_reference_models", "07a_train_references"
READY = ("references", "retrained", "methods")
"""Work of a big scenario that jobs before the last one can do, in this order."""


@dataclass(frozen=True)
class Job:
    """One run of a notebook.

    Attributes: notebook: its name without suffix. name: of its page. parameters: values by name. after: keys of the
        jobs that come first. part: the scenario it belongs to, a target of its own; empty for what is about all.
        resources: what a cluster must give it. ready: what of its work the jobs before it have done, of `READY`.
    """

    notebook: str
    name: str
    parameters: Mapping[str, Any]
    after: tuple[str, ...] = ()
    part: str = ""
    resources: Mapping[str, int] = field(default_factory=Resources().model_dump)
    ready: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Notebook and page."""
        return f"{self.notebook}/{self.name}"


def absent(config: Config) -> list[str]:
    """A line for each scenario that needs data which are not there: never fetched, for they show real people."""
    how = "{0} is left out: nothing is in {1}; ./run_all.sh data {2} fetches it, or data/README.md says how by hand"
    places = {name: data_folder() / scenario.needs for name, scenario in config.scenarios.items() if scenario.needs}
    return [how.format(name, shown(place), place.name) for name, place in places.items() if not _has_files(place)]


def present(config: Config) -> Config:
    """The config without the scenarios whose data are not there."""
    scenarios = config.scenarios.items()
    stay = {name: each for name, each in scenarios if not each.needs or _has_files(data_folder() / each.needs)}
    return config.model_copy(update={"scenarios": stay})


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def plan(config: Config) -> dict[str, Job]:
    """All jobs of a profile by key, each after those that it needs.

    Raises: ForgetError for a config that would write two things into one record or one page.
    """
    config = with_plugins(first_runs(present(config)))
    # Notebooks run in their own folder, so a path relative to it stays the same wherever the repository lies.
    common = {"profile": config.profile, "results": f"../{results_folder(config)}"}
    jobs: dict[str, Job] = {}
    records: dict[tuple[str, ...], tuple[Job, dict[str, Any]]] = {}
    for job in _jobs(config, common):
        _check_records(job, records)
        if jobs.setdefault(job.key, job) != job:
            raise ForgetError(f"Two different jobs would be called {job.key}; rename a scenario of the config.")
    # Pages about all: side by side, and with what is no part of the figures beside them, for each is a minute in which
    # the other cores would have nothing left to do.
    every = tuple(jobs)
    measured = tuple(key for key in every if jobs[key].notebook not in (DATA, DELETION, NOTICES))
    last = [
        Job(FIGURES, "figures", common, measured),
        Job(OVERVIEW, "overview", common, every),
    ]
    return jobs | {job.key: job for job in last}


def _jobs(config: Config, common: Mapping[str, Any]) -> Iterator[Job]:
    """All jobs but the pages about all."""
    common = dict(common)
    if config.datasets:
        yield Job(DATA, "data", common | {"start": config.start, "datasets_shown": config.datasets})
    baselines: dict[str, str] = {}
    for name, scenario in config.scenarios.items():
        yield from _scenario_jobs(config, name, scenario, common, baselines)
    for path in config.deletion:
        # As seen from the folder of the notebooks, in which they run.
        asked = {"request": path if Path(path).is_absolute() else f"../{path}"}
        yield Job(DELETION, _plain(Path(path).stem), common | asked, part="deletion")
    if config.claims.seeds:
        tried = {"start": config.start, "seeds": config.claims.seeds}
        yield Job(CLAIMS, "claims", common | tried, part="claims")
    if config.notices.draws:
        # Its nets are its own: it only has to be done before the overview.
        about = {key: common[key] for key in ("profile", "results")} | {"draws": config.notices.draws}
        yield Job(NOTICES, "notices", about, part="notices")


def _records(job: Job) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The records that a job writes, and what each is made by: the original's, and those of the methods."""
    given = job.parameters
    if not {"dataset", "model", "draw", "seed"} <= set(given):
        return
    names = (short_name(given["dataset"]), short_name(given["model"]))
    record = (*names, f"draw {given['draw']}", f"seed {given['seed']}")
    yield record, {key: given.get(key) for key in ("recipe", "start", "device")}
    for name, settings in given.get("methods", {}).items():
        made_by = {"attacks": given.get("attacks"), "settings": settings}
        yield (*record, given.get("request", ""), name), made_by


def _check_records(job: Job, known: dict[tuple[str, ...], tuple[Job, dict[str, Any]]]) -> None:
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


def first_runs(config: Config) -> Config:
    """The config with at most `runs` draws, seeds and people in turn in each scenario, where it has that key.

    The first ones are kept, so that a later run with more of them finds these done.
    """
    most = config.runs
    if most is None:
        return config
    scenarios = {}
    for name, given in config.scenarios.items():
        changes: dict[str, Any] = {"draws": given.draws[:most], "seeds": given.seeds[:most]}
        if "in_turn" in given.parameters.model_fields_set:
            in_turn = min(most, given.parameters.in_turn)
            changes["parameters"] = given.parameters.model_copy(update={"in_turn": in_turn})
        scenarios[name] = given.model_copy(update=changes)
    claims = config.claims.model_copy(update={"seeds": config.claims.seeds[:most]})
    return config.model_copy(update={"scenarios": scenarios, "claims": claims})


def with_plugins(config: Config) -> Config:
    """The config with the plugins' methods, and their attacks on logits, in every scenario that lists any.

    Raises: NotTrustedError where code is not trusted. What is broken in a plugin is printed, and left out.
    """
    if not config.plugins:
        return config
    from forget_lib.study import plugins  # here, so that Snakemake need not import PyTorch

    methods, attacks = plugins.with_plugins(config.plugins, {}, [])
    scenarios = {}
    for name, given in config.scenarios.items():
        changes: dict[str, Any] = {}
        if "methods" in given.model_fields_set:
            changes["methods"] = {**methods, **given.methods}
        if "attacks" in given.model_fields_set:
            changes["attacks"] = list(dict.fromkeys([*given.attacks, *attacks]))
        scenarios[name] = given.model_copy(update=changes)
    return config.model_copy(update={"scenarios": scenarios})


def plugin_files(config: Config) -> list[str]:
    """The plugins that are there, as absolute paths: what jobs depend on and load."""
    return [str(path.resolve()) for path in map(find, config.plugins) if path.is_file()]


def _scenario_jobs(
    config: Config, name: str, scenario: Scenario, common: Mapping[str, Any], baselines: dict[str, str]
) -> Iterator[Job]:
    """The jobs of one scenario; `baselines` remembers, over scenarios, which original models have a job."""
    given = scenario.model_dump(exclude_unset=True)
    fixed = {**common, "start": scenario.start or config.start, "device": scenario.device or config.device}
    fixed |= {key: given[key] for key in ("dataset", "model", "recipe") if key in given}
    own = {key: given[key] for key in ("methods", "attacks") if key in given} | given.get("parameters", {})
    part, needs = scenario.part or name, scenario.resources.model_dump()
    each_with_each = [(draw, seed) for draw in scenario.draws for seed in scenario.seeds]
    # Paired, an interval over runs holds the spread of both at the price of one.
    pairs = zip(scenario.draws, scenario.seeds, strict=True) if scenario.paired else each_with_each
    for draw, seed in pairs:
        parameters = fixed | {"draw": draw, "seed": seed}
        if scenario.notebook == POOLS:  # the pool has coins of its own, and its nets are small
            parameters = {key: value for key, value in parameters.items() if key not in ("draw", "device")}
        after: tuple[str, ...] = ()
        if scenario.shared_original:
            text = json.dumps(parameters, sort_keys=True)
            if text not in baselines:
                names = f"{short_name(scenario.dataset)}-{short_name(scenario.model)}"
                title = _plain(f"{names}-draw{draw}-seed{seed}")
                baselines[text] = f"{BASELINE}/{title}"
                yield Job(BASELINE, title, parameters, part=part, resources=needs)
            after = (baselines[text],)
        titles: set[str] = set()
        for request in map(request_text, scenario.requests):
            title = _plain("-".join(filter(None, [name, request, f"draw{draw}", f"seed{seed}"])))
            if title in titles:  # names that differ in what a file's name cannot hold
                title += f"-{hashlib.sha256(request.encode()).hexdigest()[:6]}"
            titles.add(title)
            asked = parameters | ({"request": request} if request else {})
            job = Job(scenario.notebook, title, asked | own, after, part, needs)
            yield from _shared(job, scenario.shards, scenario.groups)


def _shared(job: Job, shards: int, groups: int) -> Iterator[Job]:
    """The job, after those that do a part of its work, so that many workers share a big scenario.

    `shards` jobs each train a part of the references of its pool. A pool of the most memorised samples is made of two;
    the shards train the first, by which samples are scored. Then one job runs the retrained models, against which every
    method is measured, and `groups` jobs each run a part of the methods; the job itself then finds all records on disk
    and only draws the page.
    """
    pool, methods = job.parameters.get("pool", {}), job.parameters.get("methods", {})
    if shards > 1:
        parts = [_shard(job, pool, shard, shards) for shard in range(shards)]
        yield from parts
        ready = () if pool.get("request") == "most_memorised" else READY[:1]
        job = replace(job, after=(*job.after, *(part.key for part in parts)), ready=ready)
    if groups > 1 and methods:
        first = _with_methods(job, "retrained", {})
        yield first
        chosen = [list(methods)[number::groups] for number in range(min(groups, len(methods)))]
        some = [
            _with_methods(job, f"group{number}", {name: methods[name] for name in names})
            for number, names in enumerate(chosen, 1)
        ]
        some = [replace(each, after=(first.key,), ready=READY[:2]) for each in some]
        yield from some
        job = replace(job, after=tuple(each.key for each in some), ready=READY)
    yield job


def _shard(job: Job, pool: Mapping[str, Any], shard: int, shards: int) -> Job:
    of_the_page = {"methods", "attacks", "request", "draw", "device"}
    given = {key: value for key, value in job.parameters.items() if key not in of_the_page}
    given["pool"] = {**pool, "shard": [shard, shards]}
    return replace(job, notebook=SHARD, name=f"{job.name}-shard{shard + 1}", parameters=given)


def _with_methods(job: Job, title: str, methods: Mapping[str, Any]) -> Job:
    return replace(job, name=f"{job.name}-{title}", parameters={**job.parameters, "methods": methods})


def _plain(text: str) -> str:
    """A name for files: letters, digits and . + _ - only."""
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", text)


def settings_digest(job: Job) -> str:
    """What stands for all chosen settings that a job may read: those of its data set and net; for the page of claims
    all there are; empty where none are read. A page made with others is made again."""
    if job.notebook == CLAIMS:
        pattern = "*.yaml"
    elif "methods" in job.parameters:
        pattern = settings_file(job.parameters["dataset"], job.parameters["model"], "*", "*").name
    else:
        return ""
    about = {path.name: read_settings(path) for path in sorted(FOLDER.glob(pattern))}
    parts = ("rule", "checksum", "kind", "methods", "no_acceptable_setting")
    return digest_of({name: [content.get(part) for part in parts] for name, content in about.items()})


def results_folder(config: Config) -> str:
    """The results folder of a profile, relative to the repository."""
    return f"{config.results}/{config.profile}"


@lru_cache
def library_files(notebook: str) -> list[str]:
    """The files of forget_lib that a notebook depends on, directly or through others, relative to the repository.

    Args: notebook: its name without suffix.
    """
    cells = read_notebook(REPOSITORY / "notebooks" / f"{notebook}.ipynb")["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    code = "\n".join(line for line in lines if not line.startswith(("%", "!")))
    needed = {name for module in _named_in(code) for name in imported_modules(module)}
    return sorted(str(path.relative_to(REPOSITORY)) for path in map(_file_of, needed) if path)


@lru_cache
def imported_modules(module: str) -> frozenset[str]:
    """The modules of forget_lib that `module` imports, directly or through others, itself included."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        path = _file_of(name)
        if name not in seen and path is not None:
            seen.add(name)
            todo += _named_in(path.read_text(encoding="utf-8"))
    return frozenset(seen)


@lru_cache
def _named_in(code: str) -> tuple[str, ...]:
    """The modules of forget_lib that code names in its imports.

    A package's __init__ counts only where its own names are imported, so that one method does not depend on all others.
    """
    named: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if _file_of(name)]
            named += modules if len(modules) == len(inner) else [node.module, *modules]
    return tuple(name for name in named if name.split(".")[0] == "forget_lib")


@lru_cache
def _file_of(module: str) -> Path | None:
    base = REPOSITORY.joinpath(*module.split("."))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in files if path.is_file()), None)


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


def planned(config: str | Path, parts: Sequence[str] = (), runs: int | None = None) -> dict[str, Job]:
    """Checks a config file and the names of parts; returns the jobs of these parts, or all.

    Args: runs: as the config's key of that name.
    Raises: ForgetError for what is wrong with them.
    """
    checked = read_config(config, runs)
    jobs = plan(checked)
    known = {job.part for job in jobs.values()} - {""}
    for part in parts:
        without = [line for line in absent(checked) if line.startswith(f"{part} ")]
        if part not in known and without:
            raise ForgetError(f"{without[0]}.")
        if part not in known:
            raise unknown("part of the study", part, known)
    check_methods(jobs)
    for job in jobs.values():
        if not (REPOSITORY / "notebooks" / f"{job.notebook}.ipynb").is_file():
            raise ForgetError(f"{config} asks for notebook {job.notebook}, which is not there.")
    return {key: job for key, job in jobs.items() if not parts or job.part in parts}


def check(config: Path, parts: Sequence[str] = (), *, runs: int | None = None) -> None:
    """Check a config and the names of parts."""
    planned(config, parts, runs)


if __name__ == "__main__":
    sys.exit(commands.main("workflow.plan", [check]))
