"""A digest of functions that stand in no file, such as those of a notebook's cells, for the keys of records."""

import contextlib
import dis
import functools
import hashlib
import secrets
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import torch

from forget_lib.core.user_code import source_hash

MAIN, LIBRARY = "__main__", __name__.split(".")[0]
SCALARS = (str, bytes, int, float, complex, bool, type(None), type(...), type(NotImplemented), range, slice)
CONTAINERS = (tuple, list, dict, set, frozenset, MappingProxyType)
HOLDING = {
    CodeType: ("co_code", "co_names", "co_varnames", "co_consts"),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.cached_property: ("func",),
}
"""Attributes that say all that a value of this type does."""
ADDED = {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "_abc_impl"}
"""What Python adds to a class."""
Met = dict[int, tuple[int, Any]]
"""Number and value of all that was met, by its id; the values are held, since an id is given again."""


def is_of_a_cell(function: Any) -> bool:
    """Whether it was defined in a notebook, or in the script that runs."""
    return getattr(function, "__module__", None) == MAIN


def cell_digest(function: Callable[..., Any]) -> str:
    """SHA-256 (hex, 16 digits) over the compiled code of a function and over all that it uses: functions, classes and
    values by what they hold, modules by their files; comments and layout do not count.

    What cannot be read, such as a generator, an open file or a lock, makes each digest another one, so that no record
    is taken for one of the same code.
    """
    return _digest(function, {})


def _digest(value: Any, met: Met) -> str:
    digest = hashlib.sha256()
    for part in _parts(value, met):
        digest.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def _parts(value: Any, met: Met) -> Iterator[str]:
    """What a value adds to the digest; where it was met before, only its number."""
    yield type(value).__qualname__
    if type(value) in SCALARS:
        yield hashlib.sha256(value).hexdigest() if type(value) is bytes else repr(value)
    elif id(value) in met:
        yield f"again {met[id(value)][0]}"
    else:
        if type(value) is not tuple:  # equal constants may be one tuple or several
            met[id(value)] = len(met), value
        if type(value) in (set, frozenset):
            yield from sorted(_digest(each, dict(met)) for each in value)
        else:
            for each in _content(value):
                yield from _parts(each, met)


def _content(value: Any) -> Iterator[Any]:
    """The values that a value is made of."""
    if type(value) in CONTAINERS:
        yield len(value)
        yield from (each for item in value.items() for each in item) if hasattr(value, "items") else value
    elif isinstance(value, FunctionType):
        yield from _of_function(value)
    elif type(value) in HOLDING:
        yield from (getattr(value, name) for name in HOLDING[type(value)])
    elif isinstance(value, type) and is_of_a_cell(value):
        yield value.__bases__
        yield {name: content for name, content in vars(value).items() if name not in ADDED}
    elif isinstance(value, ModuleType | type):
        yield getattr(value, "__qualname__", "")
        yield _source(value.__name__ if isinstance(value, ModuleType) else value.__module__)
    elif isinstance(getattr(value, "__wrapped__", None), FunctionType):  # as lru_cache makes it
        yield value.__wrapped__
    else:
        yield from _as_pickled(value)


def _of_function(function: FunctionType) -> Iterator[Any]:
    module = function.__globals__.get("__name__")
    if module == MAIN or "<locals>" in function.__qualname__:
        yield from (function.__defaults__, function.__kwdefaults__, vars(function), function.__code__)
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty as yet
                yield cell.cell_contents
    if module != MAIN:
        yield from (function.__qualname__, _source(module), getattr(function, "__wrapped__", None))
        return
    names, modules = _names(function.__code__)
    yield from (function.__globals__[name] for name in sorted(names) if name in function.__globals__)
    yield from map(_source, sorted(modules))


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Global names that code uses, and modules that it imports, with those of the functions inside it."""
    steps = list(dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    modules = {step.argval for step in steps if step.opname == "IMPORT_NAME"}
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return names.union(*(each[0] for each in inner)), modules.union(*(each[1] for each in inner))


def _source(module: str | None) -> str:
    """A module's name and the digest of its files; another one each time where it has none to read."""
    top = (module or "").split(".")[0]
    if top == LIBRARY or top in sys.stdlib_module_names:  # the library states versions of its own
        return str(module)
    return f"{module} {source_hash(module or MAIN) or secrets.token_hex()}"


def _as_pickled(value: Any) -> Iterator[Any]:
    """What pickle would keep of an object: its class and what it holds; of a tensor its bytes."""
    try:
        if isinstance(value, torch.Tensor):
            held = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            yield from (str(value.dtype), tuple(value.shape), value.requires_grad, held)
            return
        kept = value.__reduce_ex__(4)
    except Exception:  # a sparse tensor; an object's own code can raise anything
        yield secrets.token_hex()
        return
    if isinstance(kept, str):  # known by its name alone
        module = getattr(value, "__module__", None) or type(value).__module__
        yield from (kept, _source(module) if module != MAIN else secrets.token_hex())
        return
    make, arguments, state, items, pairs = (*kept, None, None, None)[:5]
    yield from (make, arguments, state, list(items or ()), list(pairs or ()))
