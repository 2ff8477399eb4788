"""A profile's config, a model a section: what may stand there, what it means, and in which range.

A config may come from others, and its names become files and arguments, so all of it is checked before anything runs.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from forget_lib.core.errors import ForgetError
from forget_lib.core.names import request_text
from forget_lib.core.settings import Settings, faults_of, read_yaml
from forget_lib.models.recipe import recipe_faults

PLAIN = "[A-Za-z0-9][A-Za-z0-9._+-]*"
"""What becomes the name of a file or a rule."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return text


def _plain(name: str) -> str:
    if not re.fullmatch(PLAIN, name):
        raise ValueError("the name of a scenario is of letters, digits and . + _ - only")
    return name


def _request(request: Any) -> Any:
    try:
        request_text(request)
    except ForgetError as error:
        raise ValueError(str(error)) from error
    return request


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[str, Field(pattern=f"^{PLAIN}$")]
ScenarioName = Annotated[str, AfterValidator(_plain)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Request = Annotated[str | dict[str, list[Any]], AfterValidator(_request)]


class Claims(Settings):
    """The page about published claims."""

    seeds: list[Seed] = Field(default=[], description="each claim is tried with each; none: no such page")


class Notices(Settings):
    """The page about which measure notices what."""

    draws: int = Field(default=0, ge=0, description="forget sets, with four seeds each, 3 at least; 0: no such page")


class Resources(Settings):
    """What a cluster must give each job of a scenario."""

    mem_mb: int = Field(default=4000, ge=0, description="megabytes of memory")
    runtime: int = Field(default=240, ge=0, description="minutes")
    gpu: int = Field(default=0, ge=0, description="number of GPUs")


class Pool(Settings):
    """Reference models, each trained on a random half of the data, and the targets under attack."""

    samples: int = Field(ge=2, description="of the pool")
    evaluation: int = Field(ge=2, description="of these, the ones of which each target forgets half")
    held_out: int = Field(default=200, ge=0, description="for the population, and as many for validation")
    number: int = Field(default=16, ge=2, description="of reference models")
    targets: int = Field(default=8, ge=1, description="models under attack")
    doses: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=[0.1, 0.25, 0.5], description="shares of the forget set that targets are trained on, for the power"
    )
    request: Literal["random", "mislabelled", "most_memorised"] = Field(
        default="random", description="which samples are forgotten"
    )
    attacks: list[Text] = Field(default=[], description="attacks that rank samples, all if left out")
    measured: list[Text] = Field(default=["audit"], description="attacks that give numbers only")
    processes: int = Field(default=1, ge=1, description="that train the pool")


class Variance(Settings):
    """A crossed study of the spread: each draw with each seed, and several runs of each method."""

    draws: int = Field(ge=2, description="number of forget sets")
    seeds: int = Field(ge=2, description="number of originals")
    runs: int = Field(ge=1, description="of each method")
    methods: list[Text] = Field(min_length=1, description="names of methods")


class Parameters(Settings):
    """Further parameters of the notebook, by name; others than these are checked by the notebook."""

    model_config = ConfigDict(extra="allow")
    pool: Pool = Pool.model_construct()
    variance: Variance = Variance.model_construct()
    in_turn: int = Field(default=1, ge=1, description="pairs of draw and seed that one page runs")


class Scenario(Settings):
    """A part of the study: one notebook, run for each request, draw and seed."""

    notebook: str = Field(pattern="^[A-Za-z0-9_]+$", description="its name without .ipynb: letters, digits and _")
    dataset: Text = Field(description="a registered data set, or own:PATH")
    model: Text = Field(description="a registered model, or module:function")
    requests: list[Request] = Field(default=[""], description="what is to be forgotten: text or {kind: [name, …]}")
    draws: list[Seed] = Field(default=[0], description="numbers of the forget sets")
    seeds: list[Seed] = Field(default=[0], description="of the original's training")
    paired: bool = Field(default=False, description="the first draw with the first seed, and so on, not each with each")
    recipe: dict[str, Any] = Field(default={}, description="how the original is trained")
    methods: dict[str, dict[str, Any] | None] = Field(default={}, description="settings by method; {}: as tuned")
    attacks: list[Text] = Field(default=[], description="names of attacks, run on every model")
    parameters: Parameters = Parameters()
    shared_original: bool = Field(default=True, description="whether a page of its own trains the original")
    needs: Text = Field(default="", description="folder of fetched data; while it is empty the scenario is left out")
    part: Name = Field(default="", description="the part it is run with, its own name if left out: letters, digits")
    start: Text = Field(default="", description="as of the config, for this scenario")
    device: Text = Field(default="", description="as of the config, for this scenario")
    groups: int = Field(default=1, ge=1, description="jobs that share the methods of one request")
    shards: int = Field(default=1, ge=1, description="jobs that train a pool, at most half the number of its models")
    resources: Resources = Resources()


class Config(Settings):
    """All keys of a profile's config."""

    profile: Name = Field(description="name of the folder of results: letters, digits and . + _ - only")
    start: Text = Field(description="first step of the data chain: local, official, mirror or sample")
    device: Text = Field(description="cpu, cuda, mps or auto")
    scenarios: dict[ScenarioName, Scenario] = Field(description="scenarios by name")
    datasets: list[Text] = Field(default=[], description="data sets that the page about data shows")
    claims: Claims = Claims()
    notices: Notices = Notices()
    deletion: list[Text] = Field(default=[], description="files of deletion requests to answer")
    results: str = Field(default="results", pattern=r"^[\w ./+-]+$", description="folder of the results")
    plugins: list[Text] = Field(default=[], description="files with methods and attacks of your own")
    runs: int | None = Field(default=None, ge=1, description="at most so many draws, seeds and people of each scenario")


def read_config(path: str | Path, runs: int | None = None) -> Config:
    """A config from its YAML file; `runs` stands for its key of that name.

    Raises: ForgetError with all mistakes, each with its line.
    """
    written = read_yaml(path, "config", aliases=True)
    values = written.values
    if runs is not None and isinstance(values, Mapping):
        values = {**values, "runs": runs}
    faults = sorted(_faults(values), key=lambda fault: written.line(fault[0]))
    if faults:
        raise ForgetError("\n".join(str(written.error(name, words)) for name, words in faults))
    return Config.model_validate(values)


def checked(values: Any) -> Config:
    """A config from its values, where the file is not known. Raises: ForgetError with all mistakes."""
    faults = [words for _, words in _faults(values)]
    if faults:
        raise ForgetError("\n".join(faults))
    return Config.model_validate(values)


def _faults(values: Any) -> list[tuple[str, str]]:
    """All that is wrong with a config: dotted name of the key, and a sentence."""
    faults = list(faults_of(Config, values, "config").items())
    scenarios = values.get("scenarios") if isinstance(values, Mapping) else None
    for name, scenario in scenarios.items() if isinstance(scenarios, Mapping) else ():
        recipe = scenario.get("recipe") if isinstance(scenario, Mapping) else None
        if isinstance(recipe, Mapping):
            place = f"scenarios.{name}.recipe"
            faults += [(f"{place}.{key}", f"{place}: {words}") for key, words in recipe_faults(recipe).items()]
    return faults or list(_faults_between(Config.model_validate(values)))


def _faults_between(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong with one key beside another."""
    for name, scenario in config.scenarios.items():
        place, draws, seeds = f"scenarios.{name}", len(scenario.draws), len(scenario.seeds)
        if scenario.paired and draws != seeds:
            yield f"{place}.paired", f"{place} is paired, but has {draws} draws and {seeds} seeds"
        most = scenario.parameters.pool.number // 2 if "pool" in scenario.parameters.model_fields_set else 1
        if scenario.shards > most:
            words = f"expected at most {most}, half the number of its pool's references"
            yield f"{place}.shards", f"{place}.shards is {scenario.shards}; {words}"
