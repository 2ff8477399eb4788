"""All benchmarks of speed, written as tables, figures and a page into results/reference/benchmarks.

    python benchmarks/run.py [throughput peers growth pages time_to_accuracy]
    python benchmarks/run.py --draw      (the figures and the page again, from the tables; nothing is measured)

Each table names the commit, the versions, the processor and the threads. Times depend on the machine; the ratios and
shares should come out again elsewhere, within the spread that stands beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks import growth, pages, peers, throughput, time_to_accuracy  # noqa: E402
from forget_lib.study import records  # noqa: E402

OUTPUT = REPOSITORY / "results" / "reference" / "benchmarks"
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#666666"


def bars(axes: plt.Axes, names: pd.Series, value: pd.Series, lowest: pd.Series, highest: pd.Series) -> None:
    """Bars from zero with their spread, the first on top."""
    axes.barh(names, value, color=BLUE, xerr=[value - lowest, highest - value], ecolor=GREY, capsize=2)
    axes.set_xlim(0, None)
    axes.invert_yaxis()


def draw_throughput(table: pd.DataFrame, axes: plt.Axes) -> str:
    """Bars of the share of the matrix rate, with its spread over the turns; returns the alternative text."""
    axes.axvline(100, color=GREY, linestyle=":")  # not a bound: some sizes are multiplied faster than the one measured
    bars(axes, table["net"], *(100 * table[column] for column in ("share", "lowest", "highest")))
    axes.set_xlabel("share of the machine's matrix-multiply rate (%)")
    return "Share of the matrix rate: " + ", ".join(f"{row.net} {row.share:.0%}" for row in table.itertuples())


def draw_peers(table: pd.DataFrame, axes: plt.Axes) -> str:
    """Dots of the ratio of CPU time, per item against from memory, by case and method."""
    for place, (_, part) in enumerate(table.groupby("case", sort=False)):
        axes.scatter(part["ratio"], [place] * len(part), color=ORANGE, zorder=3)
        axes.plot([part["lowest"].min(), part["highest"].max()], [place, place], color=GREY, linewidth=1)
    axes.axvline(1, color=GREY, linestyle=":")
    axes.set_yticks(range(table["case"].nunique()), table["case"].unique())
    axes.set(xlabel="CPU time of the per-item loop / CPU time from memory", xscale="log")
    axes.invert_yaxis()
    medians = table.groupby("case", sort=False)[["ratio", "limit"]].median()
    axes.scatter(
        medians["limit"], range(len(medians)), marker="|", s=300, color=BLUE, label="limit: feeding takes no time"
    )
    axes.legend(frameon=False, loc="lower right")
    told = (f"{row.Index} {row.ratio:.2f} of at most {row.limit:.2f}" for row in medians.itertuples())
    return "Median ratio by case: " + ", ".join(told)


def draw_growth(table: pd.DataFrame, axes: plt.Axes) -> str:
    """Lines of cost against size, both relative to the smallest size."""
    for (name, part), mark in zip(table.groupby("series", sort=False), "os^Dv", strict=False):
        axes.plot(part["larger"], part["times"], marker=mark, label=name)
    ends = [1, table["larger"].max()]
    axes.plot(ends, ends, color=GREY, linestyle=":", label="in proportion")
    axes.set(xlabel="times as large", ylabel="times the cost", xscale="log", yscale="log")
    axes.legend(frameon=False)
    last = table.groupby("series", sort=False).last()
    return "; ".join(
        f"{row.larger:g} times the {name}: {row.times:.1f} times the cost" for name, row in last.iterrows()
    )


def draw_pages(table: pd.DataFrame, axes: plt.Axes) -> str:
    """Bars of the CPU seconds of a kernel that imports, with their spread, by kind of kernel."""
    bars(axes, table["kernel"], table["cpu_seconds"], table["cpu_lowest"], table["cpu_highest"])
    axes.set_xlabel("CPU seconds of a kernel until its imports are done")
    return "; ".join(
        f"{row.kernel}: {row.cpu_seconds:.2f} CPU seconds, {row.wall_seconds:.1f} s for the page"
        for row in table.itertuples()
    )


def draw_accuracy(table: pd.DataFrame, axes: plt.Axes) -> str:
    """Dots of test accuracy by variant and precision, with the CPU time written beside them."""
    names = table["variant"] + ", " + table["precision"]
    axes.scatter(100 * table["accuracy"], names, color=BLUE, zorder=3)
    for name, row in zip(names, table.itertuples(), strict=True):
        axes.annotate(f"{row.cpu_seconds / 60:.1f} CPU min  ", (100 * row.accuracy, name), va="center", ha="right")
    least, most = 100 * table["accuracy"].min(), 100 * table["accuracy"].max()
    space = 0.1 * (most - least) + 0.5
    axes.set(xlabel="test accuracy without mirror images (%)", xlim=(least - 4 * space, most + space))
    axes.invert_yaxis()
    whole = ", ".join(told(row) for row in table.to_dict("records") if "," not in row["variant"])
    return "; ".join([f"Test accuracy: {whole}", *bought(table)])


def told(row: Mapping[str, Any]) -> str:
    """One variant in words, with the accuracy over mirror images and shifts where it was measured."""
    averaged = row.get("shifted", math.nan)
    more = "" if math.isnan(averaged) else f" ({averaged:.1%} over mirror images and shifts)"
    spent = f"{row['epochs']} epochs and {row['cpu_seconds'] / 60:.1f} CPU minutes"
    return f"{row['variant']}, {row['precision']} {row['accuracy']:.1%}{more} after {spent}"


def bought(table: pd.DataFrame) -> list[str]:
    """What each part of the recipe is worth, in points, against the whole recipe in the same precision; [] where no
    part was left out."""
    found = []
    for precision, part in table.groupby("precision", sort=False):
        accuracy = part.set_index("variant")["accuracy"]
        ablated = [name for name in accuracy.index if name.startswith("short, ")]
        if "short" in accuracy and ablated:
            # Adding 0 makes of -0.0 a 0.0.
            points = (f"{name[7:]} {round(100 * (accuracy[name] - accuracy['short']), 1) + 0:+}" for name in ablated)
            found.append(f"against short in {precision}, in points: {', '.join(points)}")
    return found


PARTS: dict[str, tuple[str, Callable[[], pd.DataFrame], Callable[[pd.DataFrame, plt.Axes], str]]] = {
    "throughput": (
        "Training against the machine's limit",
        lambda: throughput.main(list(throughput.NETS)),
        draw_throughput,
    ),
    "peers": ("The same work through a per-item loop", lambda: peers.main(list(peers.CASES)), draw_peers),
    "growth": ("How cost grows", growth.main, draw_growth),
    "pages": ("A page beside its work", pages.main, draw_pages),
    "time_to_accuracy": (
        "CIFAR-10 against time",
        lambda: time_to_accuracy.main(time_to_accuracy.VARIANTS, table=time_to_accuracy.TABLE),
        draw_accuracy,
    ),
}
MODULES = dict(zip(PARTS, (throughput, peers, growth, pages, time_to_accuracy), strict=True))


def processor() -> str:
    """Name of the processor, without the machine's own name, and the instructions that PyTorch uses on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def write(name: str) -> None:
    """Runs one benchmark and writes its table and what it was measured with."""
    title, measure, _ = PARTS[name]
    print(f"== {title}", flush=True)
    load, begun = os.getloadavg()[0], time.perf_counter()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    measure().to_csv(OUTPUT / f"{name}.csv", index=False, float_format="%.6g")
    about = records.provenance() | {"processor": processor(), "cores": os.cpu_count(), "load_before": round(load, 2)}
    about |= {
        "seconds": round(time.perf_counter() - begun, 1),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": f"python benchmarks/run.py {name}",
    }
    (OUTPUT / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


def draw(name: str) -> str:
    """Draws the figure of a table that is there; returns its alternative text."""
    title, _, draw_part = PARTS[name]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    text = draw_part(pd.read_csv(OUTPUT / f"{name}.csv"), axes)
    axes.set_title(title, loc="left")
    figure.savefig(OUTPUT / f"{name}.png", dpi=150)
    plt.close(figure)
    return text


def write_page() -> None:
    """README.md beside the tables: each figure, its numbers in words, and what it was measured with."""
    lines = ["# Benchmarks", "", "Written by `python benchmarks/run.py` from the tables beside this page.", ""]
    for name in PARTS:
        if not (OUTPUT / f"{name}.csv").is_file():
            continue
        text = draw(name)
        paragraphs = MODULES[name].__doc__.split("\n\n")[2:]  # after the title and the command
        lines += [f"## {PARTS[name][0]}", "", *("\n\n".join(paragraphs).strip().splitlines()), ""]
        lines += [f"![{text}]({name}.png)", "", f"{text}. Table: [{name}.csv]({name}.csv).", ""]
        if not (OUTPUT / f"{name}.json").is_file():  # measured row by row, each with its commit and load
            continue
        about = json.loads((OUTPUT / f"{name}.json").read_text())
        where = f"{about['processor']}, {about['cores']} cores, load before {about['load_before']}"
        what = f"torch {about['versions']['torch']}, commit {about['commit'][:7]}, {about['seconds']:.0f} s"
        lines += [
            f"*{about['command']}; {where}; {what}.*",
            "",
        ]
    (OUTPUT / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    for part in () if arguments.draw else arguments.parts or PARTS:
        write(part)
    write_page()
