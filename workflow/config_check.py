"""A profile's config, read and checked: it may come from others, and its names become files and arguments."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forget_lib.core.errors import ForgetError, meant, unknown
from forget_lib.core.names import request_text
from forget_lib.core.settings import read_yaml, short
from forget_lib.models.recipe import recipe_faults

TEXT, LIST, KEYS, YES_NO, NUMBER = str, list, dict, bool, int
TOP = {
    "profile": TEXT, "start": TEXT, "device": TEXT, "datasets": LIST, "scenarios": KEYS, "claims": KEYS,
    "deletion": LIST, "margins": KEYS, "results": TEXT, "plugins": LIST, "runs": NUMBER,
}  # fmt: skip
SCENARIO = {
    "notebook": TEXT, "dataset": TEXT, "model": TEXT, "requests": LIST, "draws": LIST, "seeds": LIST, "recipe": KEYS,
    "methods": KEYS, "attacks": LIST, "parameters": KEYS, "shared_original": YES_NO, "part": TEXT, "start": TEXT,
    "device": TEXT, "paired": YES_NO, "groups": NUMBER, "shards": NUMBER, "resources": KEYS,
}  # fmt: skip
ITEMS: dict[str, Any] = {"draws": int, "seeds": int, "requests": (str, dict)}
"""What the entries of a list are, where it is not text."""
WORDS = {
    str: "text",
    list: "a list",
    dict: "keys with values",
    bool: "true or false",
    int: "a whole number",
    (str, dict): "text or {kind: [name, …]}",
}
PLAIN = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
SHAPES = {"profile": PLAIN, "part": PLAIN, "notebook": r"[A-Za-z0-9_]+", "results": r"[\w ./+-]+"}
"""What becomes the name of a file or a rule may hold these characters only."""


def read_config(path: str | Path) -> Any:
    """A config from its YAML file, as plain values. Raises: ForgetError with the line, see `read_yaml`."""
    return read_yaml(path, "config", aliases=True).values


def check(config: Any) -> None:
    """Raises: ForgetError with all that a config lacks, its unread keys, and values of another kind or out of range."""
    if not isinstance(config, Mapping):
        raise ForgetError("A config is a list of `key: value` lines; the first one is `profile: NAME`.")
    faults = [
        f"The config has no {key!r}. Give it with --configfile workflow/config/<profile>.yaml."
        for key in ("profile", "start", "device", "scenarios")
        if key not in config
    ]
    faults += _faults("the config", config, TOP)
    scenarios = config.get("scenarios")
    for name, scenario in scenarios.items() if isinstance(scenarios, Mapping) else ():
        faults += _scenario_faults(name, scenario)
    if faults:
        raise ForgetError("\n".join(faults))


def _scenario_faults(name: Any, scenario: Any) -> list[str]:
    if not isinstance(name, str) or not re.fullmatch(PLAIN, name):
        return [f"A scenario is called {short(name)}; a name is of letters, digits and . + _ - only."]
    where = f"scenario {name}"
    if not isinstance(scenario, Mapping):
        return [f"{where.capitalize()} of the config is {short(scenario)}; expected keys with values."]
    needed = ("notebook", "dataset", "model")
    faults = [f"Scenario {name} of the config has no {key!r}." for key in needed if key not in scenario]
    faults += _faults(where, scenario, SCENARIO)
    requests, recipe = scenario.get("requests"), scenario.get("recipe")
    for request in requests if isinstance(requests, list) else ():
        if not isinstance(request, Mapping):
            continue
        try:
            request_text(request)
        except ForgetError as error:
            faults.append(str(error))
    if isinstance(recipe, Mapping):
        faults += [f"{where.capitalize()}: {fault}" for fault in recipe_faults(recipe).values()]
    return faults


def _faults(where: str, given: Mapping[Any, Any], known: Mapping[str, type]) -> list[str]:
    """What is wrong with the keys and values of a part of the config; of each key the first that is."""
    return list(filter(None, (_fault(where, key, value, known) for key, value in given.items())))


def _fault(where: str, key: Any, value: Any, known: Mapping[str, type]) -> str:
    if key not in known:
        return str(unknown(f"key of {where}", key, known))
    kind = known[key]
    fits = isinstance(value, Mapping if kind is dict else kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        return f"{key} of {where} is {short(value)}{meant(value)}; expected {WORDS[kind]}."
    if kind is list:
        item = ITEMS.get(key, str)
        odd = [each for each in value if not isinstance(each, item) or isinstance(each, bool)]
        if odd:
            return f"{key} of {where} holds {short(odd[0])}{meant(odd[0])}; expected {WORDS[item]} in every place."
    if key in SHAPES and not re.fullmatch(SHAPES[key], value):
        return f"{key} of {where} is {short(value)}; it becomes the name of a file: {SHAPES[key]}."
    if kind is str and not value.isprintable():
        return f"{key} of {where} is {short(value)}, which holds characters that cannot be printed."
    return ""
