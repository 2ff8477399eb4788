"""Attacks on forgetting, from weak to strong: can somebody tell which samples were trained on?"""

# ruff: noqa: F401 (what an attack and its caller import from here)
import sys
from types import ModuleType

import pandas as pd

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


class _Room(ModuleType):
    """This room under the name that `forget_lib.attacks()` calls: a package cannot share it with a function."""

    def __call__(self) -> pd.DataFrame:
        """The attacks: what each gives on a retrained model, and the models it needs."""
        rows = [(each.name, each.title, each.null, each.needs, each.paper) for each in map(get_attack, list_attacks())]
        return pd.DataFrame(rows, columns=["name", "title", "null", "needs", "paper"])


sys.modules[__name__].__class__ = _Room
