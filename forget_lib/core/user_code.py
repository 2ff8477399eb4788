"""Code of the user's: functions named as `package.module:function` or `path/file.py:function`, run only if trusted."""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import re
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


def require_trust(what: str) -> None:
    """Raises NotTrustedError, with the reason and what to do, unless code may run. what: a file or module:function."""
    if os.environ.get(VARIABLE, "0") != "1":
        raise NotTrustedError(
            f"{what} is code: it runs with all of your rights, may read and change your files, and sees the data. "
            "If you wrote it or have read it, run the same command with --trust-code (in Python: "
            "forget_lib.core.user_code.trust_code())."
        )


def load_file(path: Path) -> ModuleType:
    """The module of a Python file, run once however often it is asked for, and again when it, or a module of the user's
    that it imports, has changed. Modules beside it are found. Raises: NotTrustedError; ForgetError that names the file,
    the line and the reason if it cannot be run."""
    require_trust(path.name)
    path = path.resolve()
    try:
        digest = hash_of(own_files(path))
    except OSError as error:
        raise ForgetError(f"{path.name} cannot be read: {one_line(error)}.") from error
    place = hashlib.sha256(str(path).encode()).hexdigest()[:6]
    name = f"{PREFIX}{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{place}"
    known = sys.modules.get(name)
    if known is not None and vars(known).get("__source_hash__") == digest:
        return known
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    vars(module)["__source_hash__"] = digest
    sys.modules[name] = module
    try:
        with naming_failure(f"{path.name} cannot be run", path), running(path):
            importlib.invalidate_caches()
            _forget_changed(own_files(path))
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


IMPORTED: dict[Path, dict[str, ModuleType]] = {}
"""Modules that the files of a folder have imported, by name: they are in `sys.modules` only while one of these runs."""


@contextmanager
def running(path: Path | None) -> Iterator[None]:
    """Everything of a user's file runs within this: modules beside it are imported before all others, and those of
    other files are not seen. Nothing is written there. None: it is not in a file. Raises: ForgetError if it has
    imported a module that `own_files` does not know, so that no key can."""
    if path is None:
        yield
        return
    folder, own = path.parent, IMPORTED.setdefault(path.parent, {})
    before, places, written = dict(sys.modules), list(sys.path), sys.dont_write_bytecode
    for name in _hidden(folder):
        del sys.modules[name]
    sys.modules.update(own)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        folders = [folder, *(Path(place).resolve() for place in sys.path if place not in places)]
        changed = {name: module for name, module in sys.modules.items() if before.get(name) is not module}
        mine = {name: module for name, module in changed.items() if name in own or _is_in(folders, name, module)}
        new = {name: module for name, module in mine.items() if own.get(name) is not module}
        for name in mine:
            del sys.modules[name]
        sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})
        sys.path[:], sys.dont_write_bytecode = places, written
        own.update(mine)
    _require_known(path, new)


def _hidden(folder: Path) -> set[str]:
    """Names in `sys.modules` that code of a folder must not see: what lies elsewhere and is called like a module beside
    it, with all below it, and what files of other folders have imported."""
    beside = {entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or entry.is_dir()} - {"forget_lib"}
    places = {name: _place(sys.modules[name]) for name in beside & sys.modules.keys()}
    elsewhere = {name for name, place in places.items() if place is not None and not place.is_relative_to(folder)}
    hidden = {name for name in sys.modules if name.partition(".")[0] in elsewhere}
    for other, modules in IMPORTED.items():
        if other != folder:
            hidden |= {name for name, module in modules.items() if sys.modules.get(name) is module}
    return hidden


def _place(module: ModuleType) -> Path | None:
    """The file of a module, or the folder of a package without one; None for what is installed, or made in memory."""
    content = getattr(module, "__dict__", {})
    place = content.get("__file__") or next(iter(content.get("__path__", ())), None)
    if not isinstance(place, str) or _is_installed(Path(place).resolve()):
        return None
    return Path(place).resolve()


def _is_in(folders: Sequence[Path], name: str, module: ModuleType) -> bool:
    place = None if name.startswith(("forget_lib.", PREFIX)) else _place(module)
    return place is not None and any(place.is_relative_to(folder) for folder in folders)


def _require_known(path: Path, new: Mapping[str, ModuleType]) -> None:
    files = {file for file in map(_place, new.values()) if file is not None and file.suffix == ".py"}
    unknown = sorted(files - own_files(path).keys()) if files else []
    if unknown:
        for name in new:
            IMPORTED[path.parent].pop(name, None)
        raise ForgetError(
            f"{path} imports {unknown[0]}, and a change of that file could not be seen: old records would be used. "
            f"Import it by an import statement, from beside {path.name} and under a name that no module of Python has, "
            f"or start with PYTHONPATH={unknown[0].parent}."
        )


@functools.lru_cache(maxsize=256)
def _running(function: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """A function of a user's file that is called with the modules beside it; `code` is the file."""

    def called(*given: Any, **named: Any) -> Any:
        with running(path):
            return function(*given, **named)

    functools.update_wrapper(called, function, updated=())
    called.__dict__["code"] = path
    return called


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
        if isinstance(node, ast.Call) and _is_import(node) and node.args:
            named = getattr(node.args[0], "value", None)
            if isinstance(named, str):
                with contextlib.suppress(ImportError):
                    yield importlib.util.resolve_name(named, package)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            with contextlib.suppress(ImportError):
                source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield from (source, *(f"{source}.{alias.name}" for alias in node.names))


def imports_late(path: Path) -> bool:
    """Whether a file of the user's, or one of those that it imports, imports something in a function."""
    nodes = [node for file in own_files(path) for node in ast.walk(ast.parse(file.read_bytes()))]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    inner = [node for function in functions for node in ast.walk(function)]
    return any(isinstance(node, ast.Import | ast.ImportFrom) or _is_import(node) for node in inner)


def _is_import(node: ast.AST) -> bool:
    """Whether it calls `importlib.import_module` or `__import__`."""
    called = getattr(node, "func", None)
    return getattr(called, "attr", getattr(called, "id", "")) in ("import_module", "__import__")


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
        beside = [IMPORTED[folder] for folder in {file.parent for file in files} & IMPORTED.keys()]
        for modules in (sys.modules, *beside):
            for name in files.values():
                modules.pop(name, None)
    READ.update(now)


def failure(error: BaseException, path: Path | None = None) -> str:
    """An error of code that can raise anything in one line: its type and text, and the last line of the user's code
    that it passed: of the file where one is given, else of all that is not installed."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    passed = [(file, line) for file, line in frames if (file == path if path else not _is_installed(file))]
    place = f" ({passed[-1][0].name}, line {passed[-1][1]})" if passed else ""
    kind = type(error).__name__
    return f"{kind}: {one_line(error).removeprefix(f'{kind}: ')}".rstrip(".: ") + place


@contextmanager
def naming_failure(words: str, path: Path | None = None) -> Iterator[None]:
    """What code of the user's raises inside becomes a ForgetError that begins with `words` and names error and line
    (see `failure`); what the library itself raises, such as to end a run, goes on."""
    try:
        yield
    except Exception as error:  # the user's code can raise anything
        if type(error).__module__.startswith("forget_lib"):
            raise
        raise ForgetError(f"{words}: {failure(error, path)}.") from error


def load_function(name: str, what: str) -> Callable[..., Any]:
    """The function that `package.module:function` or `path/file.py:function` names. what: for messages. Raises:
    NotTrustedError; ForgetError if there is no such module, file or function."""
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
    return _running(function, Path(str(module.__file__))) if module_name.endswith(".py") else function


def _files_of(name: str) -> dict[Path, str]:
    """`own_files` of a file or of a module's; empty where there is no file, as of a module made in memory."""
    if name.endswith(".py"):
        return own_files(locate(name, "code"))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # made in memory, without a file
        spec = None
    beside = [modules[name].__file__ for modules in IMPORTED.values() if name in modules]
    places = [place for place in (getattr(spec, "origin", None), *beside) if place and Path(place).is_file()]
    known_as = "" if name.startswith(PREFIX) else name
    return {file: module for place in places for file, module in own_files(Path(place), known_as).items()}


def source_hash(name: str) -> str:
    """SHA-256 (hex, 16 digits) of the file behind `module:function`, of a module or of a file, and of the user's files
    that it depends on, for the key of a record; empty where there is no file."""
    return hash_of(_files_of(name.rpartition(":")[0] or name))


def hash_of(files: Mapping[Path, str]) -> str:
    """SHA-256 (hex, 16 digits) of what `own_files` gave, wherever the files lie; empty where there are none."""
    parts = sorted((module, hashlib.sha256(file.read_bytes()).hexdigest()) for file, module in files.items())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16] if files else ""
