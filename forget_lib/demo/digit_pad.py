"""Draw a digit with mouse or finger, or have one drawn; the MNIST models read it."""

from itertools import pairwise

import ipywidgets
from ipycanvas import Canvas, hold_canvas

from forget_lib.demo import markup
from forget_lib.demo.drawing import PAD, PEN, Point, as_mnist, example, rasterise
from forget_lib.demo.library import Bench
from forget_lib.demo.panel import PREFERRED, Panel, bars_of, button, dropdown, guarded, set_options, wrapping

NOTHING = -1


class DigitPad(Panel):
    """`strokes` are the lines drawn so far, in pixels of the pad; `digit` what the models saw last."""

    def __init__(self) -> None:
        super().__init__()
        self.strokes: list[list[Point]] = []
        self.digit = None
        self._drawing = False
        self.method = dropdown("Unlearned by")
        self.canvas = Canvas(width=PAD, height=PAD, layout={"width": f"{PAD}px", "height": f"{PAD}px"})
        self.clear = button("Clear", "Empty the pad")
        self.sample = dropdown("Without a mouse: write a", [("–", NOTHING), *((str(d), d) for d in range(10))])
        self.result = ipywidgets.HTML()
        self._connect()

    def _connect(self) -> None:
        self.canvas.add_class("fd-pad")
        self.canvas.on_client_ready(self.paint)  # what was painted before a page was there is lost
        self.canvas.on_mouse_down(self.begin)
        self.canvas.on_mouse_move(self.go_on)
        self.canvas.on_mouse_up(self.end)
        self.canvas.on_mouse_out(self.end)
        self.canvas.on_touch_start(lambda points: self.begin(*points[0]))
        self.canvas.on_touch_move(lambda points: self.go_on(*points[0]))
        self.canvas.on_touch_end(lambda _points: self.end())
        self.canvas.on_touch_cancel(lambda _points: self.end())
        self.clear.on_click(lambda _button: self.empty())
        self.sample.observe(lambda change: self.write(change["new"]), "value")
        self.method.observe(lambda _change: self.recognise(), "value")
        help_text = ipywidgets.HTML(markup.note("Draw one digit on the black pad, with the mouse or a finger."))
        pad = ipywidgets.VBox([self.canvas, self.clear])
        side = ipywidgets.VBox([self.method, self.sample, self.status, self.result], layout={"flex": "1 1 300px"})
        self.widget.children = [help_text, wrapping(pad, side)]

    @guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        self.refresh()

    def refresh(self) -> None:
        """Lists the models there are, after one was added."""
        set_options(self.method, self.bench.unlearned, PREFERRED)

    def begin(self, x: float, y: float) -> None:
        """The pen touches the pad."""
        self._drawing = True
        self.strokes.append([(x, y)])
        self.canvas.fill_style = "#fff"
        self.canvas.fill_circle(x, y, PEN / 2)

    def go_on(self, x: float, y: float) -> None:
        """The pen moves."""
        if not self._drawing:
            return
        last = self.strokes[-1][-1]
        self.strokes[-1].append((x, y))
        with hold_canvas():
            self._pen()
            self.canvas.stroke_line(*last, x, y)

    def end(self, *_position: float) -> None:
        """The pen leaves the pad: the models are asked."""
        if self._drawing:
            self._drawing = False
            self.recognise()

    def empty(self) -> None:
        """A new pad."""
        self.strokes, self.digit, self._drawing = [], None, False
        self.sample.value = NOTHING
        self.result.value = ""
        self.paint()
        self.say("The pad is empty.")

    def write(self, digit: int) -> None:
        """Draws one of the ready-made digits in place of what is there."""
        if digit != NOTHING:
            self.strokes = example(digit)
            self.paint()
            self.recognise()

    def paint(self) -> None:
        """Draws all strokes again."""
        with hold_canvas():
            self.canvas.fill_style = "#000"
            self.canvas.fill_rect(0, 0, PAD, PAD)
            self._pen()
            for stroke in self.strokes:
                for start, end in pairwise(stroke):
                    self.canvas.stroke_line(*start, *end)

    def _pen(self) -> None:
        self.canvas.stroke_style, self.canvas.line_width, self.canvas.line_cap = "#fff", PEN, "round"

    @guarded
    def recognise(self) -> None:
        """Asks the models what is drawn."""
        if self.bench is None or not self.strokes or self.method.value is None:
            return
        self.digit = as_mnist(rasterise(self.strokes))
        says = [
            f"{self.bench.titles[name]} {self.bench.probabilities(name, self.digit[None])[0].argmax().item()}"
            for name in ("original", self.method.value, "retrain")
        ]
        self.say(f"Recognised as: {', '.join(says)}.")
        seen = markup.picture(self.digit, "The drawn digit as the models see it, 28 by 28", 84, "As the models see it")
        self.result.value = seen + bars_of(self.bench, self.method.value, self.digit)
