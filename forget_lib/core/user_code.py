"""Code of the user's: functions named as `package.module:function` or `path/file.py:function`, run only if trusted."""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import locate, one_line

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
            "forget_lib.core.user_code.trust_code())."
        )


def load_file(path: Path) -> ModuleType:
    """The module of a Python file, run once however often it is asked for, and again when it, or a module of the user's
    that it imports, has changed. Modules beside it are found.

    Raises: NotTrustedError; ForgetError that names the file, the line and the reason if it cannot be run.
    """
    require_trust(path.name)
    path = path.resolve()
    try:
        digest = hash_of(own_files(path))
    except OSError as error:
        raise ForgetError(f"{path.name} cannot be read: {one_line(error)}.") from error
    name = (
        PREFIX
        + "".join(c if c.isalnum() else "_" for c in path.stem)
        + f"_{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    )
    known = sys.modules.get(name)
    if known is not None and known.__dict__.get("__source_hash__") == digest:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__source_hash__"] = digest
    _forget_changed(own_files(path))
    sys.modules[name] = module
    try:
        with _imports_from(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ForgetError(f"{path.name} cannot be run: {where(error, path)}.") from error
    return module


@contextmanager
def _imports_from(folder: Path) -> Iterator[None]:
    """Lets modules in a folder be imported, before all others, and afterwards, by functions when they are called, after
    all others. Nothing is written there."""
    written = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


# --- what a user's file depends on ------------------------------------------------------------------------------------


def own_files(path: Path, name: str = "") -> dict[Path, str]:
    """A user's file and those of all modules that it imports, directly or through others, in its folder or in another
    of the user's on Python's path, each with the module's name. Python, installed packages and forget_lib are left out.

    Args: name: of the file's module, where it is imported by one.
    """
    path = path.resolve()
    if _is_installed(path):
        return {path: name}
    root = path.parents[name.count(".") + (path.name == "__init__.py")]
    folders = [root, *(folder for folder in map(Path.resolve, map(Path, sys.path)) if not _is_installed(folder))]
    found: dict[Path, str] = {}
    todo = [(path, name)]
    while todo:
        file, module = todo.pop()
        if file not in found:
            found[file] = module
            todo += [place for imported in _imports_of(file, module) for place in _places(imported, folders)]
    return found


def _is_installed(path: Path) -> bool:
    packages = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(packages) or path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


def _imports_of(file: Path, module: str) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere, and of what it takes from them, which may be modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # running it says what is wrong
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            with contextlib.suppress(ImportError):
                source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield from (source, *(f"{source}.{alias.name}" for alias in node.names))


def _places(module: str, folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The files of a module and of the packages it lies in, with their names, in the first folder that has them."""
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0] == "forget_lib":
        return
    for folder in folders:
        bases = [(folder.joinpath(*parts[:end]), ".".join(parts[:end])) for end in range(1, len(parts) + 1)]
        files = [(file, name) for base, name in bases for file in (base.with_suffix(".py"), base / "__init__.py")]
        found = [(file.resolve(), name) for file, name in files if file.is_file()]
        if found:
            yield from found
            return


READ: dict[Path, bytes] = {}
"""What each of the user's files held when it was run last in this process."""


def _forget_changed(files: Mapping[Path, str]) -> None:
    """Where a file has changed since it was run, or another one has its module's name, all of them are run again."""
    now = {file: file.read_bytes() for file in files}
    loaded = {file: getattr(sys.modules.get(name), "__file__", None) for file, name in files.items()}
    changed = any(READ.get(file, content) != content for file, content in now.items())
    if changed or any(place is not None and Path(place).resolve() != file for file, place in loaded.items()):
        for name in files.values():
            sys.modules.pop(name, None)
    READ.update(now)


def where(error: BaseException, path: Path | str) -> str:
    """An error in one line, with the last line of the user's file that it passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"line {lines[-1]}, " if lines else ""
    return f"{place}{type(error).__name__}: {one_line(error).removeprefix(f'{type(error).__name__}: ')}".rstrip(".: ")


def failure(error: BaseException) -> str:
    """An error of code that can raise anything in one line: its type and text, and the last line outside the installed
    packages that it passed."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    passed = [(path.name, line) for path, line in frames if not _is_installed(path)]
    place = f" ({passed[-1][0]}, line {passed[-1][1]})" if passed else ""
    return f"{type(error).__name__}: {one_line(error).removeprefix(f'{type(error).__name__}: ').rstrip('.')}{place}"


@contextmanager
def naming_failure(words: str) -> Iterator[None]:
    """What code of the user's raises inside becomes a ForgetError that begins with `words` and names error and line;
    what the library itself raises, such as to end a run, goes on."""
    try:
        yield
    except Exception as error:  # the user's code can raise anything
        if type(error).__module__.startswith("forget_lib"):
            raise
        raise ForgetError(f"{words}: {failure(error)}.") from error


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
        _forget_changed(_files_of(module_name))
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


def _files_of(name: str) -> dict[Path, str]:
    """`own_files` of a file or of a module's; empty where there is no file, as of a module made in memory."""
    if name.endswith(".py"):
        return own_files(locate(name, "code"))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # made in memory, without a file
        spec = None
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return own_files(path, "" if name.startswith(PREFIX) else name) if path is not None and path.is_file() else {}


def source_hash(name: str) -> str:
    """SHA-256 (hex, 16 digits) of the file behind `module:function`, of a module or of a file, and of the user's files
    that it depends on, for the key of a record; empty where there is no file."""
    return hash_of(_files_of(name.rpartition(":")[0] or name))


def hash_of(files: Mapping[Path, str]) -> str:
    """SHA-256 (hex, 16 digits) of what `own_files` gave, wherever the files lie; empty where there are none."""
    parts = sorted((module, hashlib.sha256(file.read_bytes()).hexdigest()) for file, module in files.items())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16] if files else ""
