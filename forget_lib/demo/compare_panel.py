"""Compare two models: by class, by prediction, on a map of their features, layer by layer."""

import ipywidgets
import numpy as np
from ipycanvas import Canvas, hold_canvas

from forget_lib.demo import markup
from forget_lib.demo.compare import FeatureMap, class_accuracies, feature_map, layer_similarity, prediction_matrix
from forget_lib.demo.library import Bench
from forget_lib.demo.panel import PREFERRED, Panel, dropdown, guarded, set_options, wrapping

SIDE, EDGE, DOT = 320, 14, 4
SHOWN = 12
MOST_CLASSES = 20
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#A39A00", "#8C6BB1", "#8D8D8D", "#A65628")


class ComparePanel(Panel):
    """`chosen` says which points of the map are selected (bool [N])."""

    def __init__(self) -> None:
        super().__init__()
        self.map: FeatureMap | None = None
        self.chosen = np.zeros(0, dtype=bool)
        self._quiet = False
        self._corner: tuple[float, float] | None = None
        self.first, self.second = dropdown("First model"), dropdown("Second model")
        self.accuracies, self.matrices, self.layers = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self.select = dropdown("Select on the maps")
        self.titles = [ipywidgets.HTML(), ipywidgets.HTML()]
        self.canvases = [Canvas(width=SIDE, height=SIDE, layout={"width": f"{SIDE}px"}) for _ in range(2)]
        self.found = ipywidgets.HTML()
        self.explained = ipywidgets.HTML()
        self._connect()

    def _connect(self) -> None:
        for canvas in self.canvases:
            canvas.add_class("fd-map")
            canvas.on_client_ready(self.paint)
            canvas.on_mouse_down(self._press)
            canvas.on_mouse_up(self._release)
        for choice in (self.first, self.second):
            choice.observe(lambda _change: self.compute(), "value")
        self.select.observe(lambda change: self.select_by(change["new"]), "value")
        maps = wrapping(*(ipywidgets.VBox(pair) for pair in zip(self.titles, self.canvases, strict=True)))
        controls = wrapping(self.first, self.second)
        self.widget.children = [
            controls, self.status, self.accuracies, self.matrices, self.explained, self.select, maps, self.found,
            self.layers,
        ]  # fmt: skip

    @guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        self.refresh()
        classes = [(f"label {name}", f"label {index}") for index, name in enumerate(bench.data.classes)]
        set_options(self.select, [("nothing", ""), ("where the models disagree", "disagree"), *classes])
        self.compute()

    def refresh(self) -> None:
        """Lists the models there are, after one was added."""
        options = [(title, name) for name, title in self.bench.titles.items()]
        self._quiet = True
        set_options(self.first, options, "original")
        set_options(self.second, options, PREFERRED if PREFERRED in self.bench.titles else "retrain")
        self._quiet = False

    @guarded
    def compute(self) -> None:
        """All views for the two models chosen."""
        if self._quiet or self.bench is None or None in (self.first.value, self.second.value):
            return
        bench, names = self.bench, (self.first.value, self.second.value)
        titles = [bench.titles[name] for name in names]
        colours, classes = [markup.ORIGINAL, markup.UNLEARNED], bench.data.classes
        labels = bench.samples("test").labels.cpu()
        logits = [bench.logits(name, "test") for name in names]
        columns = [class_accuracies(each, labels, len(classes)) for each in logits]
        groups = dict(zip(classes, (list(pair) for pair in zip(*columns, strict=True)), strict=True))
        self.accuracies.value = markup.bars(
            groups, titles, colours, f"Accuracy by class on {len(labels)} test images; thin lines: 95 % intervals"
        )
        self.matrices.value = self._matrices(logits, labels, titles, colours)
        self.map = feature_map(bench, *names)
        self.layers.value = self._layers(names, titles)
        for html, title in zip(self.titles, titles, strict=True):
            html.value = markup.note(f"Features of {title}")
        self.explained.value = markup.note(
            f"Each point is a test image, coloured by its label, at the same place in both maps if both models see it "
            f"the same way. Two principal axes of {titles[0]} hold {100 * self.map.explained:.0f} % of its variance; "
            f"the other model is turned onto them. Drag a frame on a map, or use the list, to select points in both."
        )
        self.select_by(self.select.value)
        self.say(f"{titles[0]} and {titles[1]}, on the test set of {bench.data.label}.")

    def _matrices(self, logits, labels, titles, colours) -> str:
        classes = self.bench.data.classes
        if len(classes) > MOST_CLASSES:
            return markup.note(f"{len(classes)} classes are too many for a prediction matrix.")
        pieces = [
            markup.matrix(
                prediction_matrix(each, labels, len(classes)), classes, colour,
                f"{title}: predictions in % (across) of each label (down)",
            )
            for each, title, colour in zip(logits, titles, colours, strict=True)
        ]  # fmt: skip
        return markup.row(pieces)

    def _layers(self, names, titles) -> str:
        groups = {layer: [min(1.0, value)] for layer, value in layer_similarity(self.bench, *names).items()}
        caption = f"Linear CKA by layer, {titles[0]} and {titles[1]}: 100 % is the same up to a turn"
        return markup.bars(groups, ["Similarity"], [markup.OTHER], caption)

    def _press(self, x: float, y: float) -> None:
        self._corner = (x, y)

    @guarded
    def _release(self, x: float, y: float) -> None:
        if self._corner is not None and self.map is not None:
            (left, top), self._corner = self._corner, None
            self.select_frame(left, top, x, y)

    def select_frame(self, left: float, top: float, right: float, bottom: float) -> None:
        """Selects the points of either map inside a frame in pixels; a click selects what is within 8 pixels."""
        low, high = np.minimum((left, top), (right, bottom)) - 8, np.maximum((left, top), (right, bottom)) + 8
        inside = [((low <= p) & (p <= high)).all(axis=1) for p in map(self._pixels, (self.map.first, self.map.second))]
        self._use(inside[0] | inside[1])

    @guarded
    def select_by(self, what: str) -> None:
        """Selects nothing (""), the points where the models disagree ("disagree"), or those of a label ("label 3")."""
        if self.map is None:
            return
        if what == "disagree":
            self._use((self.map.predicted_first != self.map.predicted_second).numpy())
        elif what:
            self._use((self.map.labels == int(what.split()[1])).numpy())
        else:
            self._use(np.zeros(len(self.map.labels), dtype=bool))

    def _use(self, chosen: np.ndarray) -> None:
        self.chosen = chosen
        self.paint()
        count, classes = int(chosen.sum()), self.bench.data.classes
        pieces = []
        for index in np.flatnonzero(chosen)[:SHOWN]:
            parts = (self.map.labels, self.map.predicted_first, self.map.predicted_second)
            true, one, two = (classes[int(part[index])] for part in parts)
            words = f"{true}: first {one}, second {two}"
            pieces.append(markup.picture(self.map.images[index], f"Test image labelled {words}", 64, words))
        text = f"{count} of {len(chosen)} points selected"
        more = f", the first {SHOWN} shown" if count > SHOWN else ""
        self.found.value = markup.note(f"{text}{more}.") + markup.row(pieces)

    @staticmethod
    def _pixels(places: np.ndarray) -> np.ndarray:
        return EDGE + places * (SIDE - 2 * EDGE)

    def paint(self) -> None:
        """Draws both maps."""
        if self.map is None:
            return
        chosen = self.chosen if self.chosen.any() else np.ones(len(self.map.labels), dtype=bool)
        for canvas, places in zip(self.canvases, (self.map.first, self.map.second), strict=True):
            points = self._pixels(places)
            with hold_canvas():
                canvas.clear()
                for bright in (False, True):
                    for label in range(len(self.bench.data.classes)):
                        part = (self.map.labels.numpy() == label) & (chosen == bright)
                        if part.any():
                            canvas.global_alpha = 0.9 if bright else 0.15
                            canvas.fill_style = COLOURS[label % len(COLOURS)]
                            canvas.fill_circles(points[part, 0], points[part, 1], DOT if bright else DOT - 1)
