"""What all panels of the page share: pieces of HTML, a status line, guarded callbacks, tasks in the background."""

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from jinja2 import Environment, FileSystemLoader
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.demo.images import data_url
from forget_lib.demo.studies import ASSETS, Bench
from forget_lib.show.figures import colour_of

ORIGINAL, UNLEARNED, RETRAINED = colour_of("original"), colour_of("unlearned"), colour_of("retrain")
OTHER = "#CC79A7"
MOST_CLASSES, FEWEST_CLASSES, LEAST_SHARE = 10, 3, 0.01
WIDE = {"style": {"description_width": "initial"}, "layout": {"width": "100%", "max_width": "640px"}}
"""Style and layout of a slider or a bar."""
PREFERRED = "uniform_kl"
_NUMBERS = itertools.count()


def percent(share: float) -> str:
    """A share for people: 0 % and 100 % only where nothing is rounded away."""
    if 0 < share < 0.005:
        return "<1 %"
    if 0.995 < share < 1:
        return ">99 %"
    return f"{100 * share:.0f} %"


def _templates() -> Any:
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    environment.filters |= {"percent": percent, "data_url": data_url, "tenths": "{:.1f}".format}
    return environment.get_template("pieces.html").module


html = _templates()
"""The templates of assets/pieces.html, such as html.note("Hello"); what is put into one is text, whatever it holds."""


def probability_bars(shares: Mapping[str, Tensor], classes: Sequence[str], colours: Sequence[str]) -> str:
    """Class probabilities of one image under several models (float [K] by title), the likeliest classes in their order.

    Classes to which no model gives one percent are left out, and so are all but the ten likeliest.
    """
    best = np.max([each.numpy() for each in shares.values()], axis=0)
    likeliest = np.argsort(-best, kind="stable")[:MOST_CLASSES]
    shown = sorted({*likeliest[:FEWEST_CLASSES].tolist(), *likeliest[best[likeliest] >= LEAST_SHARE].tolist()})
    groups = {classes[index]: [float(each[index]) for each in shares.values()] for index in shown}
    caption = "Class probabilities"
    if len(shown) < len(classes):
        rare = np.delete(best, shown).max() < LEAST_SHARE
        caption += ": all others below 1 %" if rare else f": the {len(shown)} likeliest of {len(classes)}"
    return html.bars(groups, list(shares), colours, caption)


def guarded(function: Callable) -> Callable:
    """A callback of a panel whose errors end in its status line and not in a log that nobody sees."""

    @functools.wraps(function)
    def call(panel: "Panel", *arguments: Any) -> Any:
        try:
            return function(panel, *arguments)
        except Exception as error:
            panel.complain(error)
            return None

    return call


def dropdown(description: str, options: Sequence[Any] = ()) -> ipywidgets.Dropdown:
    """A choice as wide as its words, on a phone as wide as the page."""
    layout = {"width": "auto", "max_width": "min(100%, 640px)"}
    return ipywidgets.Dropdown(description=description, options=options, style=WIDE["style"], layout=layout)


def button(description: str, tooltip: str, style: str = "") -> ipywidgets.Button:
    """A button as wide as its words. style: of Jupyter, such as "primary"."""
    return ipywidgets.Button(description=description, tooltip=tooltip, button_style=style, layout={"width": "auto"})


def wrapping(*children: ipywidgets.Widget) -> ipywidgets.HBox:
    """Widgets side by side, in several lines where they do not fit."""
    box = ipywidgets.HBox(children)
    box.add_class("fd-wrap")
    return box


def follow(function: Callable[[], Any], *choices: ipywidgets.Widget) -> None:
    """Calls a function whenever one of the choices changes."""
    for choice in choices:
        choice.observe(lambda _change: function(), "value")


def set_options(choice: ipywidgets.Dropdown, options: Sequence[tuple[str, Any]], preferred: Any = None) -> None:
    """New options; the value stays if it is still among them, else becomes the preferred one, else the first."""
    values = [value for _, value in options]
    wanted = choice.value if choice.value in values else preferred
    choice.options = options
    if options:
        choice.value = wanted if wanted in values else values[0]


class PictureChoice:
    """A row of buttons that show pictures; `widget` is what to put on the page."""

    def __init__(self, number: int, chosen: Callable[[int], Any]) -> None:
        """number: of pictures at most. chosen: called with the place of the one that was pressed."""
        self._class = f"fd-choices-{next(_NUMBERS)}"
        self.buttons = [ipywidgets.Button() for _ in range(number)]
        self._rules = ipywidgets.HTML(layout={"display": "none"})
        grid = ipywidgets.Box(self.buttons)
        grid.add_class("fd-choices")
        grid.add_class("fd-scroll")
        grid.add_class(self._class)
        self.widget = ipywidgets.VBox([self._rules, grid])
        for place, each in enumerate(self.buttons):
            each.add_class("fd-choice")
            each.on_click(lambda _button, place=place: chosen(place))

    def put(self, items: Sequence[tuple[Tensor, str, str]]) -> None:
        """Shows these: image uint8 [C, H, W], name, and what is said of it."""
        rules = ""
        for place, each in enumerate(self.buttons):
            each.layout.display = "" if place < len(items) else "none"
        for place, (each, (image, name, words)) in enumerate(zip(self.buttons, items, strict=False), 1):
            each.description, each.tooltip = name, words
            url = data_url(image)
            rules += f".{self._class} .fd-choice:nth-child({place}) {{background-image:url({url})}}"
        self._rules.value = f"<style>{rules}</style>"

    def mark(self, picked: int) -> None:
        """Frames the chosen one."""
        for place, each in enumerate(self.buttons):
            (each.add_class if place == picked else each.remove_class)("fd-picked")


class Panel:
    """One part of the page: its `widget`, its `status` line, and the `bench` whose models it shows."""

    bench: Bench

    def __init__(self) -> None:
        self.status = ipywidgets.HTML(html.status(""))
        self.result = ipywidgets.HTML()
        self.widget = ipywidgets.VBox()
        self.widget.add_class("fd-page")
        self._tasks: set[asyncio.Task] = set()

    def say(self, text: str, *, error: bool = False) -> None:
        self.status.value = html.status(text, error)

    def complain(self, error: Exception) -> None:
        known = isinstance(error, ForgetError)
        self.say(str(error) if known else f"That did not work ({type(error).__name__}: {error}).", error=True)

    def show(self, bench: Bench) -> None:
        self.bench = bench
        self.refresh()

    def refresh(self) -> None:
        """Lists the models there are, after one was added."""

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


class ImagePanel(Panel):
    """A panel that shows what three models say of an image: the original, the chosen unlearned and the retrained."""

    def __init__(self) -> None:
        super().__init__()
        self.method = dropdown("Unlearned by")

    def refresh(self) -> None:
        set_options(self.method, self.bench.unlearned, PREFERRED)

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """Class probabilities float [K] of an image, uint8 [C, H, W], by the name of the model."""
        names = [name for name in ("original", self.method.value, "retrain") if name in self.bench.titles]
        return {name: self.bench.probabilities(name, image[None])[0] for name in names}

    def bars(self, image: Tensor) -> str:
        answers = self.answers(image)
        titles = {self.bench.titles[name]: shares for name, shares in answers.items()}
        return probability_bars(titles, self.bench.words, [colour_of(name) for name in answers])
