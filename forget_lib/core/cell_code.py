"""A digest of functions that stand in no file, such as those of a notebook's cells, for the keys of records."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from forget_lib.core.user_code import source_hash

MAIN = "__main__"
LIBRARY = __name__.split(".")[0]
PLAIN = (str, bytes, int, float, complex, bool, tuple, list, dict, set, frozenset, type(None))


def is_of_a_cell(function: Any) -> bool:
    """Whether it was defined in a notebook, or in the script that runs."""
    return getattr(function, "__module__", None) == MAIN


def cell_digest(function: Callable[..., Any]) -> str:
    """SHA-256 (hex, 16 digits) over the compiled code of a function and of all functions, classes and plain values that
    it uses and that were defined beside it, and over the modules that it uses; comments and layout do not count."""
    found: dict[int, None] = {}
    digest = hashlib.sha256()
    for part in _parts(inspect.unwrap(function), found):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def _parts(value: Any, found: dict[int, None]) -> Iterator[str]:
    """What a value adds to the digest; each function and class once."""
    if id(value) in found:
        return
    if isinstance(value, PLAIN):
        yield repr(sorted(map(repr, value)) if isinstance(value, set | frozenset) else value)
    elif isinstance(value, FunctionType) and is_of_a_cell(value):
        found[id(value)] = None
        yield repr((value.__defaults__, value.__kwdefaults__))
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        used = [value.__globals__[name] for name in sorted(_names(value.__code__)) if name in value.__globals__]
        for each in (value.__code__, *cells, *used):
            yield from _parts(each, found)
    elif isinstance(value, type) and is_of_a_cell(value):
        found[id(value)] = None
        yield from (base.__qualname__ for base in value.__bases__)
        for each in (*value.__bases__, *_attributes(vars(value))):
            yield from _parts(each, found)
    elif isinstance(value, ModuleType | FunctionType | type):
        module = value.__name__ if isinstance(value, ModuleType) else value.__module__
        if module.split(".")[0] != LIBRARY:  # the library states versions of its own
            yield source_hash(module)
    elif isinstance(value, CodeType):
        yield repr((value.co_code, value.co_names, value.co_varnames))
        for constant in value.co_consts:
            yield from _parts(constant, found)


def _attributes(content: Mapping[str, Any]) -> Iterator[Any]:
    """What a class defines, without what Python adds to it."""
    for name, value in content.items():
        if name not in ("__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"):
            yield name
            yield getattr(value, "__func__", value)


def _names(code: CodeType) -> set[str]:
    """Names that code uses, with those of the functions inside it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
