"""Tables in Markdown that are generated from the registries, for the notebooks and docs/."""

import html
import inspect
import re
from collections.abc import Iterable

from forget_lib.attacks import list_attacks
from forget_lib.attacks.registry import get_attack
from forget_lib.core.registry import Source
from forget_lib.study.chosen import RULE, read_settings, settings_file
from forget_lib.unlearning import get_method, list_methods


def source(origin: Source) -> str:
    """Where a method or an attack comes from, in Markdown: each paper a link to arXiv where it is there."""
    papers, numbers = origin.paper.split("; "), origin.arxiv.split()
    numbers += ["-"] * (len(papers) - len(numbers))
    links = [f"[{title}](https://arxiv.org/abs/{number})" for title, number in zip(papers, numbers, strict=True)]
    return "; ".join(papers[place] if number == "-" else links[place] for place, number in enumerate(numbers))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; line breaks and bars in cells are escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + ":---|" * len(list(columns))]
    for row in rows:
        cells = (re.sub(r"\s+", " ", str(cell)).replace("|", r"\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_markdown(docstring: str) -> str:
    """Mathematics and code of a docstring in Markdown's notation; a norm's bar is written as \\Vert or \\vert."""

    def formula(match: re.Match) -> str:
        return "$" + match[1].replace(r"\|", r"\Vert ").replace("|", r"\vert ") + "$"

    return re.sub(r":math:`([^`]*)`", formula, docstring).replace("``", "`")


def settings_sentence(dataset: str, model: str, request_kind: str, checksum: str) -> str:
    """Where the settings of a scenario come from: other data than those of this checksum make them a transfer."""
    path = settings_file(dataset, model, request_kind, checksum)
    if not path.is_file():
        return "Nothing was tuned for these data, net and kind of request: all methods run at their defaults."
    about = read_settings(path)
    asked, tuned_on = about.get("tuned_on", request_kind), about.get("source", "not named")
    where = f"on request {asked} and draws of their own of {about.get('dataset', dataset)} ({tuned_on})"
    if about.get("checksum") == checksum and about.get("rule") == RULE:
        refused = about.get("no_acceptable_setting", {})
        none = f" No setting was acceptable for {', '.join(refused)}: they run all the same, marked." if refused else ""
        return f"Settings were tuned {where}.{none}"
    if about.get("checksum") == checksum:
        return f"**Settings were chosen {where} by an older rule**: all methods count as not tuned."
    text = f"**Settings were tuned {where}, not on the data of this page**: what is shown is how far they carry over, "
    return text + "and a method that fails here might do better if it were tuned again."


def methods_table(names: Iterable[str] | None = None, *, idea: bool = True) -> str:
    """Methods with family, what they use and need, source, and the idea (the first paragraph of the docstring)."""
    rows = []
    for name in names or list_methods():
        entry = get_method(name)
        row = [f"`{name}`", entry.title + _mark(name), entry.family, entry.uses, ", ".join(entry.needs) or "–"]
        row.append(source(entry.source))
        rows.append([*row, as_markdown(entry.idea)] if idea else row)
    columns = ["method", "title", "family", "uses", "needs", "source"]
    return table([*columns, "idea"] if idea else columns, rows)


def formulas_table() -> str:
    """All methods with idea and formula, what each was checked against, and what public code does."""
    rows = []
    for name in list_methods():
        entry = get_method(name)
        status = f"**{entry.source.status}** " if entry.source.status else ""
        rows.append([f"`{name}`", as_markdown(_description(name)), status + as_markdown(entry.code)])
    return table(["method", "idea and formula", "published settings, public code"], rows)


def _mark(name: str) -> str:
    """What stands behind a method's title: what it guarantees, and at what price."""
    entry = get_method(name)
    if entry.control:
        return " (control)"
    if name == "retrain":
        return " (exact)"
    return " (exact for its ensemble, whose nets see a part of the data each)" if entry.exact else ""


def _description(name: str) -> str:
    """A method's docstring up to its settings."""
    lines = inspect.cleandoc(get_method(name).function.__doc__ or "").splitlines()
    ends = [number for number, line in enumerate(lines) if line.startswith(("Settings:", "Args:", "Raises:"))]
    return " ".join(lines[: min(ends, default=len(lines))])


def attacks_table() -> str:
    """Attacks with their null, the models they need, and the source."""
    entries = [get_attack(name) for name in list_attacks()]
    rows = [(f"`{each.name}`", each.title, each.null, each.needs, source(each.source)) for each in entries]
    return table(["attack", "title", "null", "needs", "source"], rows)


def source_of(name: str) -> str:
    """A method's code as it runs here, in HTML that unfolds. Raises: UnknownNameError that lists the methods."""
    code = html.escape(inspect.getsource(get_method(name).function))
    summary = f"<summary>The code of <code>{name}</code></summary>"
    return f'<details class="code">{summary}<pre><code>{code}</code></pre></details>'
