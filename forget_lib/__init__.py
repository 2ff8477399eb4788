"""Forget: a reproducible study of machine unlearning for image classifiers.

From Python: `audit`, `train`, `unlearn`, `methods`, `attacks` and `Recipe`, each imported when it is first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
FROM_PYTHON = {
    "audit": "forget_lib.deletion.audit",
    "train": "forget_lib.deletion.by_name",
    "unlearn": "forget_lib.deletion.by_name",
    "methods": "forget_lib.deletion.by_name",
    "attacks": "forget_lib.attacks",
    "Recipe": "forget_lib.models.recipe",
}
"""What is called from Python, and the module that holds it."""


def __getattr__(name: str) -> Any:
    if name not in FROM_PYTHON:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(FROM_PYTHON)}")
    module = importlib.import_module(FROM_PYTHON[name])
    return getattr(module, name, module)  # the room of the attacks can be called itself


def __dir__() -> list[str]:
    return sorted([*globals(), *FROM_PYTHON])
