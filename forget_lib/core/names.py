"""What configs name: own data `own:digits.csv?size=28`, models `torchvision.models:resnet18?size=64`, requests."""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from forget_lib.core.errors import ForgetError, first_few, unknown
from forget_lib.core.paths import find, shown

OWN = "own:"
Augmentation = Literal["none", "shift", "flip_shift", "alternating"]
AUGMENTATIONS = get_args(Augmentation)
"""How training images can be changed from batch to batch."""
DIGITS, LONGEST = 6, 40
"""Hex digits that tell data sets or models of one name apart, and the most characters before them."""
LISTED = ("class", "person", "family", "indices")
"""Kinds of request that a list can stand behind."""


def composed(name: str) -> str:
    """The name with each accent in one character with its letter (NFC), where some programs write two."""
    return unicodedata.normalize("NFC", name)


def is_own(name: str) -> bool:
    """Whether a name of a data set or a model leads out of the registries, to files or code of the user's."""
    return ":" in name


def is_code(base: str) -> bool:
    """Whether a name without options is `package.module:function` or `path/file.py:function`, and no file or folder."""
    looks = re.fullmatch(r"([A-Za-z_][\w.]*|.*\.py):[A-Za-z_][\w.]*", base) is not None
    return looks and not find(base).exists()


def split_options(text: str) -> tuple[str, dict[str, Any]]:
    """`what?option=value&option=value` as what comes before the question mark and the options, values read as YAML.
    Raises: ForgetError for an option without a value, or given twice."""
    base, _, rest = text.partition("?")
    options: dict[str, Any] = {}
    for part in filter(None, rest.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise ForgetError(f"{text!r}: {part!r} is not option=value; write for example {base}?size=32.")
        if key in options:
            raise ForgetError(f"{text[:200]!r}: {key} is given twice; leave one of them out.")
        try:
            options[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ForgetError(f"{text[:200]!r}: the value of {key} cannot be read ({value[:200]!r}).") from error
    return base, options


def public_name(text: str) -> str:
    """The name without the folders of its paths, which are nobody else's business; for records."""
    base, mark, options = text.partition("?")
    if base.startswith(OWN) and not is_code(base.removeprefix(OWN)):  # a folder's name may hold a colon
        base = OWN + Path(base.removeprefix(OWN)).name
    base = re.sub(r"[^=&?:]*/", "", base)
    # Other options may hold a slash that belongs to no path, as names of classes do.
    options = re.sub(r"(^|&)(weights=|[^=&]+=(?=[/~]))[^&]*/", r"\1\2", options)
    return base + mark + options


def plain_name(text: str) -> str:
    """The name of the user's file, folder or function, as one word: `digits`, `resnet18`. Others may have the same."""
    base = text.removeprefix(OWN).partition("?")[0]
    name = base.rpartition(":")[2] if is_code(base) else Path(_resolved(base)).name
    stem = re.sub(r"\.(csv|npz)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.]+", "_", stem)[:LONGEST].strip("._") or "own"


def seen_from(base: Path, path: str) -> str:
    """A path as it is seen from the folder `base`, absolute."""
    return os.path.abspath(os.path.join(base, os.path.expanduser(path)))


def located_name(text: str, base: Path) -> str:
    """The name with its paths as they are seen from the folder `base`; a registered name or a module stays as it is."""
    if not is_own(text):
        return text
    what, options = _placed(text, lambda path: seen_from(base, path))
    prefix = OWN if text.startswith(OWN) else ""
    return prefix + what + ("?" + "&".join(options) if options else "")


def short_name(text: str) -> str:
    """A name for folders, keys, tables and figures: a registered name as it is, else `digits_3f9a1c`.

    The hex digits belong to the place where the data or the model lie, and to the options: data sets of one name in
    two folders, two sizes of one data set, and a folder called `mnist` beside the registered data set stay apart.
    """
    if not is_own(text):
        return text
    base, options = _placed(text, _resolved)
    identity = "\0".join([base, *sorted(options)])
    return f"{plain_name(text)}_{hashlib.sha256(identity.encode()).hexdigest()[:DIGITS]}"


def _placed(text: str, place: Callable[[str], str]) -> tuple[str, list[str]]:
    """The name without `own:` and its options, with each path in them put through `place`."""
    base, _, options = text.removeprefix(OWN).partition("?")
    module, _, function = base.rpartition(":")
    if not is_code(base) or os.path.exists(place(base)):
        base = place(base)
    elif module.endswith(".py"):
        base = f"{place(module)}:{function}"
    parts = filter(None, options.split("&"))
    return base, [f"weights={place(part[8:])}" if part.startswith("weights=") else part for part in parts]


def _resolved(path: str) -> str:
    """Where a path leads; within the repository as seen from there, so that it is the same in a copy of it."""
    found = find(path)
    with suppress(OSError, ValueError):
        found = found.resolve()
    return shown(found)


def request_text(request: str | Mapping[str, Any]) -> str:
    """A request in one line, as `parse_request` reads it: `{person: ["Doe, Jane"]}` becomes `person:["Doe, Jane"]`.
    Raises: ForgetError for what is neither text nor one kind with a list of names."""
    if isinstance(request, str):
        return request
    kind, names = next(iter(request.items())) if isinstance(request, Mapping) and len(request) == 1 else ("", None)
    if not isinstance(names, list) or not names:
        raise ForgetError(
            f"The request {request!r} is neither kind:what nor one kind with a list, {{class: [cat, dog]}}."
        )
    if kind not in LISTED:
        raise unknown("kind of request with a list", kind, LISTED)
    wanted = int if kind == "indices" else str
    odd = [name for name in names if not isinstance(name, wanted) or isinstance(name, bool)]
    if odd:  # YAML reads 010 as eight and no as false
        advice = "expected whole numbers" if kind == "indices" else "write names that look like numbers in quotes"
        raise ForgetError(f"The request for {kind} holds {first_few([repr(each) for each in odd])}; {advice}.")
    return f"indices:{','.join(map(str, names))}" if kind == "indices" else listed_request(kind, names)


def listed_request(kind: str, names: Sequence[str]) -> str:
    """The text of a request whose names may hold anything."""
    return f"{kind}:{json.dumps(list(names), ensure_ascii=False)}"
