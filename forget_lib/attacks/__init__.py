"""Attacks on forgetting, from weak to strong: can somebody tell which samples were trained on?"""

import importlib
import pkgutil

from forget_lib.attacks.neurips_score import FamilyInput
from forget_lib.attacks.parts.probes import ProbeInput
from forget_lib.attacks.registry import (
    ATTACKS,
    Attack,
    AttackInput,
    References,
    attack,
    get_attack,
    list_attacks,
    summarise,
    validate,
)
from forget_lib.attacks.relearning import WeightsInput

# Each module registers its attack when it is imported; a new file is enough to add one.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackInput",
    "FamilyInput",
    "ProbeInput",
    "References",
    "WeightsInput",
    "attack",
    "get_attack",
    "list_attacks",
    "summarise",
    "validate",
]
