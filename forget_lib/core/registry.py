"""Things of one kind by name (methods, attacks, data sets, models): a name stands for one thing only."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from forget_lib.core.errors import ForgetError, unknown

Thing = TypeVar("Thing")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Source:
    """Where a method or an attack comes from.

    Attributes: paper: authors, venue and year, several with "; " between them. arxiv: a number for each paper, "-" for
        one that is not there. status: V, read in the official code; P, from the paper alone; M, unverified; empty for
        what is our own.
    """

    paper: str = ""
    arxiv: str = ""
    status: str = ""


def source(paper: str, *, arxiv: str = "", status: str = "") -> Callable[[Function], Function]:
    """Says where the function below comes from; stands below `@method` or `@attack`."""

    def note(function: Function) -> Function:
        vars(function)["source"] = Source(paper, arxiv, status)
        return function

    return note


class Registry(dict[str, Thing]):
    """A dictionary that a decorator fills.

    Things of its own files are imported when they are asked for: `in` and `names` know them before, `items` and
    `values` have only what was asked for. Reading a name that is not there raises an UnknownNameError with the nearest
    ones.
    """

    def __init__(
        self, kind: str, package: str = "", parts: Collection[str] = (), files: Mapping[str, str] = {}
    ) -> None:
        """kind: what is named, for messages ("method", "data set"). package: each file in it holds the thing of its
        name, but for `parts`, which hold none. files: more names, each with the module that registers it."""
        super().__init__()
        self.kind = kind
        found = pkgutil.iter_modules(sys.modules[package].__path__) if package else ()
        self.files = {module.name: f"{package}.{module.name}" for module in found if module.name not in parts}
        self.files |= files
        self._of_files: dict[str, Thing] = {}
        self._modules = dict(self.files)

    @property
    def names(self) -> list[str]:
        """All names: of the files, then what was added from elsewhere."""
        return [*self.files, *(name for name in self if name not in self.files)]

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
        if self.files.get(name) == module:
            self._of_files[name] = thing

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.files

    def get(self, name: str, default: Any = None) -> Any:
        """The thing of that name, or the default."""
        if name in self:
            return self[name]
        return default

    def __missing__(self, name: str) -> Thing:
        if name in self.files:
            importlib.import_module(self.files[name])
            if name in self._of_files:  # also where somebody took it out of the dictionary
                self[name] = self._of_files[name]
                return self[name]
        raise unknown(self.kind, name, self.names)
