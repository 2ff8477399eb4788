"""What all panels of the page share: a status line, guarded callbacks, a choice of model, tasks in the background."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import ipywidgets

from forget_lib.core.errors import ForgetError
from forget_lib.demo import markup
from forget_lib.demo.library import Bench

WIDE = {"description_width": "initial"}
PREFERRED = "uniform_kl"


def guarded(function: Callable) -> Callable:
    """A callback of a panel whose errors end in its status line and not in a log that nobody sees."""

    @functools.wraps(function)
    def call(panel: "Panel", *arguments: Any, **named: Any) -> Any:
        try:
            return function(panel, *arguments, **named)
        except ForgetError as error:
            panel.say(str(error), error=True)
        except Exception as error:
            panel.say(f"That did not work ({type(error).__name__}: {error}).", error=True)
        return None

    return call


def dropdown(description: str, options: Any = ()) -> ipywidgets.Dropdown:
    """A labelled list of choices."""
    return ipywidgets.Dropdown(
        description=description, options=options, style=WIDE, layout={"width": "auto", "max_width": "min(100%, 640px)"}
    )


def button(description: str, tooltip: str = "", *, primary: bool = False) -> ipywidgets.Button:
    """A button as wide as its text."""
    style = "primary" if primary else ""
    return ipywidgets.Button(description=description, tooltip=tooltip, button_style=style, layout={"width": "auto"})


def wrapping(*children: ipywidgets.Widget) -> ipywidgets.HBox:
    """Widgets side by side, in several lines where they do not fit."""
    box = ipywidgets.HBox(children)
    box.add_class("fd-wrap")
    return box


def set_options(choice: ipywidgets.Dropdown, options: list[tuple[str, str]], preferred: str | None = None) -> None:
    """New options; the value stays if it is still among them, else becomes the preferred one, else the first."""
    values = [value for _, value in options]
    wanted = choice.value if choice.value in values else preferred
    choice.options = options
    if options:
        choice.value = wanted if wanted in values else values[0]


class Panel:
    """One part of the page.

    Attributes: widget: what is shown. status: its status line. bench: the models it shows, once there are any.
    """

    def __init__(self) -> None:
        self.bench: Bench | None = None
        self.status = ipywidgets.HTML(markup.status(""))
        self.widget = ipywidgets.VBox()
        self.widget.add_class("fd-page")
        self._tasks: set[asyncio.Task] = set()

    def say(self, text: str, *, error: bool = False) -> None:
        """Puts a sentence into the status line."""
        self.status.value = markup.status(text, error=error)

    def show(self, bench: Bench) -> None:
        """Turns to another scenario."""
        self.bench = bench

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task | None:
        """Starts a coroutine in the kernel's loop; without a loop (in a script) it is not started."""
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            work.close()
            return None
        self._tasks.add(task)  # the loop itself keeps no strong reference
        task.add_done_callback(self._tasks.discard)
        return task


def three_models(bench: Bench, method: str) -> tuple[list[str], list[str], list[str]]:
    """Names, titles and colours of the original, the chosen unlearned and the retrained model."""
    names = ["original", *([method] if method in bench.titles else []), "retrain"]
    colours = {"original": markup.ORIGINAL, "retrain": markup.RETRAINED}
    return names, [bench.titles[n] for n in names], [colours.get(n, markup.UNLEARNED) for n in names]


def bars_of(bench: Bench, method: str, image: Any) -> str:
    """Class probabilities of one image, uint8 [C, H, W], under the three models, as bars."""
    names, titles, colours = three_models(bench, method)
    found = {title: bench.probabilities(name, image[None])[0] for name, title in zip(names, titles, strict=True)}
    return markup.probability_bars(found, bench.data.classes, colours)
