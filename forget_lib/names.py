"""Names of a user's own data and models: `own:digits.csv?size=28`, `torchvision.models:resnet18?size=64`."""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from forget_lib.errors import ForgetError

OWN = "own:"


def is_own(name: str) -> bool:
    """Whether a name of a data set or a model leads out of the registries, to files or code of the user's."""
    return ":" in name


def split_options(text: str) -> tuple[str, dict[str, Any]]:
    """`what?option=value&option=value` as what comes before the question mark and the options, values read as YAML.

    Raises: ForgetError for an option without a value.
    """
    base, _, rest = text.partition("?")
    options: dict[str, Any] = {}
    for part in filter(None, rest.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise ForgetError(f"{text!r}: {part!r} is not option=value; write for example {base}?size=32.")
        try:
            options[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ForgetError(f"{text[:200]!r}: the value of {key} cannot be read ({value[:200]!r}).") from error
    return base, options


def public_name(text: str) -> str:
    """The name without the folders of its paths, which are nobody else's business; for records."""
    return re.sub(r"[^=&?:]*/", "", text)


def short_name(text: str) -> str:
    """A name for folders, tables and figures: `digits`, `resnet18`; a registered name stays as it is.

    Where there are options, four hex digits of them follow, so that two sizes of one data set do not share a folder.
    """
    if not is_own(text):
        return text
    public = public_name(text)
    base, _, options = public.partition("?")
    last = base.rsplit(":", 1)[-1]
    plain = re.sub(r"[^A-Za-z0-9_.]+", "_", Path(last).stem if text.startswith(OWN) else last) or "own"
    return f"{plain}_{hashlib.sha256(options.encode()).hexdigest()[:4]}" if options else plain
