"""Data sets by name: `@dataset(name)` above a function that returns an `ImageData`."""

from collections.abc import Callable

from forget_lib.core.errors import unknown
from forget_lib.core.names import OWN
from forget_lib.core.registry import Registry
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.own import load_own
from forget_lib.datasets.sources import START_STEPS

DATASETS: Registry[Callable[[str], ImageData]] = Registry("data set")


def dataset(name: str) -> Callable[[Callable[[str], ImageData]], Callable[[str], ImageData]]:
    """Registers `function(start) -> ImageData` under `name`; `start` is the first step of the data chain to try."""

    def register(function: Callable[[str], ImageData]) -> Callable[[str], ImageData]:
        DATASETS.register(name, function, function)
        return function

    return register


def list_datasets() -> list[str]:
    """Names of the registered data sets, sorted."""
    return sorted(DATASETS)


def load(name: str, start: str = "local") -> ImageData:
    """Loads a data set by name.

    Args: name: a registered name, or `own:PATH` for a user's own images (see `datasets.own`). start: first step of the
        chain: local, official, mirror or sample.
    Raises: UnknownNameError for a name or a step that does not exist; DataError if no step gives intact data.
    """
    if name.startswith(OWN):
        return load_own(name)
    function = DATASETS[name]
    if start not in START_STEPS:
        raise unknown("first step of the data chain", start, START_STEPS)
    return function(start)
