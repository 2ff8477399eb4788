"""Errors that a user can act on: what was wrong, what was expected, what to do next."""

import difflib
from collections.abc import Iterable


class ForgetError(Exception):
    """A mistake that the user can mend; the message says how."""


class UnknownNameError(ForgetError):
    """A name that no registry or table holds."""


class DataError(ForgetError):
    """Data that are missing, damaged or do not fit together."""


class DivergedError(ForgetError):
    """Training or unlearning produced numbers that are not finite."""


class NotApplicableError(ForgetError):
    """A method or an attack that this scenario does not suit; the study records the reason and goes on."""


class TooFewError(ForgetError):
    """Too few samples, models or seeds for an estimate; the message says how many are needed."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Returns (does not raise) an error that lists the known names and the nearest one.

    Args: kind: what is named ("method", "data set", …). name: what was given. known: every valid name.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnknownNameError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
