"""Which page a number comes from: the pages of a profile by scenario, as read off the executed notebooks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import read_notebook
from forget_lib.core.names import short_name
from forget_lib.datasets.requests import parse_request

Scenario = tuple[str, str, str]
"""dataset, model and request, as they are called in tables of records."""


def pages_of(root: str | Path) -> dict[Scenario, list[str]]:
    """Pages by scenario, those of the first draw and seed first, as links from a page of any notebook of `root`.

    A pooled membership study stands under the name of its request too (`pool-random-0.1`). Empty without notebooks.
    """
    found: dict[Scenario, list[tuple[Any, ...]]] = {}
    for path in sorted((Path(root) / "notebooks").glob("*/*.ipynb")):
        told = read_notebook(path)["metadata"].get("papermill", {}).get("parameters", {})
        link = f"../{path.parent.name}/{path.stem}.html"
        order = (bool(told.get("pool")), told.get("draw", 0), told.get("seed", 0), len(path.stem), link)
        for scenario in _scenarios(told):
            found.setdefault(scenario, []).append(order)
    return {scenario: [each[-1] for each in sorted(pages)] for scenario, pages in found.items()}


def _scenarios(told: Mapping[str, Any]) -> Iterable[Scenario]:
    """The scenarios that a page with these parameters is about."""
    if not {"dataset", "model", "request"} <= set(told):
        return
    names = short_name(told["dataset"]), short_name(told["model"])
    try:
        yield (*names, parse_request(told["request"]).name)
    except ForgetError:  # such as a list of indices in a file that is not there any more
        return
    pool = told.get("pool") or {}
    if {"samples", "evaluation"} <= set(pool):
        kind = "" if pool.get("request", "random") == "random" else f"{pool['request']}-"
        yield (*names, f"pool-random-{kind}{pool['evaluation'] / pool['samples']:.3g}")


def numbered(scenario: Scenario, pages: Mapping[Scenario, list[str]]) -> str:
    """Links to all pages of a scenario in Markdown; empty where it has none."""
    found = pages.get(tuple(scenario), [])
    return "Pages: " + " ".join(f"[{number}]({page})" for number, page in enumerate(found, 1)) if found else ""


def linked(names: Iterable[Scenario], pages: Mapping[Scenario, list[str]]) -> str:
    """Scenarios in Markdown, each a link to its first page where it has one; empty for none."""
    texts = []
    for scenario in names:
        text, found = " ".join(scenario), pages.get(tuple(scenario), [])
        texts.append(f"[{text}]({found[0]})" if found else text)
    return ", ".join(texts)
