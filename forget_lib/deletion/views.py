"""Tables, figures and sentences of the report. Text from files, classes and people is escaped before it is shown."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forget_lib.core.names import public_name
from forget_lib.core.paths import RESULTS
from forget_lib.deletion import evidence, trace, verdict
from forget_lib.deletion.case import Case
from forget_lib.deletion.respond import FRESH, MASKED, ORIGINAL, UNLEARNED, Answer
from forget_lib.show import catalogue, figures

REFERENCE = RESULTS / "reference" / "deletion"
WORDS = {
    verdict.PASS: "Pass: no difference beyond the margin from models retrained without these data was found, and one "
    "would have been noticed.",
    verdict.FAIL: "Fail: the model differs from models retrained without these data.",
    verdict.UNDECIDED: "Not enough evidence: neither can be said.",
}
STYLES = {
    "retrained": (figures.GREEN, "o"),
    "kept a quarter": (figures.SKY, "v"),
    "originals": (figures.RED, "s"),
    UNLEARNED: (figures.BLUE, "D"),
    ORIGINAL: (figures.ORANGE, "P"),
    FRESH: (figures.BLACK, "X"),
    MASKED: (figures.PURPLE, "^"),
}


def safe(text: object) -> str:
    """Text of somebody else's for a Markdown cell: no HTML, no Markdown, no maths.

    Only Markdown's own escape is used: HTML is escaped once, by what renders the cell.
    """
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", " ".join(str(text).split()))


def plain_label(text: object) -> str:
    """Text of somebody else's for a figure: dollar signs would begin maths."""
    return str(text).replace("\\", "\\\\").replace("$", r"\$")


def request_table(case: Case) -> pd.DataFrame:
    """What was asked, and on what."""
    scenario, request = case.scenario, case.request
    sizes = ", ".join(f"{len(scenario.samples[name])} {name}" for name in ("forget", "retain", "validation", "test"))
    rows = {
        "title": request["title"],
        "data": scenario.data.label,
        "model": f"{public_name(scenario.model)}, {case.classes} classes",
        "request": scenario.parsed.name,
        "to forget": scenario.forgotten,
        "images": sizes,
        "margin": f"{request['margin']:g} of the way from retrained to original",
    }
    return pd.DataFrame({"value": rows.values()}, index=list(rows))


def verdict_text(answer: Answer) -> str:
    """The verdict in plain words, as Markdown."""
    found, case = answer.verdict, answer.case
    lines = [f"**{WORDS[found.outcome]}**", ""]
    lines += [f"- {safe(reason)}" for reason in found.reasons]
    if found.needed:
        lines += ["", "What would be needed:", "", *(f"- {safe(need)}" for need in found.needed)]
    smallest = evidence.smallest_noticed(answer.curve, answer.rule.power)
    noticed = {name: share for name, share in smallest.items() if np.isfinite(share)}
    images = len(case.scenario.sets.forget)
    if noticed:
        best = min(noticed, key=noticed.__getitem__)
        chance, images = f"({answer.rule.power:.0%} of the time)", round(noticed[best] * images)
        text = f"**{noticed[best]:.0%}** ({images} images), by {best}."
        lines += [
            "",
            f"The smallest part left undeleted, of those tried, that would have been noticed {chance}: {text}",
        ]
    else:
        lines += ["", "No attack would have noticed any part left undeleted with the power asked for."]
    lines += [f"- {safe(note)}" for note in case.notes]
    return "\n".join(lines)


def controls_table(answer: Answer) -> pd.DataFrame:
    """The verdict on models whose history is known, by the same rule: the original has to fail, so has a hidden class,
    and a further retrained model should pass."""
    rows = []
    for name, found in {UNLEARNED: answer.verdict, **answer.controls}.items():
        outputs, embedding = (found.findings[each] for each in verdict.READINGS)
        rows.append([name, found.outcome, outputs.value, outputs.critical, embedding.value, embedding.critical])
    columns = ["model", "verdict", "trace, outputs", "noticed from", "trace, embedding", "noticed from "]
    return pd.DataFrame(rows, columns=columns).set_index("model").round(3)


def traces(answer: Answer) -> Figure:
    """Each model's trace, by reading: 0 is retrained, 1 is the original; the band is the margin."""
    families, kept = answer.families, answer.families.kept.get(answer.rule.kept_share, [])
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True, layout="constrained")
    for axis, reading in zip(axes, verdict.READINGS, strict=True):
        stacked = [np.stack([each[reading] for each in group]) for group in (families.retrained, families.originals)]
        groups = {"retrained": trace.leave_one_out(*stacked), "originals": trace.traces(stacked[1], *stacked)}
        if kept:
            groups["kept a quarter"] = trace.traces(np.stack([each[reading] for each in kept]), *stacked)
        for name, measured in answer.measured.items():
            groups[name] = trace.traces(measured[reading][None], *stacked)
        names = [name for name in STYLES if name in groups]
        margin = answer.rule.margin_of(reading)
        axis.axvspan(-margin, margin, color=figures.GREEN, alpha=0.12, label="margin")
        for place, name in enumerate(reversed(names)):
            colour, marker = STYLES[name]
            axis.plot(groups[name], np.full(len(groups[name]), place), marker, color=colour, markersize=7, alpha=0.8)
        axis.set(
            yticks=range(len(names)), yticklabels=list(reversed(names)), xlabel="trace (0: retrained, 1: original)"
        )
        axis.set_title(verdict.AT[reading])
    return figure


def error_curve(answer: Answer) -> Figure:
    """Chance of noticing a retraining that kept a share of the forget set, by attack."""
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    colours = [figures.BLACK, figures.ORANGE, figures.SKY, figures.GREEN, figures.PURPLE, figures.BLUE, figures.RED]
    for (name, group), colour, marker in zip(
        answer.curve.groupby("attack", sort=False), colours, figures.MARKERS, strict=False
    ):
        if group["power"].notna().all():
            axis.plot(100 * group["share"], 100 * group["power"], color=colour, marker=marker, label=name, alpha=0.85)
    axis.axhline(100 * answer.rule.power, color=figures.BLACK, linestyle=":", linewidth=1)
    axis.set(
        xlabel="part of the forget set left undeleted (%)",
        ylabel="chance of being noticed (%)",
        ylim=(-3, 103),
        title=f"What would have been noticed, {plain_label(answer.case.scenario.data.label)}",
    )
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def requested_images(case: Case, most: int = 20) -> Figure:
    """The first requested images; only where the request asks for them."""
    samples = case.scenario.samples["forget"]
    shown = min(most, len(samples))
    figure, axes = plt.subplots(1, shown, figsize=(0.7 * shown, 0.9), squeeze=False)
    for axis, image in zip(axes[0], samples.images[:shown].cpu(), strict=True):
        axis.imshow(figures.picture(image), cmap="gray", vmin=0, vmax=255)
        axis.axis("off")
    return figure


def error_rates(folder: Path = REFERENCE) -> pd.DataFrame:
    """The rule's measured error rates: share of each outcome with its 95 % Clopper-Pearson interval, in per cent."""
    table = pd.read_csv(folder / "error_rates.csv")
    parts = (100 * table[name].round(4) for name in ("share", "low", "high"))
    cell = [f"{share:.0f} [{low:.0f}, {high:.0f}]" for share, low, high in zip(*parts, strict=True)]
    wide = table.assign(cell=cell).pivot_table(
        index=["case", "candidate"], columns="outcome", values="cell", aggfunc="first", sort=False
    )
    return wide[[verdict.PASS, verdict.FAIL, verdict.UNDECIDED]]


def error_rates_text(folder: Path = REFERENCE) -> str:
    """The table of error rates as Markdown, for the README."""
    rows = error_rates(folder).reset_index()
    return catalogue.table(rows.columns, rows.to_numpy().tolist())


def findings(answer: Answer) -> list[str]:
    """Sentences computed from the numbers."""
    found = [f"Verdict on {safe(answer.choice['method'])}: {answer.verdict.outcome}."]
    for name, each in answer.controls.items():
        expected = verdict.PASS if name == FRESH else verdict.FAIL
        word = "as it should be" if each.outcome == expected else f"where {expected} was right"
        found.append(f"The same rule on the control “{name}”: {each.outcome}, {word}.")
    accuracies = answer.accuracies
    lost = accuracies.loc["test_accuracy_kept", ORIGINAL] - accuracies.loc["test_accuracy_kept", UNLEARNED]
    found.append(
        f"Unlearning cost {100 * lost:+.1f} points of test accuracy on what stays, and {answer.cost:.2f} retrainings."
    )
    return found


def summary(answer: Answer) -> Mapping[str, str]:
    """Method and settings, why, and what it cost."""
    settings = ", ".join(f"{name} = {value}" for name, value in dict(answer.choice["settings"]).items())
    return {
        "method": answer.choice["method"],
        "settings": settings or "as chosen by tuning, else the defaults",
        "why": answer.choice["why"],
        "cost": f"{answer.cost:.3f} retrainings",
    }
