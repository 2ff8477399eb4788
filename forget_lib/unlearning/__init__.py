"""Methods of unlearning by name: `unlearn("scrub", model, task)`."""

import importlib
import pkgutil

from forget_lib.unlearning.registry import (
    METHODS,
    Method,
    get_method,
    list_methods,
    method,
    unlearn,
    why_not_applicable,
)
from forget_lib.unlearning.task import UnlearningTask

# Each module registers its methods when it is imported; a new file is enough to add one. "basic" comes first in all
# tables.
for _name in ["basic", *sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "basic")]:
    importlib.import_module(f"{__name__}.{_name}")

__all__ = [
    "METHODS",
    "Method",
    "UnlearningTask",
    "get_method",
    "list_methods",
    "method",
    "unlearn",
    "why_not_applicable",
]
