"""One hostile input: what it is, how it is given to the program, and what must not come of it."""

import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forget_lib.core.errors import ForgetError

UNSAFE_FOR_TERMINALS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Hostile:
    """An input of the generator.

    Attributes: row: of the table. name: of the test. feed: writes the input into an empty folder and gives it to the
        program. refused: it must end in a `ForgetError`; else the program may also take it, as plain data.
    """

    row: str
    name: str
    feed: Callable[[Path], Any]
    refused: bool = True


def canary(folder: Path) -> Path:
    """The file that is there if code of a hostile input was run: beside the folder, so that writing out shows too."""
    return folder.parent / "canary"


class Payload:
    """An object whose pickle, if it is opened, leaves the canary."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch '{canary(folder)}'"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def payload(folder: Path, protocol: int = 2) -> bytes:
    """The pickle of a `Payload`."""
    return pickle.dumps(Payload(folder), protocol)


def outcome(hostile: Hostile, outside: Path) -> str:
    """Feeds the input in `outside`/inside and returns "refused" or "handled".

    Raises: AssertionError where it was executed, wrote outside, passed although it must be refused, or ended in
        another error than a `ForgetError` with a message that a terminal can show.
    """
    folder = outside / "inside"
    folder.mkdir()
    result = "handled"
    try:
        hostile.feed(folder)
    except ForgetError as error:
        result, message = "refused", str(error)
        assert message.strip()
        assert not UNSAFE_FOR_TERMINALS.search(message), repr(message)
        assert len(message) < 20_000
    assert not canary(folder).exists(), "it was executed"
    assert [path.name for path in outside.iterdir()] == ["inside"], "something was written outside"
    assert result == "refused" or not hostile.refused, "it was taken"
    return result
