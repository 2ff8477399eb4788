"""Tables in Markdown that are generated from the registries, for the overview and the README."""

import html
import inspect
import re
from collections.abc import Iterable, Mapping

from forget_lib.attacks import list_attacks
from forget_lib.attacks.registry import get_attack
from forget_lib.core.registry import Source
from forget_lib.study.chosen import read_settings, settings_file
from forget_lib.unlearning import get_method, list_methods


def source(origin: Source) -> str:
    """Where a method or an attack comes from, in Markdown: each paper a link to arXiv where it is there."""
    papers, numbers = origin.paper.split("; "), origin.arxiv.split()
    numbers += ["-"] * (len(papers) - len(numbers))
    linked = [
        paper if number == "-" else f"[{paper}](https://arxiv.org/abs/{number})"
        for paper, number in zip(papers, numbers, strict=True)
    ]
    return "; ".join(linked)


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
    """Where the settings of a scenario come from, in a sentence: other data make them a transfer, and no best case.

    Args: checksum: of the data that the scenario runs on.
    """
    path = settings_file(dataset, model, request_kind, checksum)
    if not path.is_file():
        return "Nothing was tuned for these data, net and kind of request: all methods run at their defaults."
    about = read_settings(path)
    asked, source = about.get("tuned_on", request_kind), about.get("source", "not named")
    where = f"on request {asked} and draws of their own of {about.get('dataset', dataset)} ({source})"
    if about.get("checksum") == checksum:
        return f"Settings were tuned {where}."
    return (
        f"**Settings were tuned {where}, not on the data of this page**: what is shown is how far they carry over, and "
        "a method that fails here might do better if it were tuned again."
    )


def methods_table(names: Iterable[str] | None = None, *, short: bool = False) -> str:
    """Methods with family, what they use and need, source and, unless `short`, the idea."""
    columns = ["method", "title", "family", "uses", "needs", "source", *([] if short else ["idea"])]
    rows = []
    for name in names or list_methods():
        entry = get_method(name)
        title = (
            f"{entry.title} (control)" if entry.control else f"{entry.title} (exact)" if entry.exact else entry.title
        )
        row = [f"`{name}`", title, entry.family, entry.uses, ", ".join(entry.needs) or "–", source(entry.source)]
        rows.append(row if short else [*row, as_markdown(entry.idea)])
    return table(columns, rows)


def method_parts(name: str) -> dict[str, str]:
    """What is known of a method in Markdown, by part: "idea" and "definition" (the docstring's first paragraph and what
    follows, with the formula), "status" (see `Source`), and "public code" (published settings, and what public
    implementations got wrong).
    """
    entry = get_method(name)
    text = inspect.cleandoc(entry.function.__doc__ or "")
    text = re.split(r"^(?:Settings|Args|Raises):", text, maxsplit=1, flags=re.M)[0]
    idea, _, definition = text.partition("\n\n")
    parts = {"idea": idea, "definition": definition, "status": entry.source.status, "public code": entry.code}
    return {part: as_markdown(re.sub(r"\s+", " ", value).strip()) for part, value in parts.items()}


def methods_page(costs: Mapping[str, float] | None = None) -> str:
    """All methods: name, source, idea and formula, what each uses and needs, its cost, and what public code does.

    Args: costs: sample passes relative to a retraining, by method, as measured; left out: no costs.
    """
    rows = []
    for name in list_methods():
        entry, part = get_method(name), method_parts(name)
        kind = "control" if entry.control else "exact" if entry.exact else entry.family
        needs = f"Uses {entry.uses}." + (f" Needs: {', '.join(entry.needs)}." if entry.needs else "")
        cost = f"{costs[name]:.2g}" if costs and name in costs else "–"
        status = f"**{part['status']}** " if part["status"] else ""
        what = f"{part['idea']} {part['definition']}"
        rows.append(
            [
                f"**{entry.title}** `{name}`",
                kind,
                what,
                needs,
                cost,
                source(entry.source),
                status + part["public code"],
            ]
        )
    columns = ["method", "family", "idea and formula", "data", "cost", "source", "published settings, public code"]
    return table(columns, rows)


def attacks_table() -> str:
    """Attacks with their null, the models they need, and the source."""
    entries = [get_attack(name) for name in list_attacks()]
    rows = [(f"`{entry.name}`", entry.title, entry.null, entry.needs, source(entry.source)) for entry in entries]
    return table(["attack", "title", "null", "needs", "source"], rows)


def source_of(name: str) -> str:
    """A method's code as it runs here, in HTML that unfolds. Raises: UnknownNameError that lists the methods."""
    code = html.escape(inspect.getsource(get_method(name).function))
    return f"<details><summary>The code of <code>{name}</code></summary><pre><code>{code}</code></pre></details>"
