"""Which page a number comes from: the pages of a profile by scenario, as read off the executed notebooks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import read_notebook
from forget_lib.core.names import short_name
from forget_lib.datasets.requests import parse_request

Scenario = tuple[str, str, str]
"""Data set, model and request, as tables of records call them."""


def pages_of(root: str | Path) -> dict[Scenario, list[str]]:
    """Links to pages by scenario, the first draw and seed first, as any page of `root` writes them. A pooled study
    stands under its own name (`pool-random-0.1`) too."""
    pages: dict[Scenario, list[tuple[Any, ...]]] = {}
    for path in sorted((Path(root) / "notebooks").glob("*/*.ipynb")):
        given = read_notebook(path)["metadata"].get("papermill", {}).get("parameters", {})
        link = f"../{path.parent.name}/{path.stem}.html"
        order = (bool(given.get("pool")), given.get("draw", 0), given.get("seed", 0), len(path.stem), link)
        for scenario in _scenarios(given):
            pages.setdefault(scenario, []).append(order)
    return {scenario: [order[-1] for order in sorted(orders)] for scenario, orders in pages.items()}


def _scenarios(given: Mapping[str, Any]) -> Iterable[Scenario]:
    """The scenarios that a page with these parameters is about."""
    if not {"dataset", "model"} <= set(given):
        return
    names = short_name(given["dataset"]), short_name(given["model"])
    try:
        if given.get("request"):
            yield (*names, parse_request(given["request"]).name)
    except ForgetError:  # such as indices in a file that is gone
        return
    pool = given.get("pool") or {}
    if {"samples", "evaluation"} <= set(pool):
        kind = "" if pool.get("request", "random") == "random" else f"{pool['request']}-"
        yield (*names, f"pool-random-{kind}{pool['evaluation'] / pool['samples']:.3g}")


def linked(names: Iterable[Scenario], pages: Mapping[Scenario, list[str]]) -> str:
    """Scenarios in Markdown, each a link to its first page where it has one; empty for none."""
    first = {scenario: links[0] for scenario, links in pages.items()}
    texts = {scenario: " ".join(scenario) for scenario in map(tuple, names)}
    return ", ".join(f"[{text}]({first[key]})" if key in first else text for key, text in texts.items())
