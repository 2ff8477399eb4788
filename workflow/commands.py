"""Command lines made from functions: their parameters are the arguments, and what a user can mend is one message."""

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

from forget_lib.core.errors import ForgetError


def main(module: str, functions: Sequence[Callable[..., int | None]], arguments: Sequence[str] | None = None) -> int:
    """Runs the function that the command line names first, or the only one; returns the exit status.

    Of a function each parameter is an argument, and an option (`--name`) if it can be given by name alone; what is true
    or false is a flag. `Annotated[type, "text"]` gives an argument its help.
    """
    top = argparse.ArgumentParser(prog=f"python -m {module}", description=sys.modules[functions[0].__module__].__doc__)
    subparsers = top.add_subparsers(required=True) if len(functions) > 1 else None
    for function in functions:
        name, text = function.__name__.strip("_"), inspect.getdoc(function)
        parser = subparsers.add_parser(name, help=text, description=text) if subparsers else top
        parser.set_defaults(function=function)
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            _add(parser, parameter)
    given = vars(top.parse_args(arguments))
    try:
        return given.pop("function")(**given) or 0
    except ForgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped by the keyboard; the same command goes on from here", file=sys.stderr)
        return 130


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter) -> None:
    kind, text = parameter.annotation, ""
    if get_origin(kind) is Annotated:
        kind, text = get_args(kind)[:2]
    needed = parameter.default is parameter.empty
    options: dict[str, Any] = {"help": text} if needed else {"help": text, "default": parameter.default}
    if get_origin(kind) is Sequence:
        options["nargs"] = "*"
    if kind is bool:
        options["action"] = "store_true"
    else:
        options["type"] = next(iter(get_args(kind)), kind)  # of Sequence[T] and T | None the T
    if parameter.kind is parameter.KEYWORD_ONLY:
        parser.add_argument(f"--{parameter.name.replace('_', '-')}", required=needed, **options)
    else:
        parser.add_argument(parameter.name, **options | ({} if needed else {"nargs": options.get("nargs", "?")}))
