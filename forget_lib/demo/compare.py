"""Compare two models: by class, by prediction, on a map of their features, layer by layer."""

import functools
from dataclasses import dataclass

import ipywidgets
import numpy as np
import seaborn
import torch
from ipycanvas import Canvas, hold_canvas
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix
from torch import Tensor

from forget_lib.demo import parts
from forget_lib.demo.parts import html
from forget_lib.demo.studies import Bench
from forget_lib.models.train import embed
from forget_lib.statistics.intervals import Interval, clopper_pearson
from forget_lib.statistics.metrics import cka_by_layer

MAP_POINTS, CKA_IMAGES = 400, 500
MOST_CLASSES = 20
SIDE, EDGE, DOT, NEAR = 320, 14, 4, 8
"""In pixels: a map, its margin, a point, and how near to a point a click selects it."""
SHOWN, RING, NOTHING = 12, 9, -1
PALETTE = seaborn.color_palette("colorblind").as_hex()


def prediction_shares(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the samples of each label (row) that get each prediction (column): float [K, K]; a row sums to 1, or to
    0 for a label without samples. logits: float [N, K]. labels: int [N]."""
    return confusion_matrix(labels, logits.argmax(1), labels=range(logits.shape[1]), normalize="true")


def class_accuracies(logits: Tensor, labels: Tensor, classes: int) -> list[Interval | None]:
    """Accuracy of each class with its exact 95 % interval; None for a class without samples."""
    right, counts = labels[logits.argmax(1) == labels].bincount(minlength=classes), labels.bincount(minlength=classes)
    pairs = zip(right.tolist(), counts.tolist(), strict=True)
    return [clopper_pearson(hits, count) if count else None for hits, count in pairs]


@dataclass(frozen=True)
class FeatureMap:
    """Where the same samples lie in two models' feature spaces.

    places: float [N, 2] in [0, 1], a model each. labels, predicted (a model each): int64 [N]. images: uint8
    [N, C, H, W]. explained: share of the first model's variance on the two axes.
    """

    places: list[np.ndarray]
    labels: np.ndarray
    predicted: list[np.ndarray]
    images: Tensor
    explained: float


def aligned_projection(features: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Two feature matrices [N, D] on the first two principal axes of `reference`, the same layout for both.

    `features` is centred and turned (orthogonal Procrustes) onto `reference` first: two networks may hold the same
    arrangement of samples in differently turned spaces, and a turn changes no distance.
    Returns: positions of `features`, of `reference` (float [N, 2]), and the share of variance the two axes hold.
    """
    moved, fixed = (part - part.mean(axis=0) for part in (features.astype(np.float64), reference.astype(np.float64)))
    turn, _ = orthogonal_procrustes(moved, fixed)
    layout = PCA(2, svd_solver="full").fit(fixed)
    share = float(np.nan_to_num(layout.explained_variance_ratio_).sum())
    return layout.transform(moved @ turn), layout.transform(fixed), share


def feature_map(bench: Bench, first: str, second: str) -> FeatureMap:
    """The map of two models on test samples, evenly spread over the test set."""
    samples = bench.samples("test")
    every = torch.linspace(0, len(samples) - 1, min(MAP_POINTS, len(samples))).round().long()
    part = samples.subset(every.to(samples.labels.device))
    features = [embed(bench.model(name), part).numpy() for name in (first, second)]
    predicted = [bench.logits(name, "test")[every].argmax(1).numpy() for name in (first, second)]
    moved, fixed, explained = aligned_projection(features[1], features[0])
    low = np.minimum(fixed.min(axis=0), moved.min(axis=0))
    span = np.maximum(fixed.max(axis=0), moved.max(axis=0)) - low
    places = [(each - low) / np.where(span == 0, 1, span) for each in (fixed, moved)]
    return FeatureMap(places, part.labels.cpu().numpy(), predicted, part.images.cpu(), explained)


class ComparePanel(parts.Panel):
    """`chosen` says which points of the map are selected (bool [N])."""

    def __init__(self) -> None:
        super().__init__()
        self.map: FeatureMap | None = None
        self.chosen = np.zeros(0, dtype=bool)
        self.forgotten: set[int] = set()
        self._quiet = False
        self._corner: tuple[float, float] | None = None
        self.first, self.second = parts.dropdown("First model"), parts.dropdown("Second model")
        self.select = parts.dropdown("Select on the maps")
        self.found, self.key, self.near = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self.hovered = NOTHING
        self.titles = [ipywidgets.HTML() for _ in range(2)]
        self.canvases = [Canvas(width=SIDE, height=SIDE, layout={"width": f"{SIDE}px"}) for _ in range(2)]
        for canvas in self.canvases:
            canvas.add_class("fd-map")
            canvas.on_client_ready(self.paint)
            canvas.on_mouse_down(self._press)
            canvas.on_mouse_up(self._release)
        for place, canvas in enumerate(self.canvases):
            canvas.on_mouse_move(functools.partial(self.hover, place))
        parts.follow(self.compute, self.first, self.second)
        parts.follow(self.select_by, self.select)
        maps = parts.wrapping(*(ipywidgets.VBox(pair) for pair in zip(self.titles, self.canvases, strict=True)))
        controls = parts.wrapping(self.first, self.second)
        self.widget.children = [controls, self.status, self.result, self.select, self.key, maps, self.near, self.found]

    @parts.guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        labels = [(f"label {name}", index) for index, name in enumerate(bench.words)]
        self.map = None
        parts.set_options(self.select, [("nothing", None), ("where the models disagree", "disagree"), *labels])
        self.compute()

    def refresh(self) -> None:
        options = [(title, name) for name, title in self.bench.titles.items()]
        self._quiet = True
        parts.set_options(self.first, options, "original")
        parts.set_options(self.second, options, parts.PREFERRED if parts.PREFERRED in self.bench.titles else "retrain")
        self._quiet = False

    @parts.guarded
    def compute(self) -> None:
        if self._quiet:
            return
        bench, names, classes = self.bench, (self.first.value, self.second.value), self.bench.words
        titles, colours = [bench.titles[name] for name in names], [parts.ORIGINAL, parts.UNLEARNED]
        test, (one, two) = bench.samples("test"), (bench.model(name) for name in names)
        labels, logits = test.labels.cpu(), [bench.logits(name, "test") for name in names]
        pairs = zip(*(class_accuracies(each, labels, len(classes)) for each in logits), strict=True)
        caption = f"Accuracy by class on {len(labels)} test images; thin lines: 95 % intervals"
        tables = html.bars(dict(zip(classes, pairs, strict=True)), titles, colours, caption)
        if len(classes) <= MOST_CLASSES:
            shares = [prediction_shares(each.numpy(), labels.numpy()) for each in logits]
            tables += html.matrices(shares, classes, colours, titles)
        likeness = cka_by_layer(one, two, test.images[:CKA_IMAGES])
        layers = {layer: [min(1.0, value)] for layer, value in likeness.items()}
        caption = f"Linear CKA by layer, {titles[0]} and {titles[1]}: 100 % is the same up to a turn"
        self.map = feature_map(bench, *names)
        about_maps = html.how_to_compare(titles[0], self.map.explained)
        self.result.value = tables + html.bars(layers, ["Similarity"], [parts.OTHER], caption) + about_maps
        for heading, title in zip(self.titles, titles, strict=True):
            heading.value = html.note(f"Features of {title}")
        self.hovered, self.near.value = (
            NOTHING,
            html.note("Point at a dot to see its picture and what both models say."),
        )
        self.forgotten = forgotten_classes(bench)
        names_of = [
            f"{name} (forgotten, ringed)" if index in self.forgotten else name for index, name in enumerate(classes)
        ]
        shown = range(len(classes)) if len(classes) <= len(PALETTE) else sorted(self.forgotten)
        self.key.value = html.legend([names_of[i] for i in shown], [PALETTE[i % len(PALETTE)] for i in shown])
        self.select_by()
        self.say(f"{titles[0]} and {titles[1]}, on the test set of {bench.data.label}.")

    @parts.guarded
    def hover(self, place: int, x: float, y: float) -> None:
        """Shows the image nearest to the mouse on a map, with both models' answers, and rings it in both maps."""
        if self.map is None:
            return
        away = np.abs(_pixels(self.map.places[place]) - (x, y)).max(1)
        nearest = int(away.argmin())
        if away[nearest] > NEAR or nearest == self.hovered:
            return
        self.hovered = nearest
        names = (self.first.value, self.second.value)
        image, label = self.map.images[nearest], self.bench.words[self.map.labels[nearest]]
        answers = {self.bench.titles[name]: self.bench.probabilities(name, image[None])[0] for name in names}
        bars = parts.probability_bars(answers, self.bench.words, [parts.ORIGINAL, parts.UNLEARNED])
        self.near.value = html.row([html.picture(image, f"Test image labelled {label}", 96, label), bars])
        self.paint()

    def _press(self, x: float, y: float) -> None:
        self._corner = (x, y)

    def _release(self, x: float, y: float) -> None:
        if self._corner is not None:
            self.select_frame(*self._corner, x, y)
            self._corner = None

    @parts.guarded
    def select_frame(self, left: float, top: float, right: float, bottom: float) -> None:
        """Selects the points of either map inside a frame in pixels; a click selects what is near."""
        if self.map is not None:
            low, high = np.minimum((left, top), (right, bottom)) - NEAR, np.maximum((left, top), (right, bottom)) + NEAR
            points = np.stack([_pixels(places) for places in self.map.places])
            inside = (low <= points) & (points <= high)
            self._use(np.asarray(inside.all(axis=2).any(axis=0)))

    @parts.guarded
    def select_by(self) -> None:
        """Selects what was chosen: nothing (None), where the models disagree ("disagree"), or a label (its index)."""
        if self.map is not None:
            what = self.select.value
            one, two = self.map.predicted
            wanted = one != two if what == "disagree" else self.map.labels == (-1 if what is None else what)
            self._use(np.asarray(wanted))

    def _use(self, chosen: np.ndarray) -> None:
        if self.map is None:
            return
        self.chosen = chosen
        self.paint()
        classes, items = self.bench.words, []
        for index in np.flatnonzero(chosen)[:SHOWN]:
            true, one, two = (classes[each[index]] for each in (self.map.labels, *self.map.predicted))
            items.append((self.map.images[index], f"{true}: first {one}, second {two}"))
        more = f", the first {SHOWN} shown" if chosen.sum() > SHOWN else ""
        words = html.note(f"{chosen.sum()} of {len(chosen)} points selected{more}.")
        self.found.value = words + html.pictures(items, "Test image labelled ")

    def paint(self) -> None:
        """Draws both maps: selected points bright and on top, or all of them where none is selected."""
        if self.map is None:
            return
        bright = self.chosen if self.chosen.any() else np.ones(len(self.map.labels), dtype=bool)
        order = np.argsort(bright, kind="stable")
        palette = np.array(seaborn.color_palette("colorblind")) * 255
        colours = palette[self.map.labels[order] % len(palette)]
        ringed = np.flatnonzero(np.isin(self.map.labels[order], list(self.forgotten)))
        sizes, strengths = np.where(bright, DOT, DOT - 1)[order], np.where(bright, 0.9, 0.15)[order]
        for canvas, places in zip(self.canvases, self.map.places, strict=True):
            x, y = _pixels(places)[order].T
            with hold_canvas():
                canvas.clear()
                canvas.fill_styled_circles(x, y, sizes, colours, strengths)
                canvas.stroke_style, canvas.line_width = "#888", 1
                canvas.stroke_circles(x[ringed], y[ringed], DOT + 1)
                if self.hovered != NOTHING:
                    canvas.stroke_style, canvas.line_width = parts.OTHER, 3
                    canvas.stroke_circle(*_pixels(places)[self.hovered], RING)


def forgotten_classes(bench: Bench) -> set[int]:
    """The classes of which no image is kept."""
    labels = {part: bench.samples(part).labels.unique().tolist() for part in ("forget", "retain")}
    return set(labels["forget"]) - set(labels["retain"])


def _pixels(places: np.ndarray) -> np.ndarray:
    return EDGE + places * (SIDE - 2 * EDGE)
