"""Command lines made from functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pytest

from forget_lib.core.errors import ForgetError
from workflow import commands


def one(place: Annotated[Path, "where"], number: int = 3, *, names: Sequence[str] = (), loud: bool = False) -> int:
    """Take all kinds of arguments."""
    print(place, number, names, loud, type(place).__name__)
    return 7 if loud else 0


def two(*, wanted: Path | None = None, needed: str) -> None:
    """Fail."""
    raise ForgetError(f"{wanted} and {needed} do not fit")


def stopped() -> None:
    """Be stopped."""
    raise KeyboardInterrupt


def run(*arguments: str) -> int:
    return commands.main("tests.test_commands", [one, two, stopped], arguments)


def test_parameters_are_arguments_options_and_flags(capsys):
    assert run("one", "a/b") == 0
    assert run("one", "c", "5", "--names", "x", "y", "--loud") == 7
    assert capsys.readouterr().out.splitlines() == ["a/b 3 () False PosixPath", "c 5 ['x', 'y'] True PosixPath"]


def test_a_mistake_of_the_user_is_one_message_and_status_1(capsys):
    assert run("two", "--needed", "it", "--wanted", "here") == 1
    assert capsys.readouterr().err == "error: here and it do not fit\n"
    assert run("stopped") == 130


def test_help_names_every_command_and_what_is_missing_is_said(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    assert "Take all kinds of arguments." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run("two")
    assert "--needed" in capsys.readouterr().err
