"""Attacks on forgetting, from weak to strong: can somebody tell which samples were trained on?"""

from forget_lib.attacks import population
from forget_lib.attacks.registry import AttackInput, References, attack, get_attack, list_attacks, validate

__all__ = ["AttackInput", "References", "attack", "get_attack", "list_attacks", "population", "validate"]
