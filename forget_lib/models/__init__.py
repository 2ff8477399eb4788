"""Nets, how they are trained, and nets of the user: `from forget_lib.models import model` registers one."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """`build`, `list_models` and `model` of `nets`, which brings PyTorch along; planning a run needs recipes alone."""
    if name in ("build", "list_models", "model"):
        return getattr(importlib.import_module(f"{__name__}.nets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
