"""Types of settings: a method's signature says what may be given, and the registry checks it once."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]
"""A part of a whole, more than nothing of it."""
Weight = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]
CountOrNone = Annotated[int, Ge(0)]
Importance = dict[str, Tensor]
"""A tensor for each trained weight, by the weight's name."""
