"""Attacks on forgetting, from weak to strong: can somebody tell which samples were trained on?"""

from forget_lib.attacks import audit, identity, neurips, people, per_sample, relearning, two_snapshot
from forget_lib.attacks.identity import ProbeInput
from forget_lib.attacks.neurips import FamilyInput
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

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackInput",
    "FamilyInput",
    "ProbeInput",
    "References",
    "WeightsInput",
    "attack",
    "audit",
    "get_attack",
    "identity",
    "list_attacks",
    "neurips",
    "people",
    "per_sample",
    "population",
    "relearning",
    "summarise",
    "two_snapshot",
    "validate",
]
