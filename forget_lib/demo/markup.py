"""Pieces of HTML: bars, tables, histograms, thumbnails, the status line. Text only in, escaped; no script.

Everything is drawn with the colours of the theme around it, so that it is readable on light and dark.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from torch import Tensor

from forget_lib.demo.images import data_url
from forget_lib.statistics.intervals import Interval

ORIGINAL, UNLEARNED, RETRAINED, OTHER = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
"""Okabe and Ito's colours: told apart by colour-blind readers; a number stands beside every bar all the same."""
MOST_CLASSES, FEWEST_CLASSES, LEAST_SHARE = 10, 3, 0.01


def status(text: str, *, error: bool = False) -> str:
    """The status line, read out by screen readers when it changes."""
    kind = " fd-error" if error else ""
    return f'<span role="status" aria-live="polite" class="fd-status{kind}">{escape(text)}</span>'


def note(text: str) -> str:
    """A sentence under a picture or above a control."""
    return f'<p class="fd-note">{escape(text)}</p>'


def picture(source: object, alt: str, width: int = 96, caption: str = "") -> str:
    """An image, uint8 [C, H, W] or a PIL picture, with alt text and a caption."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    image = f'<img src="{data_url(source)}" alt="{escape(alt, quote=True)}" style="width:{width}px">'
    return f'<figure class="fd-figure">{image}{below}</figure>'


def row(pieces: Sequence[str]) -> str:
    """Pieces side by side, in several lines where they do not fit."""
    return f'<div class="fd-row">{"".join(pieces)}</div>'


def legend(names: Sequence[str], colours: Sequence[str]) -> str:
    """Which colour is which."""
    items = (
        f'<span class="fd-key"><span class="fd-swatch" style="background:{colour}"></span>{escape(name)}</span>'
        for name, colour in zip(names, colours, strict=True)
    )
    return f'<div class="fd-legend" aria-hidden="true">{"".join(items)}</div>'


def bars(
    groups: Mapping[str, Sequence[float | Interval | None]], names: Sequence[str], colours: Sequence[str], caption: str
) -> str:
    """Paired bars as a table: a row a group, in it a bar for each of `names`; values are shares in [0, 1].

    An `Interval` also gets its ends, as a thin line and in words; None is shown as a dash.
    """
    rows = []
    for group, values in groups.items():
        lines = "".join(_bar(v, name, colour) for v, name, colour in zip(values, names, colours, strict=True))
        rows.append(f'<tr><th scope="row">{escape(group)}</th><td>{lines}</td></tr>')
    table = f'<table class="fd-bars"><caption>{escape(caption)}</caption><tbody>{"".join(rows)}</tbody></table>'
    return legend(names, colours) + table


def _bar(value: float | Interval | None, name: str, colour: str) -> str:
    label = f'<span class="fd-hidden">{escape(name)} </span>'
    if value is None:
        return f'<div class="fd-line">{label}<span class="fd-track"></span><span class="fd-value">–</span></div>'
    share = value.value if isinstance(value, Interval) else float(value)
    whisker, words = "", percent(share)
    if isinstance(value, Interval):
        left, width = 100 * value.low, 100 * (value.high - value.low)
        whisker = f'<span class="fd-whisker" style="left:{left:.1f}%;width:{width:.1f}%"></span>'
        words += f'<span class="fd-hidden"> between {percent(value.low)} and {percent(value.high)}</span>'
    fill = f'<span class="fd-fill" style="width:{100 * share:.1f}%;background:{colour}"></span>'
    return (
        f'<div class="fd-line">{label}<span class="fd-track">{fill}{whisker}</span>'
        f'<span class="fd-value">{words}</span></div>'
    )


def dots(groups: Mapping[str, np.ndarray], colours: Sequence[str], caption: str) -> str:
    """Rows of dots on one axis as a table: a row a group (float [n] by name), a dot a value, a line at the mean."""
    low, high = (pick(np.concatenate(list(groups.values()))) for pick in (np.min, np.max))
    span = float(high - low) or 1.0
    rows = []
    for (name, values), colour in zip(groups.items(), colours, strict=True):
        places = [2 + 96 * (float(value) - low) / span for value in (*values, values.mean())]
        pieces = "".join(
            f'<span class="fd-dot" style="left:{at:.1f}%;background:{colour}"></span>' for at in places[:-1]
        )
        mean = f'<span class="fd-mean" style="left:{places[-1]:.1f}%"></span>'
        words = f"mean {values.mean():.1f}, from {values.min():.1f} to {values.max():.1f}"
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th><td><div class="fd-strip">{pieces}{mean}'
            f'<span class="fd-hidden">{words}</span></div></td></tr>'
        )
    ends = f'<div class="fd-ends"><span>{low:.1f}: unsure</span><span>{high:.1f}: sure of the label</span></div>'
    head = f'<table class="fd-bars fd-dots"><caption>{escape(caption)}</caption><tbody>'
    return f"{head}{''.join(rows)}<tr><td></td><td>{ends}</td></tr></tbody></table>"


def percent(share: float) -> str:
    """A share for people: 0 % and 100 % only where nothing is rounded away."""
    if 0 < share < 0.005:
        return "&lt;1 %"
    if 0.995 < share < 1:
        return "&gt;99 %"
    return f"{100 * share:.0f} %"


def ends(interval: Interval) -> str:
    """The two ends of an interval of shares, in words."""
    return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"


def probability_bars(probabilities: Mapping[str, Tensor], classes: Sequence[str], colours: Sequence[str]) -> str:
    """Class probabilities of one image under several models (float [K] by title), the likeliest classes in their order.

    Classes to which no model gives one percent are left out, and so are all but the ten likeliest.
    """
    best = np.max([each.numpy() for each in probabilities.values()], axis=0)
    order = np.argsort(-best, kind="stable")[:MOST_CLASSES].tolist()
    shown = sorted(index for place, index in enumerate(order) if best[index] >= LEAST_SHARE or place < FEWEST_CLASSES)
    groups = {classes[index]: [float(each[index]) for each in probabilities.values()] for index in shown}
    caption = "Class probabilities"
    if len(shown) < len(classes):
        rest = "all others below 1 %" if best[np.setdiff1d(np.arange(len(classes)), shown)].max() < LEAST_SHARE else ""
        caption += f": {rest or f'the {len(shown)} likeliest of {len(classes)}'}"
    return bars(groups, list(probabilities), colours, caption)


def matrix(shares: np.ndarray, classes: Sequence[str], colour: str, caption: str) -> str:
    """A prediction matrix [K, K] as a table: true classes down, predictions across; darker is more."""
    head = "".join(f'<th scope="col" title="{escape(name, quote=True)}">{escape(name)}</th>' for name in classes)
    rows = []
    for name, values in zip(classes, shares, strict=True):
        cells = "".join(
            f'<td style="--fd-strength:{100 * value:.0f}%">{100 * value:.0f}</td>' if value >= 0.005 else "<td></td>"
            for value in values
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="fd-scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
        f'<table class="fd-matrix" style="--fd-colour:{colour}"><caption>{escape(caption)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def histogram(edges: np.ndarray, shares: Mapping[str, np.ndarray], colours: Sequence[str], threshold: float) -> str:
    """Two histograms over the same bins, one upwards and one downwards, with a line at the threshold (SVG)."""
    width, half = 600, 90
    low, span = float(edges[0]), float(edges[-1] - edges[0])
    top = max(float(each.max()) for each in shares.values()) or 1.0
    step = width / (len(edges) - 1)
    pieces = []
    for (_, values), colour, upwards in zip(shares.items(), colours, (True, False), strict=True):
        for place, value in enumerate(values):
            height = float(value) / top * (half - 4)
            y = half - height if upwards else half
            pieces.append(f'<rect x="{place * step + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{height:.1f}"')
            pieces.append(f' fill="{colour}"/>')
    at = (threshold - low) / span * width
    names = list(shares)
    alt = f"Histogram of scores from {low:.1f} to {edges[-1]:.1f}: {names[0]} upwards, {names[1]} downwards"
    line = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{2 * half}" class="fd-threshold"/>'
    axis = f'<line x1="0" x2="{width}" y1="{half}" y2="{half}" class="fd-axis"/>'
    return (
        f'{legend(names, colours)}<svg class="fd-histogram" viewBox="0 0 {width} {2 * half}" role="img" '
        f'aria-label="{escape(alt, quote=True)}" preserveAspectRatio="none">{"".join(pieces)}{axis}{line}</svg>'
        f'<div class="fd-ends"><span>{low:.1f}: unsure</span><span>{edges[-1]:.1f}: sure of the label</span></div>'
    )
