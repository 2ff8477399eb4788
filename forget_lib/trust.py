"""Code of the user's: functions named as `package.module:function` or `path/file.py:function`, run only if trusted."""

import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from forget_lib.datasets.sources import locate, one_line
from forget_lib.errors import ForgetError

VARIABLE = "FORGET_TRUST_CODE"
PREFIX = "forget_plugin_"
"""Modules made of a user's file are called this and the file's name."""


class NotTrustedError(ForgetError):
    """Code of the user's that was named, but not said to be trusted."""


def trust_code(on: bool = True) -> None:
    """Lets code of the user's run, in this process and in those that it starts; the same as `--trust-code`."""
    os.environ[VARIABLE] = "1" if on else "0"


def is_trusted() -> bool:
    """Whether code of the user's may run here."""
    return os.environ.get(VARIABLE, "0") == "1"


def require_trust(what: str) -> None:
    """Raises NotTrustedError, with the reason and what to do, unless code may run. what: a file or module:function."""
    if not is_trusted():
        raise NotTrustedError(
            f"{what} is code: it runs with all of your rights, may read and change your files, and sees the data. "
            "If you wrote it or have read it, run the same command with --trust-code (in Python: "
            "forget_lib.trust.trust_code())."
        )


def load_file(path: Path) -> ModuleType:
    """The module of a Python file, run once however often it is asked for, and again when the file has changed.

    Raises: NotTrustedError; ForgetError that names the file, the line and the reason if it cannot be run.
    """
    require_trust(path.name)
    path = path.resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ForgetError(f"{path.name} cannot be read: {one_line(error)}.") from error
    name = (
        PREFIX
        + "".join(c if c.isalnum() else "_" for c in path.stem)
        + f"_{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    )
    digest = hashlib.sha256(source).hexdigest()
    known = sys.modules.get(name)
    if known is not None and known.__dict__.get("__source_hash__") == digest:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__source_hash__"] = digest
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ForgetError(f"{path.name} cannot be run: {where(error, path)}.") from error
    return module


def where(error: BaseException, path: Path | str) -> str:
    """An error in one line, with the last line of the user's file that it passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"line {lines[-1]}, " if lines else ""
    return f"{place}{type(error).__name__}: {one_line(error).removeprefix(f'{type(error).__name__}: ')}".rstrip(".: ")


def failure(error: BaseException) -> str:
    """An error of code that can raise anything in one line: its type and text, and the last line outside the installed
    packages that it passed."""
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
    frames = traceback.extract_tb(error.__traceback__)
    passed = [frame for frame in frames if not frame.filename.startswith((*installed, "<frozen"))]
    place = f" ({Path(passed[-1].filename).name}, line {passed[-1].lineno})" if passed else ""
    return f"{type(error).__name__}: {one_line(error).removeprefix(f'{type(error).__name__}: ').rstrip('.')}{place}"


def load_function(name: str, what: str) -> Callable[..., Any]:
    """The function that `package.module:function` or `path/file.py:function` names. what: for messages.

    Raises: NotTrustedError; ForgetError if there is no such module, file or function.
    """
    module_name, _, attribute = name.rpartition(":")
    if not module_name or not attribute:
        raise ForgetError(f"{name!r} is not package.module:function or path/file.py:function ({what}).")
    require_trust(name)
    if module_name.endswith(".py"):
        module = load_file(locate(module_name, what))
    else:
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # importing runs code, which can raise anything
            raise ForgetError(f"Module {module_name} cannot be imported ({what}): {one_line(error)}.") from error
    function: Any = module
    for part in attribute.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        shown = ", ".join(public[:20])
        raise ForgetError(f"{module_name} has no function {attribute} ({what}). It has: {shown}.")
    return function


def source_hash(name: str) -> str:
    """SHA-256 (hex, 16 digits) of the file behind `module:function` or of a file, for the key of a record."""
    module_name = name.rpartition(":")[0] or name
    if module_name.endswith(".py"):
        path: str | Path | None = locate(module_name, "code")
    else:
        try:
            spec = importlib.util.find_spec(module_name)
        except (ImportError, ValueError):  # made in memory, without a file
            spec = None
        path = spec.origin if spec is not None else None
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
