"""Attacks on forgetting, from weak to strong: can somebody tell which samples were trained on?"""

# ruff: noqa: F401 (what an attack and its caller import from here)
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
