"""Errors that a user can act on: what was wrong, what was expected, what to do next."""

import difflib
import math
from collections.abc import Iterable, Sequence


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


def first_few(words: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """The first of many words, and how many more there are."""
    left = [f"… and {len(words) - most:,} more"] if len(words) > most else []
    return separator.join([*words[:most], *left])


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Returns (does not raise) an error that lists the known names and the nearest one.

    Args: kind: what is named ("method", "data set", …). name: what was given, or a list of it. known: every valid name.
    """
    names, given = sorted(known), name if isinstance(name, list) else [name]
    nearest = [match for each in given[:10] for match in difflib.get_close_matches(str(each), names, n=1)]
    hints = [f" Did you mean {match!r}?" for match in nearest]
    wrong = first_few([repr(each) for each in given])
    listed = first_few([repr(each) if "," in each else each for each in names], 60)
    return UnknownNameError(f"Unknown {kind} {wrong}.{''.join(hints)} Known: {listed}.")


YES_NO = {"yes": "true", "true": "true", "on": "true", "no": "false", "false": "false", "off": "false"}


def meant(value: object) -> str:
    """What to write for a number, or for true or false, that came as text: YAML reads 1e-3, "0.1" and "no" as text.

    Returns: words to follow the value in a message; empty for anything else.
    """
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in YES_NO:
        return f", which is text (write {YES_NO[text]})"
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    mantissa, _, exponent = text.partition("e")
    written = f"{float(mantissa)}e{int(exponent):+d}" if exponent else mantissa
    return f", which is text (write {written if number % 1 else f'{number:.0f}'})"
