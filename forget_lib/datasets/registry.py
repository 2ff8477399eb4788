"""Data sets by name: `@dataset(name)` above a function that returns an `ImageData`."""

import pkgutil
from collections.abc import Callable

from forget_lib.core.errors import unknown
from forget_lib.core.names import OWN
from forget_lib.core.registry import Registry
from forget_lib.datasets.image_data import ImageData

START_STEPS = ("local", "official", "mirror", "sample")
"""Steps of the data chain, in the order in which they are tried."""
FILES = {
    "cifar10": ("cifar10", "cifar10_part", "cifar16"),
    "lfw": ("lfw",),
    "mnist": ("mnist", "mnist14"),
    "mufac": (
        *("mufac", "mufac128", "mufac_clean", "mufac_published"),
        *("synthetic_faces", "synthetic_faces32", "synthetic_identity"),
    ),
    "orl": ("orl",),
    "utkface": ("utkface",),
}
"""Files of this room and the data sets in them: a file is imported when one of its data sets is asked for."""
DATASETS: Registry[Callable[[str], ImageData]] = Registry(
    "data set", files={name: f"{__package__}.{file}" for file, names in FILES.items() for name in names}
)


def dataset(name: str) -> Callable[[Callable[[str], ImageData]], Callable[[str], ImageData]]:
    """Registers `function(start) -> ImageData` under `name`; `start` is the first step of the data chain to try."""

    def register(function: Callable[[str], ImageData]) -> Callable[[str], ImageData]:
        DATASETS.register(name, function, function)
        return function

    return register


def list_datasets() -> list[str]:
    """Names of the registered data sets, sorted."""
    return sorted(DATASETS.names)


def load(name: str, start: str = "local") -> ImageData:
    """Loads a data set by name.

    Args: name: a registered name, or `own:PATH` for a user's own images (see `datasets.own`). start: see START_STEPS.
    Raises: UnknownNameError for a name or a step that does not exist; DataError if no step gives intact data.
    """
    if name.startswith(OWN):
        return pkgutil.resolve_name(f"{__package__}.own:load_own")(name)  # not imported before somebody has own data
    function = DATASETS[name]
    if start not in START_STEPS:
        raise unknown("first step of the data chain", start, START_STEPS)
    return function(start)
