"""Things of one kind by name (methods, attacks, data sets, models): a name stands for one thing only."""

from collections.abc import Callable
from typing import Any, TypeVar

from forget_lib.core.errors import ForgetError, unknown

Thing = TypeVar("Thing")


class Registry(dict[str, Thing]):
    """A dictionary that a decorator fills.

    Reading a name that is not there raises an UnknownNameError with the nearest ones. `in`, `get`, `pop` and setting an
    item are those of any dictionary.
    """

    def __init__(self, kind: str) -> None:
        """kind: what is named, for messages ("method", "data set")."""
        super().__init__()
        self.kind = kind
        self._modules: dict[str, str] = {}

    def register(self, name: str, thing: Thing, function: Callable[..., Any]) -> None:
        """Adds a thing that `function` makes or does.

        The module that took a name may take it again, as a notebook's cell does that is run twice.
        Raises: ForgetError if another module has taken it.
        """
        module = getattr(function, "__module__", "")
        if name in self and self._modules.get(name) != module:
            raise ForgetError(f"{self.kind.capitalize()} {name!r} exists already; choose another name.")
        self[name] = thing
        self._modules[name] = module

    def __missing__(self, name: str) -> Thing:
        raise unknown(self.kind, name, self)
