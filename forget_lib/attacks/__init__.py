"""Attacks on forgetting, from weak to strong: can somebody tell which samples were trained on?"""

from forget_lib.attacks.parts.inputs import (
    AttackInput,
    FamilyInput,
    ProbeInput,
    References,
    Side,
    WeightsInput,
    validate,
)
from forget_lib.attacks.registry import ATTACKS, Attack, attack, get_attack, list_attacks, summarise
from forget_lib.core.registry import source

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackInput",
    "FamilyInput",
    "ProbeInput",
    "References",
    "Side",
    "WeightsInput",
    "attack",
    "get_attack",
    "list_attacks",
    "source",
    "summarise",
    "validate",
]
